"""Feeds seeded inputs to every reader, in one process, and counts internal errors and documents lost.

    python benchmarks/reader_fuzz.py --inputs 10000 --seed 0

The generator knows which records of an input are good: it spoils one part of a well-made input at most, and
says which records that may cost. Prints one line of JSON; the exit code is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.support.reader_inputs import fuzz  # a script sees its own folder only


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mbc-reader-fuzz-") as folder:
        found = fuzz(Path(folder), options.inputs, options.seed)
    print(json.dumps(found.summary()))
    for problem in found.problems[:20]:
        print(problem, file=sys.stderr)
    return 1 if found.problems else 0


if __name__ == "__main__":
    sys.exit(main())
