"""What a memory model reads from, and what it finds there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.match_tables import MatchTables

NEAR_EQUAL = 2.0
"""How far from the best score, in nats, passages are taken to say as much as the best."""
COMPARED_BY_TIME = 8
"""How many passages are compared by time, at least, however few are read."""

Score = Callable[[Tensor, Tensor | None], Tensor]
"""Scores (B, n) of passages; those below the second argument (B,) may be minus infinity."""
_FEW = 4096  # passages

Times = Callable[[Int[Tensor, "B n"]], Int[Tensor, "B n"]]
"""When passages at rows (B, n) int64 are from: (B, n) int64, where more is later."""


@runtime_checkable
class Bank(Protocol):
    """Passages in rows: codes (n, T, L) int64, or context vectors (n, T, C) where nothing is quantised."""

    def counts(self) -> Int[Tensor, "T L K"] | None:
        """How often each slot holds each code, (T, L, K) int64; None where the bank keeps no counts."""

    def chunks(
        self, wanted: MatchTables | None = None
    ) -> Iterator[tuple[Int[Tensor, " n"], Num[Tensor, "n T width"]]]:
        """All passages, part by part: row numbers (n,) int64 and the passages of these rows, n > 0.

        Codes come in the integer type in which they are kept. A bank that can may leave out passages that are
        not likely to be what the questions of ``wanted`` look for.
        """

    def take(self, rows: Int[Tensor, "*rows"]) -> Num[Tensor, "*rows T width"]:
        """The passages at rows of any shape (...) int64: (..., T, L) or (..., T, C)."""


class TensorBank:
    """Passages held in memory, numbered from 0; it keeps no counts."""

    def __init__(self, passages: Num[Tensor, "n T width"]) -> None:
        self._passages = passages

    def counts(self) -> Int[Tensor, "T L K"] | None:
        return None

    def chunks(
        self, wanted: MatchTables | None = None
    ) -> Iterator[tuple[Int[Tensor, " n"], Num[Tensor, "n T width"]]]:
        if len(self._passages):
            yield torch.arange(len(self._passages), device=self._passages.device), self._passages

    def take(self, rows: Int[Tensor, "*rows"]) -> Num[Tensor, "*rows T width"]:
        return self._passages[rows]


@dataclass(frozen=True)
class EncodedPassages:
    """B passages as a bank holds them.

    ``passages`` are what a question may read now: codes (B, T, L) int64, or context vectors (B, T, C),
    unquantised before training has placed its codebooks. ``codes`` are None where the model makes none.
    ``error`` (B,) float32 is the mean squared difference between context vectors and what their codes decode
    to, None where codes are exact.
    """

    passages: Num[Tensor, "B T width"]
    codes: Int[Tensor, "B T L"] | None
    error: Float[Tensor, " B"] | None

    @property
    def is_finite(self) -> bool:
        """Whether context vectors and errors are numbers; codes of others would say nothing of a text."""
        numbers = [x for x in (self.passages, self.error) if x is not None]
        return all(bool(x.isfinite().all()) for x in numbers)


@dataclass(frozen=True)
class Reading:
    """What B questions find in a bank.

    ``rows`` (B, k) int64 are the passages found for each, best first, and ``scores`` (B, k) float32 theirs;
    k is 0 where passages are not ranked or there is none. ``prefix_length`` is how many of the LLM's
    positions it takes to read them. ``prefix`` computes what is read; None where the bank is empty.
    ``prompted`` gives it with the prompts read after it, where finding has done so.
    """

    rows: Int[Tensor, "B k"]
    scores: Float[Tensor, "B k"]
    prefix_length: int
    prefix: Callable[[], Prefix] | None
    prompted: Callable[[], Prefix] | None = None


def best_passages(
    parts: Iterable[tuple[Tensor, Tensor]], score: Score, k: int, *, questions: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """The ``k`` best passages of each question, best first: scores (B, k) float32 and rows (B, k) int64.

    ``parts`` are those of a bank: rows (n,) and their passages. Of equal scores the higher row comes first,
    since it was written last. There are fewer than ``k`` where the bank is smaller.
    """
    scores = torch.empty(questions, 0, device=device)
    rows = scores.long()
    for numbers, passages in _first_small(parts):
        found = score(passages, scores[:, -1] if scores.shape[1] == k else None)
        if found.shape[1] > 4 * k:  # sorted are only those that reach the best k, equals included
            least = found.topk(k, dim=1).values[:, -1:]
            if scores.shape[1] == k:
                least = torch.maximum(least, scores[:, -1:])
            places = (found >= least).any(0).nonzero()[:, 0]
            numbers, found = numbers[places], found[:, places]
        scores, rows = _best(
            torch.cat([scores, found], dim=1), torch.cat([rows, numbers.expand(questions, -1)], dim=1), k
        )
    return scores, rows


def _first_small(parts: Iterable[tuple[Tensor, Tensor]]) -> Iterator[tuple[Tensor, Tensor]]:
    """``parts``, the first one in two: what a few passages score tells what all others have to reach."""
    few = _FEW
    for rows, passages in parts:
        yield rows[:few], passages[:few]
        if len(rows) > few:
            yield rows[few:], passages[few:]
        few = max(len(rows), few)


def newest_first(scores: Float[Tensor, "B n"], rows: Int[Tensor, "B n"], times: Times) -> Int[Tensor, "B n"]:
    """The order (B, n) int64 in which those about as good as the best are sorted by time, newest first.

    ``scores`` and ``rows`` (B, n) come best first. The newest takes the place, and the score, of the best.
    """
    near = scores >= scores[:, :1] - NEAR_EQUAL
    key = torch.where(near, times(rows), torch.iinfo(torch.int64).min)
    return key.argsort(dim=1, descending=True, stable=True)


def _best(scores: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best of scores and rows (B, n), best first; of equal scores the higher row comes first."""
    # Not topk, which leaves the order of equals open: passages may have equal codes.
    order = torch.argsort(rows, dim=1, descending=True)
    best = scores.gather(1, order).sort(dim=1, descending=True, stable=True).indices[:, :k]
    order = order.gather(1, best)
    return scores.gather(1, order), rows.gather(1, order)
