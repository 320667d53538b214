"""The most memory that this process held while something ran."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType

_STATUS = Path("/proc/self/statm")
_SECONDS = 0.02


class PeakMemory:
    """A context that watches the process's resident memory; ``bytes`` is the most of it, shared pages too.

    The system's own high-water mark cannot be set back, so a thread looks every 20 ms. Where the system does
    not tell (anything but Linux), ``bytes`` stays 0.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> PeakMemory:
        self._look()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._thread is not None
        self._ended.set()
        self._thread.join()
        self._look()

    def _watch(self) -> None:
        while not self._ended.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        if _STATUS.exists():
            import resource

            self.bytes = max(self.bytes, int(_STATUS.read_text().split()[1]) * resource.getpagesize())
