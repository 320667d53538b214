"""A queue of the context vectors of the documents trained on last: negatives for selection, rows for k-means.

As in MoCo (arXiv 1911.05722) and cross-batch memory (arXiv 1912.06798), a loss then sees far more documents
than a batch holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Int, Num
from torch import Tensor, nn


class Remembered(NamedTuple):
    """Passages (n, ...) and the identity of each one's text (n,) int64."""

    entries: Tensor
    texts: Tensor


class MemoryQueue(nn.Module):
    """A ring of the last documents' passages: context vectors (documents, T, C) or codes (documents, T).

    Every process of a training has its own, and its checkpoints keep them apart from the weights, so that a
    resumed run continues exactly; no part of an adapter.
    """

    entries: Tensor
    texts: Tensor
    seen: Tensor

    def __init__(self, documents: int, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        # Not persistent: no part of the weights. `state` and `load_state` are for checkpoints.
        self.register_buffer("entries", torch.zeros(documents, *shape, dtype=dtype), persistent=False)
        self.register_buffer("texts", torch.zeros(documents, dtype=torch.int64), persistent=False)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64), persistent=False)

    @property
    def filled(self) -> Remembered:
        """All there is so far."""
        return Remembered(self.entries[: int(self.seen)], self.texts[: int(self.seen)])

    @torch.no_grad()
    def add(self, entries: Num[Tensor, "B ..."], texts: Int[Tensor, " B"]) -> None:
        """Remember a batch (B, ...) with the identities of its texts (B,), in place of the oldest."""
        size = self.entries.shape[0]
        places = (torch.arange(entries.shape[0], device=entries.device) + self.seen) % size
        self.entries[places] = entries.detach().to(self.entries.dtype)
        self.texts[places] = texts
        self.seen += entries.shape[0]

    def state(self) -> dict[str, Tensor]:
        """Everything needed to continue."""
        return {name: value.clone() for name, value in self.named_buffers()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""
        for name, value in self.named_buffers():
            value.copy_(state[name])

    def negatives(self, number: int, *, at_random: bool) -> Remembered:
        """At most ``number`` remembered documents: random ones, or the first, for figures without chance."""
        entries, texts = self.filled
        if not at_random or entries.shape[0] <= number:
            return Remembered(entries[:number], texts[:number])
        drawn = torch.randperm(entries.shape[0], device=entries.device)[:number]
        return Remembered(entries[drawn], texts[drawn])


def text_identities(input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]) -> Int[Tensor, " B"]:
    """A number for each text of a batch (B, S), equal for equal texts whatever their padding: (B,) int64."""
    places = torch.arange(1, input_ids.shape[1] + 1, device=input_ids.device)
    # Wraps around on overflow, as a hash may.
    return ((input_ids + 1) * (places * 2654435761 + 12345) * attention_mask).sum(1)
