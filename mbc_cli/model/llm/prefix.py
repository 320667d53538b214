"""The key and value states that carry a memory into the frozen LLM."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import DynamicCache


@dataclass(frozen=True)
class Prefix:
    """A key and a value for P virtual tokens in every layer.

    ``states`` is (layers, 2, B, kv_heads, P, head_dim): keys at index 0 of the second axis, values at 1.
    ``log_weights`` (B, P) float32 is added to the attention logits of the tokens: one of weight w is attended
    to as w tokens of its kind would be. None weighs all alike. ``padding`` (B,) int64 is how many tokens at
    the beginning of each row are none: their weight hides them, and positions are counted from behind them.
    """

    states: Float[Tensor, "layers 2 B kv_heads P head_dim"]
    log_weights: Float[Tensor, "B P"] | None = None
    padding: Int[Tensor, " B"] | None = None

    @property
    def batch(self) -> int:
        return self.states.shape[2]

    @property
    def length(self) -> int:
        """P, the virtual tokens per layer."""
        return self.states.shape[4]

    def to_cache(self, dtype: torch.dtype | None = None) -> DynamicCache:
        """A fresh cache that holds the prefix, cast to ``dtype`` if given; gradients flow through it.

        A cache grows while the LLM reads, so every forward pass or generation needs its own.
        """
        states = self.states if dtype is None else self.states.to(dtype)
        return DynamicCache(ddp_cache_data=[(layer[0], layer[1]) for layer in states])

    def __getitem__(self, rows: Tensor | slice) -> Prefix:
        """The prefixes of some rows of the batch."""
        weights = None if self.log_weights is None else self.log_weights[rows]
        padding = None if self.padding is None else self.padding[rows]
        return Prefix(self.states[:, :, rows], weights, padding)
