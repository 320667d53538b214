"""Peak memory of ``mbc encode`` and ``mbc query``, and a question's processor time, by the size of the bank.

    python benchmarks/memory_figures.py                             # banks of 1,000 and 100,000
    python benchmarks/memory_figures.py --banks 1000 100000 1000000

The adapter encodes ``--originals`` invented news items; a bank holds their codes and texts over and over,
under new ids. Peaks are those of the processes of ``mbc`` as the operating system counts them (ru_maxrss).
Times are of one process that asks several questions: the first reads all codes from disk, the others find
them in memory.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import cycle, islice
from pathlib import Path

from mbc_store import DocumentRecord, MemoryStore

from mbc_cli.news.generator import NewsItem, generate_news

BATCH = 20_000
ADDED = 100
MBC = (sys.executable, "-m", "mbc_cli", "--quiet")

TIMES = """
import json, sys, time
from mbc_cli.memory import Memory
memory = Memory.open(sys.argv[1], device="cpu")
times = []
for question in json.loads(sys.argv[2]):
    started = time.process_time()
    memory.answer([question])
    times.append(time.process_time() - started)
print(json.dumps(times))
"""


def run(*command: str) -> tuple[int, float]:
    """Run a command: its exit code, and the most memory its process ever held, in MB."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    return os.waitstatus_to_exitcode(status), usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def peak_megabytes(*command: str) -> float:
    """Run a command that has to succeed; the most memory its process ever held."""
    code, peak = run(*command)
    if code != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return peak


def write_corpus(path: Path, news: list[NewsItem]) -> str:
    documents = (item.document for item in news)
    path.write_text("\n".join(json.dumps({"id": one.id, "text": one.text}) for one in documents))
    return str(path)


def repeated(originals: list[DocumentRecord]) -> Iterator[DocumentRecord]:
    """The originals over and over, each time as new documents."""
    for number, record in enumerate(cycle(originals)):
        yield replace(record, id=f"document-{number:09d}", digest=number)


def build_bank(path: Path, originals: MemoryStore, size: int) -> str:
    with originals.snapshot() as snapshot:
        documents = islice(repeated(list(snapshot.iter_records())), size)
    store = MemoryStore.create(path, originals.config)
    while batch := list(islice(documents, BATCH)):
        with store.transaction("benchmark") as transaction:
            transaction.upsert(batch)
    store.gc(older_than=timedelta(0))
    return str(path)


def question_times(bank: str, questions: list[str]) -> list[float]:
    command = [sys.executable, "-c", TIMES, bank, json.dumps(questions)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--banks", type=int, nargs="+", default=[1000, 100_000], help="documents")
    parser.add_argument("--originals", type=int, default=2000, help="documents encoded to fill the banks")
    parser.add_argument("--adapter", default="news")
    parser.add_argument("--questions", type=int, default=5, help="questions timed")
    parser.add_argument("--folder", type=Path, help="where to work; a temporary folder by default")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(dir=arguments.folder))
    try:
        news = list(generate_news(arguments.originals, seed=1))
        added = write_corpus(root / "added.jsonl", list(generate_news(ADDED, seed=2)))
        corpus, store = write_corpus(root / "originals.jsonl", news), str(root / "originals")
        subprocess.run([*MBC, "encode", corpus, "--store", store, "--adapter", arguments.adapter], check=True)
        questions = [item.questions[0].question for item in news[: arguments.questions]]
        print(
            f"{'documents':>12}  {'encode, MB':>10}  {'query, MB':>10}  {'first, ms':>10}  {'others, ms':>10}"
        )
        for size in arguments.banks:
            bank = build_bank(root / "bank", MemoryStore.open(store), size)
            times = [1000 * seconds for seconds in question_times(bank, questions)]
            asking = peak_megabytes(*MBC, "query", questions[0], "--store", bank)
            adding = peak_megabytes(*MBC, "encode", added, "--store", bank)
            figures = (adding, asking, times[0], statistics.median(times[1:]))
            print(f"{size:>12,}" + "".join(f"  {figure:>10,.0f}" for figure in figures), flush=True)
            shutil.rmtree(bank)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
