"""Does a command that did its work exit 0? Counts exit codes beside a busy process.

    python benchmarks/exit_codes.py --runs 100

Threads of Icechunk's runtime may ask for the interpreter's lock while it ends, and then the process is
aborted: commands and scripts are run again and again on a small store, while another process keeps a core
busy.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

MBC = (sys.executable, "-m", "mbc_cli", "--quiet")
SCRIPT = "from mbc_store import MemoryStore; print(len(MemoryStore.open({store!r}).verify()))"
DOCUMENTS = (
    '{"id": "mill", "text": "The mill burnt down."}\n{"id": "mayor", "text": "Ada Brandt is mayor."}\n'
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100, help="of each command")
    parser.add_argument("--encodes", type=int, help="runs of encode, which loads a model (default: a tenth)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        corpus, store = Path(folder) / "d.jsonl", str(Path(folder) / "s.mbc")
        corpus.write_text(DOCUMENTS)
        encode = (*MBC, "encode", str(corpus), "--store", store, "--adapter", "news")
        subprocess.run(encode, check=True, stdout=subprocess.DEVNULL)
        commands = {
            f"memory {name}": ((*MBC, "memory", name, "--store", store), options.runs)
            for name in ("verify", "list", "info")
        }
        commands["a script"] = ((sys.executable, "-c", SCRIPT.format(store=store)), options.runs)
        commands["encode"] = (encode, options.encodes or max(1, options.runs // 10))
        with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
            try:
                for name, (command, runs) in commands.items():
                    codes = Counter(_exit_code(command) for _ in range(runs))
                    signals = sum(count for code, count in codes.items() if code < 0)
                    print(
                        f"{name}: {runs} runs, {signals} ended by a signal, exit codes {dict(codes)}",
                        flush=True,
                    )
            finally:
                busy.kill()


def _exit_code(command: tuple[str, ...]) -> int:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(command, env=environment, capture_output=True, check=False).returncode


if __name__ == "__main__":
    main()
