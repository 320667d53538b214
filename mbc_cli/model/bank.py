"""What a memory model reads from, and what it finds there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from mbc_cli.model.llm.prefix import Prefix


class Bank(Protocol):
    """Passages in rows: codes (n, T, L) int64, or context vectors (n, T, C) where nothing is quantised."""

    def counts(self) -> Tensor | None:
        """How often each slot holds each code, (T, L, K) int64; None where the bank keeps no counts."""

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All passages, part by part: row numbers (n,) int64 and the passages of these rows, n > 0."""

    def take(self, rows: Tensor) -> Tensor:
        """The passages at rows of any shape (...) int64: (..., T, L) or (..., T, C)."""


class TensorBank:
    """Passages held in memory, numbered from 0; it keeps no counts."""

    def __init__(self, passages: Tensor) -> None:
        self._passages = passages

    def counts(self) -> Tensor | None:
        return None

    def chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        if len(self._passages):
            yield torch.arange(len(self._passages), device=self._passages.device), self._passages

    def take(self, rows: Tensor) -> Tensor:
        return self._passages[rows]


@dataclass(frozen=True)
class Reading:
    """What B questions find in a bank.

    ``rows`` (B, k) int64 are the passages found for each, best first, and ``scores`` (B, k) float32 theirs;
    k is 0 where passages are not ranked or there is none. ``prefix_length`` is how many of the LLM's
    positions it takes to read them. ``prefix`` computes what is read; None where the bank is empty.
    """

    rows: Tensor
    scores: Tensor
    prefix_length: int
    prefix: Callable[[], Prefix] | None
