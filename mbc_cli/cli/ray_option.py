"""``--ray [ADDRESS]``: an option whose value may be left out, which Typer has no word for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mbc_cli.errors import UsageError

OPTION = "--ray"
LOCAL = "local"
_ADDRESS = re.compile(r"auto|local|[\w.-]+:\d+|\[[0-9A-Fa-f:]+\]:\d+")


def spelled_out(arguments: Sequence[str]) -> list[str]:
    """``arguments``, with the address of each ``--ray`` that has none.

    Example:
        >>> spelled_out(["encode", "--ray", "news.jsonl", "--ray", "auto"])
        ['encode', '--ray', 'local', 'news.jsonl', '--ray', 'auto']
    """
    spelled: list[str] = []
    for place, argument in enumerate(arguments):
        spelled.append(argument)
        if argument == "--":
            return [*spelled, *arguments[place + 1 :]]
        following = arguments[place + 1] if place + 1 < len(arguments) else ""
        if argument == OPTION and not _ADDRESS.fullmatch(following):
            spelled.append(LOCAL)
    return spelled


def checked(address: str | None) -> str | None:
    """``address``.

    Raises:
        UsageError: it is none.
    """
    if address is not None and not _ADDRESS.fullmatch(address):
        raise UsageError(
            f"--ray={address!r:.100} is no address of a cluster; accepted: auto, host:port",
            "or --ray alone, for one on this machine",
        )
    return address
