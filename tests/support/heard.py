"""Somebody who listens to what long work tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mbc_cli.reporting import Advance


@dataclass
class Heard:
    """Keeps the notes; shows no progress."""

    notes: list[str] = field(default_factory=list)

    def note(self, message: str) -> None:
        self.notes.append(message)

    @contextmanager
    def progress(
        self, description: str, *, total: int | None = None, unit: str = "documents"
    ) -> Iterator[Advance]:
        yield lambda count=1, total=None, also="": None
