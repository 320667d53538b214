"""One snapshot of the store as the model reads it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from mbc_store import Snapshot, StoredPassage
from torch import Tensor

from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.model.memory_model import Prefix, QuestionEncoding
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel

# Rows fetched from the store together, and rows scored together: both bound the memory that a question takes,
# whatever the size of the bank.
ROWS_READ = 16384
ROWS_SCORED = 2048
# Codes up to this many bytes stay in memory from the second reading on; larger banks are always streamed.
CACHED_CODE_BYTES = 512 * 2**20


class Bank(Protocol):
    """What questions read; B questions, rows are passages."""

    def whole_prefix(
        self, model: WholeBankMemoryModel, question: QuestionEncoding, rows: MemoryFilter
    ) -> Prefix | None:
        """What questions read in the whole bank; None where there is nothing to read."""

    def best_rows(
        self, model: SelectMemoryModel, question: QuestionEncoding, rows: MemoryFilter, k: int
    ) -> tuple[Tensor, np.ndarray]:
        """The ``k`` best rows of each question, best first: scores (B, k) float32 and rows (B, k) int64.

        Of equal scores the row written last comes first. ``k`` is cut to the number of rows there are; it
        can be 0.
        """

    def selected_prefix(
        self, model: SelectMemoryModel, question: QuestionEncoding, numbers: np.ndarray, scores: Tensor
    ) -> Prefix:
        """What questions read in their rows: numbers and scores (B, k), k > 0, best first."""

    def passages(self, numbers: np.ndarray) -> list[StoredPassage]:
        """The passages at rows ``numbers`` (n,), in that order."""

    def passage_count(self, rows: MemoryFilter) -> int:
        """How many passages may be read."""


class CodeBank:
    """The bank of one snapshot: its code counts, codes and passages.

    Whole-bank reading touches only :meth:`counts`, which for the empty filter come from the store's count
    array: O(T L K) whatever the number of documents, and no code is read. Selecting reads all codes: the
    first time they are streamed, so that one question takes no more memory of a larger bank, then kept.
    """

    def __init__(self, snapshot: Snapshot, device: torch.device) -> None:
        self.snapshot = snapshot
        self.device = device
        self._counts: Tensor | None = None
        self._streamed = False
        self._chunks: list[tuple[int, np.ndarray, np.ndarray]] | None = None

    def row_mask(self, rows: MemoryFilter) -> np.ndarray | None:
        """The (rows,) bool mask of the passages that may be read, or None for every stored one."""
        if rows.is_empty:
            return None
        return self.snapshot.row_mask(since=rows.since, until=rows.until, where=rows.where or None)

    def counts(self, rows: MemoryFilter) -> Tensor:
        """How often each code occurs: (T, L, K) int64."""
        mask = self.row_mask(rows)
        if mask is not None:
            return torch.tensor(self.snapshot.code_counts(mask), device=self.device)
        if self._counts is None:
            self._counts = torch.tensor(self.snapshot.code_counts(), device=self.device)
        return self._counts

    def whole_prefix(
        self, model: WholeBankMemoryModel, question: QuestionEncoding, rows: MemoryFilter
    ) -> Prefix | None:
        counts = self.counts(rows)
        return model.whole_bank_prefix(question, counts) if bool(counts.any()) else None

    def best_rows(
        self, model: SelectMemoryModel, question: QuestionEncoding, rows: MemoryFilter, k: int
    ) -> tuple[Tensor, np.ndarray]:
        scores: Tensor | None = None
        found: Tensor | None = None
        for row_numbers, codes in self._readable(rows):
            chunk = model.select(question, codes)
            numbers = torch.from_numpy(row_numbers).to(self.device).expand(len(chunk), -1)
            scores = chunk if scores is None else torch.cat([scores, chunk], dim=1)
            found = numbers if found is None else torch.cat([found, numbers], dim=1)
            scores, found = best_of(scores, found, k)
        if scores is None or found is None:
            return torch.empty(0, 0), np.empty((0, 0), dtype=np.int64)
        return scores, found.cpu().numpy()

    def selected_prefix(
        self, model: SelectMemoryModel, question: QuestionEncoding, numbers: np.ndarray, scores: Tensor
    ) -> Prefix:
        codes = torch.from_numpy(self.snapshot.codes(numbers.reshape(-1)).astype(np.int64))
        return model.selected_prefix(question, codes.to(self.device).unflatten(0, numbers.shape), scores)

    def passages(self, numbers: np.ndarray) -> list[StoredPassage]:
        return self.snapshot.passages(numbers)

    def passage_count(self, rows: MemoryFilter) -> int:
        mask = self.row_mask(rows)
        return self.snapshot.passage_count if mask is None else int(mask.sum())

    def _readable(self, rows: MemoryFilter) -> Iterator[tuple[np.ndarray, Tensor]]:
        """Chunks of readable rows: their numbers (n,) int64 and their codes (n, T, L) int64, n > 0."""
        mask = self.row_mask(rows)
        for first, codes, alive in self._code_chunks():
            readable = alive if mask is None else alive & mask[first : first + len(alive)]
            offsets = np.flatnonzero(readable)
            for start in range(0, len(offsets), ROWS_SCORED):
                part = offsets[start : start + ROWS_SCORED]
                yield part + first, torch.from_numpy(codes[part].astype(np.int64)).to(self.device)

    def _code_chunks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        config = self.snapshot.config
        fits = self.snapshot.row_count * config.slots * config.num_quantizers * 2 <= CACHED_CODE_BYTES
        if self._chunks is None and self._streamed and fits:
            self._chunks = list(self.snapshot.iter_codes(ROWS_READ))
        self._streamed = True
        yield from self._chunks or self.snapshot.iter_codes(ROWS_READ)


def best_of(scores: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The ``k`` best of scores and rows (B, n), best first; of equal scores the higher row comes first."""
    # Not topk, which leaves the order of equals open: passages may have equal codes.
    order = torch.argsort(rows, dim=1, descending=True)
    best = scores.gather(1, order).sort(dim=1, descending=True, stable=True).indices[:, :k]
    order = order.gather(1, best)
    return scores.gather(1, order), rows.gather(1, order)
