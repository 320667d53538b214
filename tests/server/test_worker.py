"""What waits is answered together, in its order, within bounds; streams and encodings get their turns."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from itertools import count
from queue import Queue
from typing import Any

import pytest

from mbc_cli.server.choice import Choice
from mbc_cli.server.worker import ModelWorker, ServerBusy, Stream

ONE, OTHER = Choice(), Choice(top_k=2)


class Recorder:
    """Answers by repeating the question, and keeps its batches; the first batch waits for ``go``."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = threading.Event()
        self.batches: list[list[str]] = []

    def answer(self, choice: Choice, texts: Sequence[str]) -> list[str]:
        self.batches.append(list(texts))
        self.begun.set()
        assert self.go.wait(60)
        if "wrong" in texts:
            raise ValueError("wrong")
        return [text.upper() for text in texts]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def worker(recorder: Recorder) -> Iterator[ModelWorker]:
    """A worker that answers three at once, and is busy with a first question."""
    made = ModelWorker(batch_size=3, most_waiting=9)
    made.submit(recorder.answer, ONE, ["first"])
    assert recorder.begun.wait(60)
    yield made
    recorder.go.set()
    made.close()


def test_what_is_read_alike_is_answered_together_and_the_oldest_first(
    worker: ModelWorker, recorder: Recorder
) -> None:
    choices = [ONE, OTHER, ONE, OTHER, ONE, ONE]
    results = [
        worker.submit(recorder.answer, choice, [str(place)])[0] for place, choice in enumerate(choices)
    ]
    recorder.go.set()
    assert [each.result(60) for each in results] == list("012345")
    assert recorder.batches == [["first"], ["0", "2", "4"], ["1", "3"], ["5"]]


def test_one_that_fails_fails_alone(worker: ModelWorker, recorder: Recorder) -> None:
    good, bad, other = worker.submit(recorder.answer, ONE, ["good", "wrong", "other"])
    recorder.go.set()
    assert (good.result(60), other.result(60)) == ("GOOD", "OTHER")
    with pytest.raises(ValueError, match="wrong"):
        bad.result(60)


def test_more_than_may_wait_is_refused_whole_and_what_is_given_up_is_not_begun(
    worker: ModelWorker, recorder: Recorder
) -> None:
    waiting = worker.submit(recorder.answer, ONE, [f"{number}" for number in range(8)])
    with pytest.raises(ServerBusy):
        worker.submit(recorder.answer, ONE, ["one", "too many"])
    assert worker.waiting == 8
    assert all(each.cancel() for each in waiting[1:])
    recorder.go.set()
    assert waiting[0].result(60) == "0"
    worker.close()
    assert recorder.batches == [["first"], ["0"]]


def test_a_stream_and_questions_take_turns_and_one_that_nobody_hears_is_closed(
    worker: ModelWorker, recorder: Recorder
) -> None:
    events: Queue[Any] = Queue()
    closed = threading.Event()

    def pieces() -> Iterator[str]:
        try:
            for number in count():
                recorder.batches.append([f"piece {number}"])
                yield f"piece {number}"
        finally:
            closed.set()

    stream = Stream(begin=pieces, receive=events.put, end=events.put)
    worker.stream(stream)
    results = worker.submit(recorder.answer, ONE, [f"{number}" for number in range(6)])
    recorder.go.set()
    assert [each.result(60) for each in results] == list("012345")
    order = [batch[0] for batch in recorder.batches]
    assert order.index("piece 0") < order.index("3")
    assert not closed.is_set()
    stream.cancelled = True
    assert closed.wait(60)
    assert events.get(timeout=60) == "piece 0"


def test_a_stream_says_how_it_ended(worker: ModelWorker, recorder: Recorder) -> None:
    recorder.go.set()
    events: Queue[Any] = Queue()

    def failing() -> Iterator[str]:
        yield "piece"
        raise ValueError("broken")

    worker.stream(Stream(begin=failing, receive=events.put, end=events.put))
    assert events.get(timeout=60) == "piece"
    assert str(events.get(timeout=60)) == "broken"
    worker.stream(Stream(begin=lambda: iter(["all"]), receive=events.put, end=events.put))
    assert [events.get(timeout=60), events.get(timeout=60)] == ["all", None]


def test_whoever_gives_way_waits_for_what_waits_then(worker: ModelWorker, recorder: Recorder) -> None:
    (result,) = worker.submit(recorder.answer, ONE, ["before"])
    passed: list[bool] = []

    def give_way() -> None:
        for _ in range(2):  # the round under way, and that of what waits
            worker.give_way()
        passed.append(result.done())

    giving = threading.Thread(target=give_way)
    giving.start()
    recorder.go.set()
    giving.join(60)
    assert passed == [True]


def test_who_is_asked_nothing_rests_once_and_is_there_again(recorder: Recorder) -> None:
    rests: Queue[str] = Queue()
    recorder.go.set()
    worker = ModelWorker(batch_size=3, most_waiting=9, on_idle=lambda: rests.put("rest"), idle_seconds=0.01)
    for question in ("one", "two"):
        assert worker.submit(recorder.answer, ONE, [question])[0].result(60) == question.upper()
        assert rests.get(timeout=60) == "rest"
    worker.close()


def test_what_was_taken_on_is_finished_before_the_end(worker: ModelWorker, recorder: Recorder) -> None:
    results = worker.submit(recorder.answer, ONE, ["a", "b", "c", "d"])
    closing = threading.Thread(target=worker.close)
    closing.start()
    recorder.go.set()
    closing.join(60)
    assert [each.result(0) for each in results] == ["A", "B", "C", "D"]
    with pytest.raises(ServerBusy):
        worker.submit(recorder.answer, ONE, ["late"])
