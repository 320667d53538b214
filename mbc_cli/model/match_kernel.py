"""`MatchTables.scores` compiled for the processor at hand (numba): only codes and scores pass through memory.

Compiling takes a process a second once, so it happens when look-ups by torch have taken about as long: who
asks once of a small bank never pays it, and nobody pays more than twice the least.

Of several questions at once most passages are ruled out by a bound of their score, in whole numbers of two
bytes, of which a processor adds twice as many at a time; the others are scored as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from mbc_cli.model.compiled import compiled, side_by_side

WORTH_COMPILING = 2_000_000
"""Scores (passages times questions) that take torch about as long as compiling does."""
# Scored by one thread at a time: their codes stay in its cache while every group of questions passes.
_ROWS = 4096
# Questions whose tables are read together: more leave the second-level cache.
_QUESTIONS = 16
# From so many questions on, bounds come first. For fewer, walking through the codes is most of the work.
_BOUNDED = 4
# Three parts, each rounded up and one more, stay below 2^15.
_LARGEST_PART = 10_900
_scored = 0


def pays(scores: int) -> bool:
    """Whether to score by the kernel, when ``scores`` more are wanted."""
    global _scored
    _scored += scores
    return _scored > WORTH_COMPILING


@dataclass(frozen=True)
class Group:
    """Questions ``first`` to ``last`` as the kernel reads them; see the attributes of ``MatchTables``.

    ``bounds`` (offsets, codes, columns) int16 and ``bound_weights`` (columns,) make of codes a score that no
    passage exceeds, ``least_bound`` is what a match is at least; None where there are few questions.
    """

    first: int
    last: int
    tables: np.ndarray
    weights: np.ndarray
    starts: np.ndarray
    bounds: np.ndarray | None
    bound_weights: np.ndarray | None
    least_bound: int

    @classmethod
    def of(
        cls, first: int, last: int, tables: np.ndarray, weights: np.ndarray, starts: np.ndarray, least: float
    ) -> Group:
        """Of the tables of all questions."""
        columns = slice(starts[first], starts[last])
        own, weight = np.ascontiguousarray(tables[..., columns]), weights[columns]
        begins = starts[first : last + 1] - starts[first]
        if last - first < _BOUNDED:
            return cls(first, last, own, weight, begins, None, None, 0)
        floored = np.isfinite(least)
        unit = _LARGEST_PART / max(float(np.abs(own).max()), abs(least) if floored else 0.0, 1e-30)
        bounds = np.ceil(own * np.float32(unit)).astype(np.int16) + np.int16(1)  # more than rounding takes
        bounds[:, -1] = 0
        floor = int(np.ceil(least * unit)) + 1 if floored else -(2**15)
        return cls(first, last, own, weight, begins, bounds, weight / np.float32(unit), floor)


def groups(tables: np.ndarray, weights: np.ndarray, starts: Sequence[int], least: float) -> list[Group]:
    """The questions of ``MatchTables``, some together."""
    count, columns = len(starts) - 1, np.asarray(starts, dtype=np.int64)
    return [
        Group.of(first, min(first + _QUESTIONS, count), tables, weights, columns, least)
        for first in range(0, count, _QUESTIONS)
    ]


def scores(
    codes: np.ndarray,
    groups: Sequence[Group],
    codes_per_slot: int,
    least: float,
    reach: np.ndarray | None = None,
    *,
    threads: int,
) -> np.ndarray:
    """The unscaled scores (N, B) float32 of codes (N, T); those that stay below ``reach`` (B,) may be
    minus infinity. Other arguments as the attributes of ``MatchTables``."""
    codes = np.ascontiguousarray(codes)
    if codes.dtype not in (np.uint16, np.uint32):
        codes = codes.astype(np.uint32)
    found = np.empty((len(codes), groups[-1].last), dtype=np.float32)
    score, score_reaching = _compiled(len(groups[0].tables) > 1)
    floor = np.float32(least)

    def part(first: int) -> None:
        rows = slice(first, first + _ROWS)
        for group in groups:
            own, questions = (group.tables, group.weights, group.starts), slice(group.first, group.last)
            if reach is None or group.bounds is None:
                score(codes[rows], *own, codes_per_slot, floor, found[rows, questions])
            else:
                bound = (group.bounds, group.bound_weights, np.int16(group.least_bound))
                score_reaching(
                    codes[rows], *own, codes_per_slot, floor, found[rows, questions], *bound, reach[questions]
                )

    side_by_side(part, range(0, len(codes), _ROWS), threads=threads)
    return found


@cache
def _compiled(with_neighbours: bool) -> tuple[Callable[..., None], Callable[..., None]]:
    """Score all passages; and score those whose bounds reach far enough."""

    def best_matches(codes: Any, tables: Any, first: int, last: int, codes_per_slot: int, best: Any) -> None:
        """Raise ``best`` (columns,), from ``first`` to ``last``, to the best match among codes (T,)."""
        kind = best.dtype.type
        slots, beyond = len(codes), tables.shape[1] - 1
        for slot in range(slots):
            own = tables[0, codes[slot] + slot * codes_per_slot]
            if with_neighbours:
                after = tables[1, codes[slot + 1] if slot + 1 < slots else beyond]
                before = tables[2, codes[slot - 1] if slot > 0 else beyond]
                for token in range(first, last):
                    match = kind(kind(own[token] + after[token]) + before[token])
                    best[token] = max(best[token], match)
            else:
                for token in range(first, last):
                    best[token] = max(best[token], own[token])

    def weighted(best: Any, weights: Any, first: int, last: int) -> Any:
        a, b, c, d = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
        for token in range(first, last, 4):
            a += np.float32(best[token]) * weights[token]
            b += np.float32(best[token + 1]) * weights[token + 1]
            c += np.float32(best[token + 2]) * weights[token + 2]
            d += np.float32(best[token + 3]) * weights[token + 3]
        return (a + b) + (c + d)

    match, total = compiled(best_matches), compiled(weighted)

    def score(
        codes: Any, tables: Any, weights: Any, starts: Any, codes_per_slot: int, least: Any, found: Any
    ) -> None:
        best = np.empty(tables.shape[2], np.float32)
        for row in range(len(codes)):
            best[:] = least
            match(codes[row], tables, 0, len(best), codes_per_slot, best)
            for question in range(len(starts) - 1):
                found[row, question] = total(best, weights, starts[question], starts[question + 1])

    def score_reaching(
        codes: Any,
        tables: Any,
        weights: Any,
        starts: Any,
        codes_per_slot: int,
        least: Any,
        found: Any,
        bounds: Any,
        bound_weights: Any,
        least_bound: Any,
        reach: Any,
    ) -> None:
        best = np.empty(tables.shape[2], np.float32)
        bound = np.empty(tables.shape[2], np.int16)
        for row in range(len(codes)):
            bound[:] = least_bound
            match(codes[row], bounds, 0, len(bound), codes_per_slot, bound)
            for question in range(len(starts) - 1):
                first, last = starts[question], starts[question + 1]
                if total(bound, bound_weights, first, last) < reach[question]:
                    found[row, question] = -np.inf
                else:
                    best[first:last] = least
                    match(codes[row], tables, first, last, codes_per_slot, best)
                    found[row, question] = total(best, weights, first, last)

    return compiled(score), compiled(score_reaching)
