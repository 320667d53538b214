"""Scores of passages from their codes, by table look-up (MaxSim over codes).

What a token of a question makes of a slot is a sum of parts that depend on one code each: the slot's own, and
those of its neighbours. So a question is a few tables over the codes, and a passage's score is

    scale  sum_i w_i  max_t  sum_o table[o][code[t + o], i],

whatever model made the tables (asymmetric distance computation: Jégou et al. 2011). Two programs compute it,
equal bit for bit: torch's, and one that is compiled when a process has scored enough to be worth it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Integer
from torch import Tensor
from torch.nn import functional as F

from mbc_cli.model import match_kernel

LANES = 4
"""Tokens of a question are padded to a multiple of so many, whose sums run side by side."""
# Matches held at a time, (rows, T, columns) float32: larger blocks leave the processor's cache.
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class MatchTables:
    """What B questions look for, as tables over K codes.

    Attributes:
        tables: (offsets, G K + 1, columns) float32: what a code at each offset from a slot adds for each
            token. The last row, of zeros, stands for what is beyond a text's ends. Each question has columns
            of its own; those that fill up its last ``LANES`` are zero.
        offsets: which neighbours of a slot, itself (0) first.
        weights: (columns,) float32, zero where columns fill up.
        starts: B + 1 numbers: the first column of each question, and the number of all.
        scale: of the scores, () float32.
        codes_per_slot: K where each of G slots has a table of its own, 0 where all share one (G = 1).
        least: what the best match of a token is at least.
    """

    tables: Float[Tensor, "offsets codes columns"]
    offsets: tuple[int, ...]
    weights: Float[Tensor, " columns"]
    starts: tuple[int, ...]
    scale: Float[Tensor, ""]
    codes_per_slot: int = 0
    least: float = -torch.inf

    @classmethod
    def of(
        cls,
        tables: Sequence[Tensor],
        weights: Sequence[Tensor],
        *,
        offsets: tuple[int, ...],
        scale: Float[Tensor, ""],
        codes_per_slot: int = 0,
        least: float = -torch.inf,
    ) -> MatchTables:
        """Of one table (offsets, G K, S) and weights (S,) per question; S may differ."""
        widths = [-(-len(each) // LANES) * LANES for each in weights]
        starts = [0]
        for width in widths:
            starts.append(starts[-1] + width)
        joined = tables[0].new_zeros(len(offsets), tables[0].shape[1] + 1, starts[-1])
        weight = weights[0].new_zeros(starts[-1])
        for table, each, start in zip(tables, weights, starts, strict=False):
            joined[:, :-1, start : start + len(each)] = table
            weight[start : start + len(each)] = each
        return cls(joined, offsets, weight, tuple(starts), scale, codes_per_slot, least)

    def scores(
        self, codes: Integer[Tensor, "N T"], reach: Float[Tensor, " B"] | None = None
    ) -> Float[Tensor, "B N"]:
        """Scores (B, N) float32 of passages. A question's are the same, bit for bit, in any batch and any
        part of a bank; but those that stay below ``reach`` (B,) may be minus infinity."""
        if codes.device.type == "cpu" and match_kernel.pays(len(codes) * (len(self.starts) - 1)):
            found = torch.from_numpy(
                match_kernel.scores(
                    codes.numpy(),
                    self._groups,
                    self.codes_per_slot,
                    self.least,
                    None if reach is None else (reach / self.scale).numpy(),
                    threads=torch.get_num_threads(),
                )
            ).T
        else:
            found = self._by_look_up(codes)
        return found * self.scale

    @cached_property
    def _groups(self) -> list[match_kernel.Group]:
        assert self.offsets in ((0,), (0, 1, -1)), self.offsets
        return match_kernel.groups(self.tables.numpy(), self.weights.numpy(), self.starts, self.least)

    def _by_look_up(self, codes: Tensor) -> Tensor:
        """Weighted sums (B, N) of the best matches, by torch."""
        slots = codes.shape[1]
        rows, columns = self.tables.shape[1:]
        table = self.tables.flatten(0, 1)
        found = []
        for block in codes.split(max(16, _BLOCK_BYTES // (4 * slots * columns))):
            own = block.int()
            if self.codes_per_slot:
                own = own + self.codes_per_slot * torch.arange(slots, device=codes.device, dtype=torch.int32)
            index = own.new_full((*own.shape, len(self.offsets)), rows - 1)
            for i, offset in enumerate(self.offsets):
                size = slots - abs(offset)
                index[..., i].narrow(1, max(0, -offset), size).copy_(own.narrow(1, max(0, offset), size))
                index[..., i] += i * rows
            matches = F.embedding_bag(index.flatten(0, 1), table, mode="sum").unflatten(0, own.shape)
            found.append(self._weighted(matches.amax(1).clamp_min(self.least)))
        return torch.cat(found, dim=1) if found else self.weights.new_empty(len(self.starts) - 1, 0)

    def _weighted(self, best: Tensor) -> Tensor:
        """Weighted sums (B, N) of the best matches (N, columns), in the order in which the kernel adds."""
        lanes = (best * self.weights).unflatten(1, (-1, LANES))
        sums = []
        for first, stop in zip(self.starts, self.starts[1:], strict=False):
            total = lanes.new_zeros(len(best), LANES)
            for group in range(first // LANES, stop // LANES):
                total = total + lanes[:, group]
            sums.append((total[:, 0] + total[:, 1]) + (total[:, 2] + total[:, 3]))
        return torch.stack(sums)
