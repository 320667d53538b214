"""Ending a worker at any moment, and saying what must be on disk then.

The worker announces through a pipe what it is about to do and what has been acknowledged.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbc_store.memory_store import MemoryStore

from tests.support.store.operations import SMALL, State, apply, perform, random_operation, state_of


def in_child(work: Callable[[], Any]) -> Any:
    """Run ``work`` in a forked process and return its (JSON) result.

    The calling process must not have used Icechunk itself: its threads do not survive a fork.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    if os.waitpid(child, 0)[1] != 0:
        raise AssertionError("the child process failed; see its traceback above")
    return json.loads(data)


class Faults:
    """A store under a stream of random operations that is cut off again and again."""

    def __init__(
        self,
        root: Path,
        seed: int,
        ids: int = 60,
        kinds: Sequence[str] = ("change",) * 6 + ("compact", "gc", "purge"),
        wrap: Callable[[], None] | None = None,
    ) -> None:
        """``wrap`` runs in the child before it opens the store."""
        self.root = root
        self.chance = random.Random(seed)
        self.ids = ids
        self.kinds = kinds
        self.wrap = wrap
        self.quiet = False
        """Whether errors of the worker are expected (its disk goes before it does)."""
        self.state: State = {}
        self.acknowledged = 0
        in_child(lambda: repr(MemoryStore.create(root, SMALL)))

    def run_until_killed(self, seconds: float, before_kill: Callable[[], None] | None = None) -> list[State]:
        """Work for about ``seconds``, then SIGKILL; the states that are right to find afterwards.

        The time runs from the first operation on: opening takes long on a busy machine.
        """
        reader, writer = os.pipe()
        seed = self.chance.getrandbits(32)
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._work(writer, seed)
        os.close(writer)
        said = _listen(reader, seconds)
        if before_kill:
            before_kill()
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        with os.fdopen(reader, "rb") as pipe:
            said += pipe.read()
        allowed = [self.state]
        for line in said.splitlines():
            kind, payload = json.loads(line)
            if kind == "start":
                allowed = [self.state, apply(self.state, (payload[0], payload[1]))]
            else:
                self.state = allowed[-1]
                self.acknowledged += 1
                allowed = [self.state]
        return allowed

    def _work(self, writer: int, seed: int) -> None:
        try:
            if self.wrap:
                self.wrap()
            chance = random.Random(seed)
            store = MemoryStore.open(self.root)
            while True:
                operation = random_operation(chance, self.ids, self.kinds)
                os.write(writer, (json.dumps(["start", operation]) + "\n").encode())
                perform(store, operation)
                os.write(writer, (json.dumps(["done", None]) + "\n").encode())
        except BaseException:
            if not self.quiet:
                traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(1)

    def check(self, allowed: list[State], root: Path | None = None) -> None:
        """Verify the store in a fresh process and continue from what it holds.

        Raises:
            AssertionError: unreadable, unsound, or not one of the ``allowed`` states.
        """
        where = root or self.root
        found = in_child(lambda: state_of(MemoryStore.open(where)))
        assert found in allowed, f"{len(found)} documents found, allowed were {[len(s) for s in allowed]}"
        self.state = found


def _listen(reader: int, seconds: float) -> bytes:
    """What arrives within ``seconds`` of the first of it."""
    data = b""
    deadline = None
    while deadline is None or deadline > time.monotonic():
        if select.select([reader], [], [], deadline and max(deadline - time.monotonic(), 0))[0]:
            part = os.read(reader, 65536)
            if not part:
                raise AssertionError("the worker ended by itself; see its traceback above")
            data += part
            deadline = deadline or time.monotonic() + seconds
    return data
