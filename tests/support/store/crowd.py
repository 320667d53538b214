"""Many writers, readers and collectors at once."""

from __future__ import annotations

import os
import random
import sys
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
from mbc_store.memory_store import MemoryStore

from tests.support.store.kills import in_child
from tests.support.store.operations import SMALL, State, make_record, state_of

GROUP = 3
"""Documents that every change touches together: a reader that saw only some of them saw half a commit."""


def run_crowd(root: Path, writers: int, readers: int, collectors: int, changes: int) -> State:
    """Let ``writers`` each make ``changes`` changes to documents of their own while others read, compact
    and collect; what the store holds in the end.

    Raises:
        AssertionError: an acknowledged change is missing, or a reader saw a state that no commit made.
    """
    in_child(lambda: repr(MemoryStore.create(root, SMALL)))
    stop = root / "stop"
    jobs = [_start(lambda n=n: _write(root, n, changes)) for n in range(writers)]  # type: ignore[misc]
    others = [_start(lambda: _read(root, stop)) for _ in range(readers)]
    others += [_start(lambda: _collect(root, stop)) for _ in range(collectors)]
    failed = [job for job in jobs if os.waitpid(job, 0)[1] != 0]
    stop.touch()
    failed += [other for other in others if os.waitpid(other, 0)[1] != 0]
    stop.unlink()
    assert not failed, f"{len(failed)} of {len(jobs) + len(others)} processes failed; see their tracebacks"
    found: State = in_child(lambda: state_of(MemoryStore.open(root)))
    expected: State = {}
    for writer in range(writers):
        for change in range(changes):
            expected = _after(expected, writer, change)
    assert found == expected, f"{len(found)} documents found, {len(expected)} expected"
    return found


def _after(state: State, writer: int, change: int) -> State:
    """Every change writes one group of the writer's; every fourth forgets the group before it."""
    state = state | {_name(writer, change, k): _digest(writer, change) for k in range(GROUP)}
    if change % 4 == 3:
        for k in range(GROUP):
            state.pop(_name(writer, change - 1, k), None)
    return state


def _name(writer: int, change: int, k: int) -> str:
    return f"{writer}-{change % 7}-{k}"


def _digest(writer: int, change: int) -> int:
    return writer * 100_000 + change + 1


def _start(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(code)


def _write(root: Path, writer: int, changes: int) -> None:
    store = MemoryStore.open(root)
    for change in range(changes):
        names = [_name(writer, change, k) for k in range(GROUP)]
        with store.transaction(f"writer {writer}") as transaction:
            transaction.upsert([make_record(name, _digest(writer, change)) for name in names])
            if change % 4 == 3:
                transaction.forget([_name(writer, change - 1, k) for k in range(GROUP)])


def _read(root: Path, stop: Path) -> None:
    store = MemoryStore.open(root)
    while not stop.exists():
        with store.snapshot() as snapshot:
            digests: dict[str, set[int]] = {}
            for document in snapshot.iter_documents():
                digests.setdefault(document.id.rsplit("-", 1)[0], set()).add(document.digest)
            assert all(len(group) == 1 for group in digests.values()), digests
            assert snapshot.document_count == GROUP * len(digests)
            assert np.array_equal(snapshot.code_counts(snapshot.row_mask()), snapshot.code_counts())


def _collect(root: Path, stop: Path) -> None:
    store = MemoryStore.open(root)
    chance = random.Random(0)
    while not stop.exists():
        store.gc(older_than=timedelta(0))
        if chance.random() < 0.3:
            store.compact()
        time.sleep(0.05)
