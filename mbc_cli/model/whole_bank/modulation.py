"""Modulation: the latent becomes key and value prefixes of the frozen LLM (MBC section 3.3)."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.llm.families import BackboneShape
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.per_slot import PerSlotLayerNorm, PerSlotLinear

LatentOverflow = Literal["average", "truncate"]


def spread_slots(
    latent: Float[Tensor, "B T D"], slots: int, overflow: LatentOverflow = "average"
) -> Float[Tensor, "B {slots} D"]:
    """Spread T latent vectors (B, T, D) over any number of prefix slots: (B, slots, D).

    Every vector is repeated, the first ``slots % T`` once more than the rest. With fewer slots than vectors
    that leaves the first vectors a slot each and the rest none, as in the published code (``truncate``);
    ``average`` then gives each slot the mean of its share of neighbouring vectors, so that none is lost.
    """
    vectors = latent.shape[1]
    if slots < vectors and overflow == "average":
        return F.adaptive_avg_pool1d(latent.transpose(1, 2), slots).transpose(1, 2)
    copies = torch.full((vectors,), slots // vectors, device=latent.device)
    copies[: slots % vectors] += 1
    return latent.repeat_interleave(copies, dim=1, output_size=slots)


class Modulation(nn.Module):
    """A residual feed-forward per slot, reshaped to P key and P value vectors for every layer.

    Where a layer's keys are not as wide as the hidden states (grouped-query attention, or heads of their
    own size) a linear map ends it. ``to_kv`` is a map of another kind, (B, slots, D) -> (B, slots, kv_width).
    """

    def __init__(
        self,
        shape: BackboneShape,
        prefix_tokens: int,
        hidden: int,
        *,
        overflow: LatentOverflow = "average",
        to_kv: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.shape = shape
        self.overflow = overflow
        self.prefix_tokens = prefix_tokens
        self.slots = prefix_tokens * shape.layers * 2
        width = shape.hidden_size
        self.norm = PerSlotLayerNorm(self.slots, width)
        self.enter = PerSlotLinear(self.slots, width, hidden)
        self.leave = PerSlotLinear(self.slots, hidden, width)
        if to_kv is None:
            fits = shape.kv_width == width
            to_kv = nn.Identity() if fits else nn.Linear(width, shape.kv_width, bias=False)
        self.to_kv = to_kv

    def forward(self, latent: Float[Tensor, "B T D"]) -> Prefix:
        """Latent (B, T, D) -> prefix (layers, 2, B, kv_heads, P, head_dim)."""
        x = spread_slots(latent, self.slots, self.overflow)
        x = self.to_kv(x + self.leave(F.gelu(self.enter(self.norm(x)))))
        shape = self.shape
        x = x.reshape(-1, self.prefix_tokens, shape.layers, 2, shape.kv_heads, shape.head_dim)
        return Prefix(x.permute(2, 3, 0, 4, 1, 5))
