"""`MatchTables.scores` compiled for the processor at hand (numba): only codes and scores pass through memory.

Compiling takes a process a second once, so it happens when look-ups by torch have taken about as long: who
asks once of a small bank never pays it, and nobody pays more than twice the least.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np

WORTH_COMPILING = 2_000_000
"""Scores (passages times questions) that take torch about as long as compiling does."""
# Scored by one thread at a time: their codes stay in its cache while every group of questions passes.
_ROWS = 4096
# Questions whose tables are read together: more leave the second-level cache.
_QUESTIONS = 8
_scored = 0


def pays(scores: int) -> bool:
    """Whether to score by the kernel, when ``scores`` more are wanted."""
    global _scored
    _scored += scores
    return _scored > WORTH_COMPILING


def scores(
    codes: np.ndarray,
    tables: np.ndarray,
    offsets: Sequence[int],
    weights: np.ndarray,
    starts: Sequence[int],
    codes_per_slot: int,
    least: float,
    *,
    threads: int,
) -> np.ndarray:
    """The unscaled scores (N, B) float32 of codes (N, T); arguments as the attributes of ``MatchTables``."""
    assert tuple(offsets) in ((0,), (0, 1, -1)), offsets
    codes = np.ascontiguousarray(codes)
    if codes.dtype not in (np.uint16, np.uint32):
        codes = codes.astype(np.uint32)
    columns = np.asarray(starts, dtype=np.int64)
    groups = [
        (
            np.ascontiguousarray(tables[..., columns[first] : columns[last]]),
            weights[columns[first] : columns[last]],
            columns[first : last + 1] - columns[first],
            slice(first, last),
        )
        for first in range(0, len(columns) - 1, _QUESTIONS)
        for last in [min(first + _QUESTIONS, len(columns) - 1)]
    ]
    found = np.empty((len(codes), len(columns) - 1), dtype=np.float32)
    score = _compiled(len(offsets) > 1)

    def part(first: int) -> None:
        rows = slice(first, first + _ROWS)
        for table, weight, begins, questions in groups:
            part_found = found[rows, questions]
            score(codes[rows], table, weight, begins, codes_per_slot, np.float32(least), part_found)

    firsts = range(0, len(codes), _ROWS)
    if threads == 1 or len(firsts) < 2:
        for first in firsts:
            part(first)
    else:
        list(_threads(threads).map(part, firsts))
    return found


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="selection")


@cache
def _compiled(with_neighbours: bool) -> Callable[..., None]:
    import numba

    def score(
        codes: Any, tables: Any, weights: Any, starts: Any, codes_per_slot: int, least: Any, found: Any
    ) -> None:
        rows, slots = codes.shape
        beyond = tables.shape[1] - 1
        best = np.empty(tables.shape[2], np.float32)
        for row in range(rows):
            best[:] = least
            for slot in range(slots):
                own = tables[0, codes[row, slot] + slot * codes_per_slot]
                if with_neighbours:
                    after = tables[1, codes[row, slot + 1] if slot + 1 < slots else beyond]
                    before = tables[2, codes[row, slot - 1] if slot > 0 else beyond]
                    for token in range(len(best)):
                        match = (own[token] + after[token]) + before[token]
                        best[token] = max(best[token], match)
                else:
                    for token in range(len(best)):
                        best[token] = max(best[token], own[token])
            for question in range(len(starts) - 1):
                a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for token in range(starts[question], starts[question + 1], 4):
                    a += best[token] * weights[token]
                    b += best[token + 1] * weights[token + 1]
                    c += best[token + 2] * weights[token + 2]
                    d += best[token + 3] * weights[token + 3]
                found[row, question] = (a + b) + (c + d)

    # No fast mathematics: sums are taken as written, so that scores equal torch's. Unwrapped of what checks
    # shapes in tests.
    compiled: Callable[..., None] = numba.njit(nogil=True)(inspect.unwrap(score))
    return compiled
