"""What long work would tell whoever watches: nothing, unless somebody listens, as the command line does.

Libraries do not write to a terminal. What takes long or fetches something says so here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Advance = Callable[..., None]
"""Called with how much was done since; ``total=`` once it is known, ``also=`` another figure to show."""


class Listener(Protocol):
    """Whoever shows what is reported."""

    def note(self, message: str) -> None:
        """Show a line worth knowing."""

    def progress(
        self, description: str, *, total: int | None = None, unit: str = "documents"
    ) -> AbstractContextManager[Advance]:
        """Show how far work has come while the block runs."""


class _Nobody:
    def note(self, message: str) -> None:
        """Say nothing."""

    @contextmanager
    def progress(
        self, description: str, *, total: int | None = None, unit: str = "documents"
    ) -> Iterator[Advance]:
        """Show nothing."""
        yield lambda count=1, total=None, also="": None


_listener: Listener = _Nobody()


def listen(listener: Listener) -> None:
    """Report to ``listener`` from now on, in this process."""
    global _listener
    _listener = listener


def note(message: str) -> None:
    """Tell whoever listens something worth knowing."""
    _listener.note(message)


def progress(
    description: str, *, total: int | None = None, unit: str = "documents"
) -> AbstractContextManager[Advance]:
    """Tell whoever listens how far work has come: the block is given what moves it on."""
    return _listener.progress(description, total=total, unit=unit)
