"""Which passages a question may look for, by posting lists: they are compared then, and no others.

Each token of a question probes the codes that match it best. A passage promises what those of them that it
holds gain over the best code that was not probed, as in the inverted lists of PLAID (Santhanam et al. 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from mbc_store.posting_lists import PostingLists, Run

from mbc_cli.model.compiled import compiled, side_by_side
from mbc_cli.model.match_tables import MatchTables

CANDIDATES = 4096
"""Passages compared for each question."""
LONGEST_LIST = 1 / 8
"""Codes that more of all passages hold tell nothing apart; their lists are not read."""
# Passages whose promises are summed together: they stay in the processor's cache.
_ROWS = 1 << 19
# Promises are whole numbers of two bytes.
_MOST = 60_000


@dataclass(frozen=True, slots=True)
class _Probe:
    """A token's probe of one code: what a passage that holds it gains."""

    code: int
    token: int
    gain: int


def likely_rows(
    lists: PostingLists, wanted: MatchTables, probes: int, readable: np.ndarray | None
) -> np.ndarray:
    """Rows (n,) int64, ascending, of the passages in ``lists`` that the questions of ``wanted`` may look for.

    Args:
        probes: codes that each token looks up.
        readable: (rows,) bool: which passages may be read; None is all.
    """
    found = [np.empty(0, np.int64)]
    if not (runs := lists.runs):  # all passages are too new to be in a list
        return found[0]
    for first, last in zip(wanted.starts, wanted.starts[1:], strict=False):
        columns = slice(first, last)
        chosen = _probes(runs, wanted.tables[0, :-1, columns], wanted.weights[columns], wanted.least, probes)
        found.append(_most_promising(runs, chosen, readable))
    return np.unique(np.concatenate(found))


def _probes(
    runs: Sequence[Run], table: torch.Tensor, weights: torch.Tensor, least: float, probes: int
) -> list[_Probe]:
    """Of a question's table (K, S), by token and falling gain."""
    best = table.topk(min(probes + 1, len(table)), dim=0)
    base = best.values[-1:].clamp_min(least)
    gains = ((best.values[:-1] - base) * weights).clamp_min(0).numpy()
    codes = best.indices[:-1].numpy()
    total = float(gains.max(0).sum()) if gains.size else 0.0
    if total <= 0:
        return []
    distinct, places = np.unique(codes, return_inverse=True)
    lengths = np.sum([run.lengths(distinct) for run in runs], axis=0)[places].reshape(codes.shape)
    scaled = np.round(gains * (_MOST / total)).astype(int)
    useful = (scaled > 0) & (lengths <= LONGEST_LIST * sum(run.stop - run.start for run in runs))
    return [
        _Probe(int(codes[rank, token]), int(token), int(scaled[rank, token]))
        for token, rank in zip(*np.nonzero(useful.T), strict=True)
    ]


def _most_promising(runs: Sequence[Run], probes: Sequence[_Probe], readable: np.ndarray | None) -> np.ndarray:
    """The `CANDIDATES` rows that promise most; of equal ones those written last."""
    if not probes:
        return np.empty(0, np.int64)
    codes = np.unique([probe.code for probe in probes])
    blocks: list[tuple[int, int, dict[int, np.ndarray]]] = []
    for run in runs:
        held = dict(zip(codes.tolist(), run.lists(codes), strict=True))
        for start in range(0, run.stop - run.start, _ROWS):
            stop = min(start + _ROWS, run.stop - run.start)
            bounds = np.array([start, stop], dtype=np.uint32)
            parts = {
                code: rows[slice(*np.searchsorted(rows, bounds))] - np.uint32(start)
                for code, rows in held.items()
            }
            blocks.append((run.start + start, run.start + stop, parts))

    def of_block(block: tuple[int, int, dict[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
        first, stop, parts = block
        promise = np.zeros(stop - first, np.uint16)
        counted = np.zeros(stop - first, np.uint16)  # the last token for which a passage gained
        add = _compiled()
        for probe in probes:
            add(promise, counted, parts[probe.code], probe.gain, probe.token + 1)
        if readable is not None:
            promise[~readable[first:stop]] = 0
        least = max(1, _least_of_best(promise))
        rows = np.flatnonzero(promise >= least)
        return promise[rows], rows + first

    found = side_by_side(of_block, blocks, threads=torch.get_num_threads())
    promise = np.concatenate([part for part, _ in found])
    rows = np.concatenate([part for _, part in found])
    return rows[np.lexsort((rows, promise))[-CANDIDATES:]]


def _least_of_best(promise: np.ndarray) -> int:
    """The promise that the best `CANDIDATES` passages reach."""
    at_least = np.bincount(promise)[::-1].cumsum()
    reached = int(np.searchsorted(at_least, CANDIDATES))
    return max(0, len(at_least) - 1 - reached)


@cache
def _compiled() -> Callable[..., None]:
    def add(promise: Any, counted: Any, rows: Any, gain: int, token: int) -> None:
        for row in rows:
            if counted[row] != token:
                counted[row] = token
                promise[row] += gain

    return compiled(add)
