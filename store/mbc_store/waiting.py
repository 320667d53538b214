"""Waiting for coroutines of Icechunk and Zarr."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import time
import weakref
from collections.abc import Awaitable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from zarr.core.sync import sync

Result = TypeVar("Result")
_LONGEST_CALLBACK_SECONDS = 5


class _Loop:
    """The event loop of one thread of one process, closed when the thread ends."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Not at the interpreter's end, where Icechunk's threads may still use it.
        weakref.finalize(self, _close, self._loop, os.getpid()).atexit = False

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


def _close(loop: asyncio.AbstractEventLoop, process: int) -> None:
    if os.getpid() == process:
        loop.close()


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


def let_callbacks_end() -> None:
    """Wait for Icechunk's threads to leave the interpreter; run before it ends.

    They hand over a result with ``call_soon_threadsafe``, which gives up the interpreter's lock while it
    wakes the event loop. Whoever waits for the result may be done with the whole program by then, and a Rust
    thread that asks for the lock of an interpreter that ends aborts the process.
    """
    deadline = time.monotonic() + _LONGEST_CALLBACK_SECONDS
    while _a_callback_runs() and time.monotonic() < deadline:
        time.sleep(0.001)


def _a_callback_runs() -> bool:
    ours = {thread.ident for thread in threading.enumerate()}
    for thread, frame in sys._current_frames().items():
        caller = frame
        while caller.f_back is not None:
            caller = caller.f_back
        if thread not in ours and caller.f_code.co_name == "call_soon_threadsafe":
            return True
    return False


async def all_of(operations: Iterable[Awaitable[Any]]) -> list[Any]:
    """Results of all; the first error is raised when every operation has ended, so none fails unseen."""
    results = await asyncio.gather(*operations, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results


atexit.register(let_callbacks_end)
