"""Hostile documents and settings in number: `PYTHONPATH=. python benchmarks/input_fuzz.py --count 5000`.

Every file must be read or named; every mbc.yaml used or refused in words. Prints how many were which.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections import Counter
from pathlib import Path

from mbc_cli.cli.app import main as run_mbc
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.readers import read_documents
from mbc_cli.errors import MbcError
from tests.support.hostile_inputs import hostile_documents, hostile_settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=2000, help="files of documents, and a tenth of settings")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for suffix, data in hostile_documents(options.seed, options.count):
            Path(f"d{suffix}").write_bytes(data)
            bad = BadInputs()
            try:
                documents = sum(1 for _ in read_documents([f"d{suffix}"], bad))
                found["read in part or whole" if documents else "named" if bad.count else "empty"] += 1
            except MbcError:
                found["named"] += 1
            except Exception as failure:
                found[f"internal error {type(failure).__name__}"] += 1
        for content in hostile_settings(options.seed, options.count // 10):
            Path("mbc.yaml").write_bytes(content)
            said = io.StringIO()
            with contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
                run_mbc(["memory", "list"])
            found[
                "settings: internal error" if "internal error" in said.getvalue() else "settings: told"
            ] += 1
    for what, count in sorted(found.items()):
        print(f"{count:6,} {what}")


if __name__ == "__main__":
    main()
