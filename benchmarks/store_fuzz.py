"""Thousands of fuzzed files through ``mbc encode`` into one memory, which is compared after every folder.

    python -m benchmarks.store_fuzz                   # 500 files
    python -m benchmarks.store_fuzz --inputs 10000

A traceback, an unexpected exit code, an unsound store or a document lost, altered or made up ends it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.support.fuzzed_inputs import FuzzedMemory, fuzzed_inputs
from tests.support.tiny_memories import save_adapter_directory


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--inputs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "memories").mkdir()
        memory = FuzzedMemory(Path(folder) / "memories", save_adapter_directory(Path(folder)))
        started, done = time.monotonic(), 0
        for files in fuzzed_inputs(arguments.inputs, arguments.seed):
            memory.feed(files)
            done += len(files)
            print(
                f"{done:>6} files: 0 tracebacks, {len(memory.expected)} documents stored, 0 lost, "
                f"{memory.skipped} pieces of input named and skipped, {time.monotonic() - started:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
