"""Waiting for coroutines of Icechunk and Zarr."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

from zarr.core.sync import sync

Result = TypeVar("Result")


class _Loop:
    """The event loop of one thread of one process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        # Not asyncio.Runner: its handling of interrupts prints the task, bytes and all, to look up a signal.
        task = self._loop.create_task(coroutine)
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            if task.done():
                task.exception()  # seen: asyncio need not report it
            else:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    self._loop.run_until_complete(task)
            raise


class _Loops(threading.local):
    """Of one thread. Those inherited by a fork stay, untouched: closing them would disturb the parent."""

    def __init__(self) -> None:
        self.by_process: dict[int, _Loop] = {}

    def mine(self) -> _Loop:
        process = os.getpid()
        if process not in self.by_process:
            self.by_process[process] = _Loop()
        return self.by_process[process]


_loops = _Loops()


def wait(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What ``coroutine`` returns.

    It runs in the calling thread: handing it to Zarr's event loop in another thread and waiting for that
    costs a busy machine milliseconds. Where an event loop runs already (notebooks, servers) Zarr's does it.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _loops.mine().run(coroutine)
    return sync(coroutine)
