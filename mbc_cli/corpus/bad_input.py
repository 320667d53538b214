"""Input that cannot be used: named with its place, counted, and skipped or fatal as the user chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mbc_cli.errors import InputError

OnError = Literal["skip", "fail"]


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
    """Counts what was left out of one run, and passes each piece to ``report``."""

    on_error: OnError = "skip"
    report: Callable[[BadInput], None] | None = None
    count: int = 0
    examples: list[BadInput] = field(default_factory=list)

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
