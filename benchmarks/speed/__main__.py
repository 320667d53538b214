"""Runs rows of the speed benchmark by name and prints them as a table.

    python -m benchmarks.speed selection --quick --output speed.json

Each row is a file of this folder with ``measure(quick: bool) -> dict``: ``row``, ``what``, ``figures``,
``target`` and ``roofline``.
"""

from __future__ import annotations

import argparse
import importlib
import json
from pathlib import Path

from benchmarks.speed import machine

_HELPERS = {"__init__", "__main__", "machine"}


def main() -> None:
    names = sorted({path.stem for path in Path(__file__).parent.glob("*.py")} - _HELPERS)
    parser = argparse.ArgumentParser(prog="python -m benchmarks.speed", description="Measure speed.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it works")
    parser.add_argument("--output", type=Path, help="a JSON file to write")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rows) - set(names))
    if unknown:
        parser.error(f"no row named {', '.join(unknown)}; there are {', '.join(names)}")
    found = machine.describe(quick=arguments.quick)
    print(found)
    rows = []
    for name in arguments.rows or names:
        row = importlib.import_module(f"benchmarks.speed.{name}").measure(arguments.quick)
        rows.append(row)
        print(f"\n{row['row']}: {row['what']}\n  target: {row['target']}")
        for part in ("figures", "roofline"):
            for key, value in row[part].items():
                print(f"  {part[:-1] if part == 'figures' else part}  {key:<36} {value}")
    if arguments.output is not None:
        arguments.output.write_text(json.dumps({"machine": found, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
