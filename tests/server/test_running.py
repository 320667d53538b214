"""Waiting has an end for those who ask; what cannot be stopped is finished before the next begins."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mbc_cli.server.choice import Choice
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.failures import RequestFailure
from mbc_cli.server.running import Running
from mbc_cli.server.service import MemoryService
from mbc_cli.server.worker import ServerBusy

SHORT = 0.05  # seconds


class Gate:
    """A service whose calls wait until it is opened."""

    def __init__(self) -> None:
        self.memory = SimpleNamespace(rest=lambda: None, document_count=0)
        self.opened = threading.Event()
        self.calls: list[str] = []
        self.closed = threading.Event()

    def answer(self, choice: Choice, questions: Sequence[str]) -> list[str]:
        self.opened.wait(60)
        return list(questions)

    def stream(self, choice: Choice, question: str) -> Iterator[str]:
        try:
            yield "first"
            self.opened.wait(60)
            yield "second"
        finally:
            self.closed.set()

    def write(self, name: str) -> str:
        self.calls.append(f"{name} begins")
        self.opened.wait(60)
        self.calls.append(f"{name} ends")
        return name


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.opened.set()


def running(gate: Gate, **settings: Any) -> Running:
    return Running(cast(MemoryService, gate), ServerConfig(**settings))


def test_an_answer_that_takes_too_long_is_given_up_and_the_next_one_is_not(gate: Gate) -> None:
    async def ask() -> None:
        here = running(gate, timeout=SHORT)
        with pytest.raises(RequestFailure) as slow:
            await here.with_model(gate.answer, Choice(), ["a"])
        assert (slow.value.status, slow.value.kind) == (504, "timeout")
        gate.opened.set()
        here.config = ServerConfig()
        assert await here.with_model(gate.answer, Choice(), ["b", "c"]) == ["b", "c"]
        here.worker.close()

    asyncio.run(ask())


def test_a_stream_that_takes_too_long_ends_and_is_closed(gate: Gate) -> None:
    async def ask() -> None:
        here = running(gate, timeout=SHORT)
        pieces: list[object] = []

        async def listen() -> None:
            async for piece in here.stream(Choice(), "a"):
                pieces.append(piece)

        with pytest.raises(RequestFailure, match="took more than"):
            await listen()
        assert "second" not in pieces
        gate.opened.set()
        here.worker.close()

    asyncio.run(ask())
    assert gate.closed.wait(60)


def test_a_writer_who_is_given_up_is_finished_before_the_next_begins(gate: Gate) -> None:
    async def write() -> None:
        here = running(gate, timeout=SHORT)
        for name in ("one", "two"):  # the second one has its time over before it begins
            with pytest.raises(RequestFailure, match="took more than"):
                await here.writing(gate.write, name)
        gate.opened.set()
        here.config = ServerConfig()
        assert await here.writing(gate.write, "three") == "three"
        here.worker.close()

    asyncio.run(write())
    assert gate.calls == ["one begins", "one ends", "three begins", "three ends"]


def test_only_so_many_writers_wait_and_a_read_only_server_has_none(gate: Gate) -> None:
    async def write() -> None:
        here = running(gate)
        waiting = [asyncio.ensure_future(here.writing(gate.write, str(number))) for number in range(16)]
        await asyncio.sleep(0)
        with pytest.raises(ServerBusy):
            await here.writing(gate.write, "too many")
        gate.opened.set()
        assert await asyncio.gather(*waiting) == [str(number) for number in range(16)]
        assert await here.writing(gate.write, "later") == "later"
        here.worker.close()
        closed = running(gate, read_only=True)
        with pytest.raises(RequestFailure, match="only reads"):
            await closed.writing(gate.write, "never")
        closed.worker.close()

    asyncio.run(write())
    assert "never begins" not in gate.calls
