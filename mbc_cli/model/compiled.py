"""Loops that numba compiles for the processor at hand, and the threads that run them side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function`` compiled at its first call, for arrays and numbers; other threads run meanwhile.

    Without fast mathematics: sums are taken as written. Unwrapped of what checks shapes in tests.
    """
    import numba

    made: Callable[..., Any] = numba.njit(nogil=True)(inspect.unwrap(function))
    return made


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item], *, threads: int) -> list[Result]:
    """The results of ``work`` for ``items``, in their order."""
    given = list(items)
    if threads == 1 or len(given) < 2:
        return [work(item) for item in given]
    return list(_threads(threads).map(work, given))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="selection")
