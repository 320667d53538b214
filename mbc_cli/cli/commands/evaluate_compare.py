"""``mbc evaluate compare``: what changed between two evaluations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import Json

Folder = Annotated[Path, typer.Argument(help="A folder that evaluate --output wrote.")]


def compare(first: Folder, second: Folder, json: Json = False) -> None:
    """Show how the answers of a second evaluation differ from those of a first.

    Every method that both have is compared on the questions that both asked, at its largest size: each
    measure, the difference with its 95 % interval, and how likely chance alone makes as much of it (p,
    corrected for all that is shown). What else differs between the two runs is said on stderr.

    Examples:

      mbc evaluate compare before/ after/

      mbc evaluate compare before/ after/ --json | jq '.changes[] | select(.p < 0.05)'
    """
    from mbc_cli.evaluation.compare import compare as compare_folders
    from mbc_cli.evaluation.measures import MEASURES

    found = compare_folders(first, second)
    if json:
        output.write_json(found.as_json())
        return
    for line in found.differs:
        output.note(f"the runs differ: {line}")
    if found.left_out:
        output.note(f"{found.left_out} questions are in one of them alone and are left out")
    output.write_table(
        ["method", "measure", "first %", "second %", "difference", "95 %", "p"],
        [
            [
                each.method,
                MEASURES[each.measure].label,
                f"{100 * each.first:.1f}",
                f"{100 * each.second:.1f}",
                f"{100 * each.difference:+.1f}",
                f"{100 * each.low:+.1f} to {100 * each.high:+.1f}",
                f"{each.p:.4f}",
            ]
            for each in found.changes
        ],
    )
