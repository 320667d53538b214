"""Items that come when they come: a thread waits for them, so that nobody else has to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Iterator[Item], Generic[Item]):
    """What ``produce`` puts, taken one at a time; the thread it runs in is at most ``most`` items ahead.

    What ``produce`` raises is raised where its next item would have been taken.

    Example:
        >>> list(ReadAhead(lambda put: [put(letter) for letter in "abc"]).batches(2))
        [['a', 'b'], ['c']]
    """

    def __init__(self, produce: Callable[[Callable[[Item], None]], object], *, most: int = 1) -> None:
        self._ready: Queue[Item | _End] = Queue(most)
        self._end: _End | None = None

        def run() -> None:
            end = _End(StopIteration())
            try:
                produce(self._ready.put)
            except BaseException as failure:
                end = _End(failure)
            self._ready.put(end)

        Thread(target=run, daemon=True).start()  # one that waits for a pipe must not keep the process

    def __next__(self) -> Item:
        return self.within(None)

    def within(self, seconds: float | None) -> Item:
        """The next item, waited for no longer than this; None is as long as it takes.

        Raises:
            TimeoutError: none has come.
            StopIteration: none will come.
        """
        if self._end is None:
            try:
                item = self._ready.get(timeout=seconds)
            except Empty:
                raise TimeoutError from None
            if not isinstance(item, _End):
                return item
            self._end = item
        raise self._end.reason

    def batches(self, size: int, *, patience: float | None = None) -> Iterator[list[Item]]:
        """Up to ``size`` items that came together: none after the first let ``patience`` seconds pass."""
        for first in self:
            batch = [first]
            with suppress(StopIteration, TimeoutError):
                while len(batch) < size:
                    batch.append(self.within(patience))
            yield batch


class _End:
    def __init__(self, reason: BaseException) -> None:
        self.reason = reason
