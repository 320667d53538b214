"""The space in which vectors are quantised, and the way in and out of it.

Context vectors (B, T, D) enter it as the quantiser's (B, T, C), and codes' vectors leave it.
``width`` is C; ``slots_differ`` tells whether the same code means another vector in another slot.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class IdentityCodeSpace(nn.Module):
    """Quantise the context vectors as they are, as published."""

    slots_differ = False

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def enter(self, vectors: Float[Tensor, "B T D"]) -> Float[Tensor, "B T C"]:
        """(B, T, D), unchanged."""
        return vectors

    def leave(self, vectors: Float[Tensor, "N T C"]) -> Float[Tensor, "N T D"]:
        """(N, T, D), unchanged."""
        return vectors


class ProjectedCodeSpace(nn.Module):
    """Linear maps into and out of a normalised space of C columns, and an embedding per slot on the way out.

    The maps start as the identity, or where C < D as the projection onto C orthonormal directions and back.
    """

    def __init__(self, width: int, codebook_dim: int, slots: int, *, slot_embedding: bool = True) -> None:
        super().__init__()
        self.slots_differ = slot_embedding
        self.width = codebook_dim
        if codebook_dim > width:
            raise ValueError(
                f"quantizer.codebook_dim is {codebook_dim} but context vectors have {width} columns: "
                f"set it to at most {width}"
            )
        self.into = nn.Linear(width, codebook_dim)
        self.out = nn.Linear(codebook_dim, width)
        # Slots that keep the order of a text need no names of their own: the LLM sees the order itself.
        self.slot_embedding = nn.Parameter(torch.randn(slots, width) * 0.3) if slot_embedding else None
        with torch.no_grad():
            directions = torch.eye(width)
            if codebook_dim < width and not self.into.weight.is_meta:
                directions = torch.linalg.qr(torch.randn(width, width)).Q
            self.into.weight.copy_(directions[:codebook_dim])
            self.out.weight.copy_(directions[:codebook_dim].T)
            nn.init.zeros_(self.into.bias)
            nn.init.zeros_(self.out.bias)

    def enter(self, vectors: Float[Tensor, "B T D"]) -> Float[Tensor, "B T C"]:
        """(B, T, D) -> (B, T, C), each row of mean 0 and variance 1."""
        x = self.into(vectors)
        return F.layer_norm(x.float(), x.shape[-1:])

    def leave(self, vectors: Float[Tensor, "N T C"]) -> Float[Tensor, "N T D"]:
        """(N, T, C) -> (N, T, D)."""
        decoded = self.out(vectors)
        return decoded if self.slot_embedding is None else decoded + self.slot_embedding
