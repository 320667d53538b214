"""Signals that end a process, held back until a loop's state is whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

_ENDING_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class DeferredSignals:
    """While active, the first signal that would end the process only sets ``pending``.

    When the block ends it is raised again, for whoever handled it before. A second one does not wait.
    Ignored signals stay ignored; where not ``enabled``, all act as they did before.
    """

    def __init__(self, *, enabled: bool = True) -> None:
        self.pending: int | None = None
        self._enabled = enabled
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> DeferredSignals:
        # Python lets no other thread set handlers.
        if self._enabled and threading.current_thread() is threading.main_thread():
            for number in _ENDING_SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._previous[number] = signal.signal(number, self._defer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()
        if self.pending is not None:
            signal.raise_signal(self.pending)

    def _defer(self, number: int, frame: FrameType | None) -> None:
        if self.pending is None:
            self.pending = number
        else:
            self._restore()
            signal.raise_signal(number)

    def _restore(self) -> None:
        while self._previous:
            signal.signal(*self._previous.popitem())
