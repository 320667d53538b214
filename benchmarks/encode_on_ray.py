"""Documents a second of ``mbc encode`` with one thread, and of one and two workers of Ray with one each.

    python -m benchmarks.encode_on_ray                     # several thousand invented news documents
    python -m benchmarks.encode_on_ray --documents 40000

In turns, medians. ``documents/s`` is what the command says of itself, workers' start included; ``steady``
leaves the start out: documents after the first commit by the time since.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mbc_store import MemoryStore

from benchmarks.speed.machine import describe

SIDES: dict[str, list[str]] = {
    "mbc encode": [],
    "--ray, 1 worker": ["--ray", "--workers", "1"],
    "--ray, 2 workers": ["--ray", "--workers", "2"],
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=8000)
    parser.add_argument("--commit-every", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    rates: dict[str, list[tuple[float, float]]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "documents.jsonl"
        write_documents(given, arguments.documents)
        for turn in range(arguments.rounds):
            for side, options in SIDES.items():
                store = Path(folder) / f"{turn}-{side.replace(' ', '')}"
                command = [sys.executable, "-m", "mbc_cli", "encode", str(given), "--store", str(store)]
                command += ["--adapter", "news", "--commit-every", str(arguments.commit_every), "--json"]
                environment = {**os.environ, "OMP_NUM_THREADS": "1"}
                done = subprocess.run([*command, *options], env=environment, capture_output=True, check=True)
                rates[side].append((json.loads(done.stdout)["documents_per_second"], steady(store)))
    medians = {
        side: {
            "documents/s": statistics.median(whole for whole, _ in runs),
            "steady": statistics.median(after for _, after in runs),
        }
        for side, runs in rates.items()
    }
    print(json.dumps({"machine": describe(quick=True), **vars(arguments), **medians}, indent=2))


def write_documents(given: Path, count: int) -> None:
    subprocess.run(
        [
            sys.executable,
            str(Path(__file__).parents[1] / "examples" / "make_news.py"),
            str(given.parent),
            *("--documents", str(count), "--questions", "1"),
        ],
        check=True,
        capture_output=True,
    )


def steady(store: Path) -> float:
    """Documents a second between the first commit that has some and the last."""
    commits = [commit for commit in MemoryStore.open(store).history() if commit.documents]
    seconds = (commits[0].time - commits[-1].time).total_seconds()
    return round((commits[0].documents - commits[-1].documents) / seconds, 1)


if __name__ == "__main__":
    main()
