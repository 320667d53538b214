"""Input that cannot be used: named with its place, counted, and skipped or fatal as the user chose.

What is used, but otherwise than it stands there, is a remark: named once for each kind, and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from mbc_cli.corpus.choices import OnError
from mbc_cli.errors import InputError


class BadRecord(Exception):
    """One record cannot be used; the message says why. The reader adds the place."""


@dataclass(frozen=True, slots=True)
class BadInput:
    """One piece of input that was left out; ``place`` is the file, and the line or row if there is one."""

    place: str
    reason: str

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


@dataclass(slots=True)
class BadInputs:
    """Counts what was left out of one run, and passes each piece to ``report``.

    ``remarks`` counts by kind what was read otherwise than it stands; ``on_remark`` gets the first of a kind.
    """

    on_error: OnError = "skip"
    report: Callable[[BadInput], None] | None = None
    count: int = 0
    examples: list[BadInput] = field(default_factory=list)
    on_remark: Callable[[BadInput], None] | None = None
    remarks: Counter[str] = field(default_factory=Counter)

    EXAMPLES_KEPT: ClassVar[int] = 20

    def add(self, place: str, reason: str) -> None:
        """Record one bad piece.

        Raises:
            MbcError: ``on_error`` is "fail".
        """
        bad = BadInput(place, reason)
        if self.on_error == "fail":
            raise InputError(str(bad), "use --on-error skip to leave bad input out and go on")
        self.count += 1
        if len(self.examples) < self.EXAMPLES_KEPT:
            self.examples.append(bad)
        if self.report is not None:
            self.report(bad)

    def remark(self, place: str, what: str) -> None:
        """Record that something is read otherwise than it stands; ``what`` is the same for all of a kind."""
        self.remarks[what] += 1
        if self.remarks[what] == 1 and self.on_remark is not None:
            self.on_remark(BadInput(place, what))
