"""Problems of a store as lines for people: what is wrong in the same way is said once, with a count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mbc_store.verification import Problem

_NAMED = 3
_DETAIL = re.compile(r"'(?:[^'\\]|\\.)*'?|\"(?:[^\"\\]|\\.)*\"?|\b[0-9A-Z]{20}\b|\d[\d,]*")


def problem_lines(problems: Iterable[Problem]) -> list[str]:
    """The first few of each group, and how many more there are; a group differs in names and numbers only."""
    groups: dict[tuple[str, str], list[str]] = {}
    for problem in problems:
        group = problem.kind, _DETAIL.sub("", problem.message)
        groups.setdefault(group, []).append(problem.message)
    lines = []
    for (kind, _), messages in groups.items():
        shown = list(dict.fromkeys(messages))[:_NAMED]
        lines += [f"{kind}: {message}" for message in shown]
        if more := len(messages) - len(shown):
            lines.append(f"{kind}: {more:,} more like {'this' if len(shown) == 1 else 'these'}")
    return lines
