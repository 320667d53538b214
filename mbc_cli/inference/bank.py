"""One snapshot of the store as the model reads it: what may be read of it, as codes and counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from mbc_store import Snapshot, StoredPassage
from mbc_store.posting_lists import PostingLists
from torch import Tensor

from mbc_cli.errors import AdapterError
from mbc_cli.inference.candidates import likely_rows
from mbc_cli.inference.checks import check_probes
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.model.bank import Bank
from mbc_cli.model.match_tables import MatchTables

# Rows fetched from the store and scored together: they bound the memory that a question takes, whatever the
# size of the bank.
ROWS_READ = 65536
# Codes up to this many bytes stay in memory from the second reading on; larger banks are always streamed.
CACHED_CODE_BYTES = 1024 * 2**20


class PassageBank(Protocol):
    """A bank that can be read in part and whose passages can be named."""

    def filtered(self, filter: MemoryFilter) -> Bank:
        """What ``filter`` lets through, for a model to read."""

    def passage_count(self, filter: MemoryFilter) -> int:
        """How many passages ``filter`` lets through."""

    def passages(self, rows: np.ndarray) -> list[StoredPassage]:
        """The passages at ``rows`` (n,), in that order."""


class CodeBank:
    """The bank of one snapshot: its code counts, codes and passages.

    The counts of the empty filter come from the store's count array: O(T L K) whatever the number of
    documents, and no code is read. Codes are streamed when they are first read, so that one question takes no
    more memory of a larger bank, then kept.

    Attributes:
        probes: how many codes each token of a question looks up in posting lists; None: every passage is
            compared.
    """

    def __init__(self, snapshot: Snapshot, device: torch.device) -> None:
        self.snapshot = snapshot
        self.device = device
        self.probes: int | None = None
        self._counts: Tensor | None = None
        self._streamed = False
        self._chunks: list[tuple[int, np.ndarray, np.ndarray]] | None = None

    def filtered(self, filter: MemoryFilter) -> Bank:
        return _FilteredBank(self, filter)

    def counts(self, filter: MemoryFilter) -> Tensor:
        """How often each code occurs: (T, L, K) int64."""
        mask = self._mask(filter)
        if mask is not None:
            return torch.tensor(self.snapshot.code_counts(mask), device=self.device)
        if self._counts is None:
            self._counts = torch.tensor(self.snapshot.code_counts(), device=self.device)
        return self._counts

    def chunks(
        self, filter: MemoryFilter, wanted: MatchTables | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Chunks of readable rows: their numbers (n,) int64 and their codes (n, T, L) as stored, n > 0.

        With ``probes`` only of those rows that posting lists say may be ``wanted``.
        """
        mask = self._mask(filter)
        if self.probes is None:
            yield from self._every(mask)
        else:
            yield from self._likely(wanted, self.probes, mask)

    def _every(self, mask: np.ndarray | None) -> Iterator[tuple[Tensor, Tensor]]:
        for first, codes, alive in self._code_chunks():
            readable = alive if mask is None else alive & mask[first : first + len(alive)]
            offsets = np.flatnonzero(readable)
            if len(offsets):
                read = codes if len(offsets) == len(codes) else codes[offsets]
                yield (
                    torch.from_numpy(offsets + first).to(self.device),
                    torch.from_numpy(read).to(self.device),
                )

    def take(self, rows: Tensor) -> Tensor:
        """The codes at ``rows`` (...) int64: (..., T, L) int64."""
        codes = self._codes(self.snapshot.codes(rows.flatten().cpu().numpy()))
        return codes.reshape(*rows.shape, *codes.shape[1:])

    def passage_count(self, filter: MemoryFilter) -> int:
        mask = self._mask(filter)
        return self.snapshot.passage_count if mask is None else int(mask.sum())

    def passages(self, rows: np.ndarray) -> list[StoredPassage]:
        return self.snapshot.passages(rows)

    def _likely(
        self, wanted: MatchTables | None, probes: int, mask: np.ndarray | None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        check_probes(self.snapshot, probes)
        if wanted is None or wanted.codes_per_slot:
            raise AdapterError(
                "probes are set, but this adapter cannot find passages by lists of their codes",
                "leave --probes out: every passage is compared then",
            )
        lists = PostingLists(self.snapshot.columns)
        newest = np.arange(lists.indexed, self.snapshot.row_count)
        rows = np.concatenate([likely_rows(lists, wanted, probes, mask), newest])
        alive = self.snapshot.columns.take("passages/alive", rows) if mask is None else mask[rows]
        rows = rows[alive]
        for start in range(0, len(rows), ROWS_READ):
            part = rows[start : start + ROWS_READ]
            yield torch.from_numpy(part).to(self.device), torch.from_numpy(self._at(part)).to(self.device)

    def _at(self, rows: np.ndarray) -> np.ndarray:
        """The codes (n, T, L) of ``rows`` (n,), ascending, as stored."""
        chunks = self._chunks_in_memory()
        if chunks is None:
            return self.snapshot.codes(rows)
        bounds = np.searchsorted(rows, [first for first, _, _ in chunks] + [self.snapshot.row_count])
        parts = [
            codes[rows[low:high] - first]
            for (first, codes, _), low, high in zip(chunks, bounds[:-1], bounds[1:], strict=True)
            if high > low
        ]
        return np.concatenate(parts)

    def _mask(self, filter: MemoryFilter) -> np.ndarray | None:
        """The (rows,) bool mask of the passages that may be read, or None for every stored one."""
        if filter.is_empty:
            return None
        return self.snapshot.row_mask(since=filter.since, until=filter.until, where=filter.where or None)

    def _codes(self, codes: np.ndarray) -> Tensor:
        return torch.from_numpy(codes.astype(np.int64)).to(self.device)

    def _code_chunks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        yield from self._chunks_in_memory() or self._streamed_chunks()

    def _chunks_in_memory(self) -> list[tuple[int, np.ndarray, np.ndarray]] | None:
        """All codes, from the second reading on and if they fit."""
        config = self.snapshot.config
        fits = self.snapshot.row_count * config.slots * config.num_quantizers * 2 <= CACHED_CODE_BYTES
        if self._chunks is None and self._streamed and fits:
            self._chunks = list(self._streamed_chunks())
        self._streamed = True
        return self._chunks

    def _streamed_chunks(self) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        for first, codes, alive in self.snapshot.iter_codes(ROWS_READ):
            yield first, np.ascontiguousarray(codes), alive


@dataclass(frozen=True, slots=True)
class _FilteredBank:
    """What a filter lets through of a bank, as the model's `Bank`."""

    bank: CodeBank
    filter: MemoryFilter

    def counts(self) -> Tensor:
        return self.bank.counts(self.filter)

    def chunks(self, wanted: MatchTables | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        return self.bank.chunks(self.filter, wanted)

    def take(self, rows: Tensor) -> Tensor:
        return self.bank.take(rows)
