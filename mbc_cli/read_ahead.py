"""Items that come when they come: a thread waits for them, so that nobody else has to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from time import monotonic
from typing import Generic, TypeVar

Item = TypeVar("Item")
_AT_ONCE = 0.1  # seconds


class ReadAhead(Iterator[Item], Generic[Item]):
    """What ``produce`` puts, taken one at a time; the thread it runs in is at most ``most`` items ahead.

    What ``produce`` raises is raised where its next item would have been taken. Where it is ``stopped``,
    `with_pauses` waits for nothing more.

    Example:
        >>> list(ReadAhead(lambda put: [put(letter) for letter in "abc"]).batches(2))
        [['a', 'b'], ['c']]
    """

    def __init__(self, produce: Callable[[Callable[[Item], None]], object], *, most: int = 1) -> None:
        self._ready: Queue[Item | _End] = Queue(most)
        self._end: _End | None = None
        self.stopped = False

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

    def with_pauses(self, seconds: float) -> Iterator[Item | Pause]:
        """The items, and a `Pause` where so long has been waited since the first one that followed the last.

        An interruption stops them: what is at hand still comes. Before a failure there is a pause.
        """
        due: float | None = None
        try:
            while not self.stopped:
                try:
                    item = self.within(None if due is None else max(0, due - monotonic()))
                except TimeoutError:
                    due = None
                    yield Pause()
                else:
                    taken = monotonic()
                    yield item
                    # What is done with the items is no waiting.
                    due = (due or taken + seconds) + monotonic() - taken
        except StopIteration:
            return
        except KeyboardInterrupt:
            self.stopped = True
        except Exception:
            yield Pause()
            raise
        yield from self._at_hand()

    def _at_hand(self) -> Iterator[Item]:
        """What comes at once, for a second at most: whoever writes into a pipe may never stop."""
        end = monotonic() + 1
        with suppress(StopIteration, TimeoutError):
            while monotonic() < end:
                yield self.within(_AT_ONCE)

    def batches(self, size: int, *, patience: float | None = None) -> Iterator[list[Item]]:
        """Up to ``size`` items that came together: none after the first let ``patience`` seconds pass."""
        for first in self:
            batch = [first]
            with suppress(StopIteration, TimeoutError):
                while len(batch) < size:
                    batch.append(self.within(patience))
            yield batch


class Pause:
    """Stands among items where no more came for a while."""


class _End:
    def __init__(self, reason: BaseException) -> None:
        self.reason = reason
