"""One thread that answers: what waits and is read alike is answered together, and streams get their turns.

Every round answers one batch, that of the question which has waited longest, and then moves each stream on by
one piece. So no question waits for more than the batches before it, and no stream stops the others.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from mbc_cli.errors import MbcError
from mbc_cli.server.choice import Choice

STREAMS_AT_ONCE = 16
CROWD = 2  # questions and streams; from there on it pays to answer together
_PATIENCE = 5.0  # seconds that an encoding waits for the questions before it

Operation = Callable[[Choice, Sequence[str]], Sequence[Any]]
"""Does the same for each of several texts; the results in their order."""


class ServerBusy(MbcError):
    """More is waiting than the server takes on. Come again later."""

    kind = "busy"

    def __init__(self) -> None:
        super().__init__("too many requests are waiting", "come again later")


@dataclass(eq=False, slots=True)
class _Question:
    operation: Operation
    choice: Choice
    text: str
    result: Future[Any] = field(default_factory=Future)


@dataclass(eq=False, slots=True)
class Stream:
    """A stream of pieces that the worker hands to ``receive``, in its thread: pieces, then how it ended.

    ``begin`` gives the pieces. The end is None, or the exception that ended it.
    """

    begin: Callable[[], Iterator[Any]]
    receive: Callable[[Any], None]
    end: Callable[[BaseException | None], None]
    cancelled: bool = False
    pieces: Iterator[Any] | None = None


class ModelWorker:
    """The thread, and what waits for it.

    Args:
        batch_size: questions answered together.
        most_waiting: questions and streams that may wait.
        on_batch: told the number of questions of every batch.
        on_idle: called when nothing has been asked for ``idle_seconds``.
    """

    def __init__(
        self,
        *,
        batch_size: int,
        most_waiting: int,
        on_batch: Callable[[int], None] = lambda size: None,
        on_idle: Callable[[], None] = lambda: None,
        idle_seconds: float = 30.0,
    ) -> None:
        self._batch_size = batch_size
        self._most_waiting = most_waiting
        self._on_batch = on_batch
        self._on_idle = on_idle
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._questions: deque[_Question] = deque()
        self._streams: deque[Stream] = deque()
        self._active: list[Stream] = []
        self._rounds = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="mbc-model", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Questions and streams that wait."""
        return len(self._questions) + len(self._streams)

    @property
    def is_crowded(self) -> bool:
        """Whether one more stream would be one of several things to do."""
        return self.waiting + len(self._active) >= CROWD

    def submit(self, operation: Operation, choice: Choice, texts: Sequence[str]) -> list[Future[Any]]:
        """Have ``operation`` done for ``texts``; a future for each. One that is cancelled is not begun.

        Raises:
            ServerBusy: they would be too many.
        """
        questions = [_Question(operation, choice, text) for text in texts]
        with self._changed:
            self._admit(len(questions))
            self._questions.extend(questions)
            self._changed.notify_all()
        return [question.result for question in questions]

    def stream(self, stream: Stream) -> None:
        """Have ``stream`` begun when it is its turn; whoever no longer listens sets ``cancelled``.

        Raises:
            ServerBusy: too many are waiting.
        """
        with self._changed:
            self._admit(1)
            self._streams.append(stream)
            self._changed.notify_all()

    def give_way(self) -> None:
        """Wait until what waits now has had a round: for those who use the model in another thread."""
        end = time.monotonic() + _PATIENCE
        with self._changed:
            seen = self._rounds
            while self._has_work and self._rounds == seen:
                if (left := end - time.monotonic()) <= 0 or not self._changed.wait(left):
                    return

    def close(self) -> None:
        """Finish what has been taken on, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _admit(self, more: int) -> None:
        if self._closed or self.waiting + more > self._most_waiting:
            raise ServerBusy

    def _run(self) -> None:
        rested = False
        while True:
            with self._changed:
                patience = None if rested else self._idle_seconds
                is_called = self._changed.wait_for(lambda: self._has_work or self._closed, patience)
                if is_called and not self._has_work:
                    return
                batch = self._next_batch()
                while self._streams and len(self._active) < STREAMS_AT_ONCE:
                    self._active.append(self._streams.popleft())
            rested = not is_called
            if rested:
                self._on_idle()  # may wait for whoever has the memory: nobody must wait for us meanwhile
                continue
            if batch:
                self._answer(batch)
            self._active = [stream for stream in self._active if _moved_on(stream)]
            with self._changed:
                self._rounds += 1
                self._changed.notify_all()

    @property
    def _has_work(self) -> bool:
        return bool(self._questions or self._streams or self._active)

    def _next_batch(self) -> list[_Question]:
        """The question that has waited longest, and those that can be answered with it, in their order."""
        batch: list[_Question] = []
        others: list[_Question] = []
        while self._questions and len(batch) < self._batch_size:
            question = self._questions.popleft()
            first = batch[0] if batch else question
            if (question.operation, question.choice) != (first.operation, first.choice):
                others.append(question)
            elif question.result.set_running_or_notify_cancel():
                batch.append(question)
        self._questions.extendleft(reversed(others))
        return batch

    def _answer(self, batch: Sequence[_Question]) -> None:
        self._on_batch(len(batch))
        first = batch[0]
        try:
            results = first.operation(first.choice, [question.text for question in batch])
        except Exception as failure:
            if len(batch) == 1:
                first.result.set_exception(failure)
                return
            for question in batch:  # one may have failed for all
                self._answer([question])
            return
        for question, result in zip(batch, results, strict=True):
            question.result.set_result(result)


def _moved_on(stream: Stream) -> bool:
    """Whether ``stream`` goes on, when it has been moved on by one piece."""
    if not stream.cancelled:
        try:
            if stream.pieces is None:
                stream.pieces = stream.begin()
            piece = next(stream.pieces)
        except StopIteration:
            stream.end(None)
            return False
        except Exception as failure:
            stream.end(failure)
            return False
        stream.receive(piece)
        return True
    close = getattr(stream.pieces, "close", None)
    if close is not None:
        close()
    return False
