"""Layers with weights of their own for every slot, computed as one batched product.

The published networks keep one small module per slot in a list (up to 192 for gpt2-xl). Stacking their
weights gives the same function with one kernel call instead of one per slot.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class PerSlotLinear(nn.Module):
    """A linear map per slot: (B, slots, inputs) -> (B, slots, outputs)."""

    def __init__(self, slots: int, inputs: int, outputs: int) -> None:
        super().__init__()
        # (slots, inputs, outputs): transposed against nn.Linear, as the batched product wants it.
        self.weight = nn.Parameter(torch.empty(slots, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(slots, outputs))
        bound = 1 / math.sqrt(inputs)  # nn.Linear's default initialisation
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Float[Tensor, "B slots inputs"]) -> Float[Tensor, "B slots outputs"]:
        return torch.einsum("bsi,sio->bso", x, self.weight) + self.bias


class PerSlotLayerNorm(nn.Module):
    """A layer norm with its own scale and shift per slot: (B, slots, width) -> the same."""

    def __init__(self, slots: int, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(slots, width))
        self.bias = nn.Parameter(torch.zeros(slots, width))
        self.eps = eps

    def forward(self, x: Float[Tensor, "B slots width"]) -> Float[Tensor, "B slots width"]:
        return F.layer_norm(x, x.shape[-1:], eps=self.eps) * self.weight + self.bias
