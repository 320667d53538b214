"""Options of the ``mbc memory`` commands, and how their values are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli.completion import tags
from mbc_cli.cli.options import count
from mbc_cli.errors import UsageError
from mbc_cli.identifiers import is_unicode

if TYPE_CHECKING:
    from mbc_store import MemoryStore

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Since = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Documents of this time or later.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Documents before this time.")]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        metavar="CONDITION",
        help="Metadata: KEY=VALUE, or != < <= > >= ~ (contains). Repeatable: all hold.",
    ),
]
PreferNewer = Annotated[
    bool, typer.Option("--prefer-newer", help="Of passages about equally good, the newest first.")
]
Probes = Annotated[
    int | None,
    count("--probes", "Codes a token looks up in lists (memory index)."),
]
At = Annotated[
    str | None,
    typer.Option("--at", metavar="TIME|TAG|SNAPSHOT", help="The memory as it was then.", autocompletion=tags),
]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST = 365_000 * 86_400  # seconds


def age(option: str, value: str) -> timedelta:
    """A duration such as ``30d``, ``12h`` or ``0s``."""
    number, unit = value[:-1], value[-1:]
    seconds = int(number) * _UNITS.get(unit, 0) if re.fullmatch("[0-9]{1,12}", number) else _LONGEST + 1
    if unit not in _UNITS or seconds > _LONGEST:
        raise UsageError(
            f"{option} received {value!r:.40}; accepted: a number and one of s, m, h, d, w, such as 30d, "
            "up to 1000 years"
        )
    return timedelta(seconds=seconds)


def check_probes(store: MemoryStore | None, probes: int | None) -> None:
    """Raise UsageError if ``probes`` are given for a store without lists. None is one yet to be made."""
    if probes is not None and store is not None:
        from mbc_cli.inference import checks

        with store.snapshot() as snapshot:
            checks.check_probes(snapshot, probes)


def valid_ids(values: Sequence[str]) -> list[str]:
    """Ids as the command line has them."""
    for value in values:
        if not is_unicode(value):
            raise UsageError(f"the id {value!r:.100} is not valid UTF-8")
    return list(values)
