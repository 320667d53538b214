"""Nearest codes, and k-means over groups of vectors at once."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Rows per block of the distance matrix: 1,024 rows against 2,048 codes take 8 MB, which a cache holds.
_ROWS = 1024


def assign(rows: Float[Tensor, "G n C"], codebook: Float[Tensor, "G K C"]) -> Int[Tensor, "G n"]:
    """Index of the nearest code by squared L2: rows (G, n, C), codebook (G, K, C) -> (G, n) int64."""
    squares = codebook.square().sum(-1)[:, None]
    # A row's own square makes no code nearer than another.
    blocks = [
        torch.baddbmm(squares, block, codebook.transpose(1, 2), alpha=-2).argmin(-1)
        for block in rows.split(_ROWS, dim=1)
    ]
    return torch.cat(blocks, dim=1)


@torch.no_grad()
def kmeans(rows: Float[Tensor, "G n C"], codes: int, iterations: int) -> Float[Tensor, "G {codes} C"]:
    """Lloyd's algorithm for each group: rows (G, n, C) -> centres (G, codes, C).

    Starts from rows spread by k-means++; a centre that loses all its rows moves to a random one. Fewer rows
    than codes are allowed: then rows repeat among the centres.
    """
    centres = _spread_rows(rows, codes)
    for _ in range(iterations):
        chosen = assign(rows, centres)
        sums = torch.zeros_like(centres).scatter_add_(1, chosen[..., None].expand_as(rows), rows)
        counts = torch.zeros_like(centres[..., 0]).scatter_add_(1, chosen, torch.ones_like(rows[..., 0]))
        means = sums / counts.clamp_min(1)[..., None]
        centres = torch.where(counts[..., None] > 0, means, _random_rows(rows, codes))
    return centres


def _spread_rows(rows: Tensor, number: int) -> Tensor:
    """Rows drawn by the square of their distance to those drawn before (Arthur & Vassilvitskii 2007).

    The context vectors of words are nearly discrete: random starts would give frequent words many codes and
    leave about a third of the rare ones without a code of their own.
    """
    drawn = [_random_rows(rows, 1)]
    squares = rows.square().sum(-1)
    distance = torch.full_like(squares, torch.inf)
    for _ in range(number - 1):
        latest = drawn[-1]
        products = (rows @ latest.transpose(1, 2))[..., 0]
        distance = distance.minimum((squares - 2 * products + latest.square().sum(-1)).clamp_min(0))
        # Where every row is a centre already any row will do.
        chances = torch.where(distance.sum(-1, keepdim=True) > 0, distance, torch.ones_like(distance))
        chosen = torch.multinomial(chances, 1)
        drawn.append(rows.gather(1, chosen[..., None].expand(-1, -1, rows.shape[-1])))
    return torch.cat(drawn, dim=1)


def _random_rows(rows: Tensor, number: int) -> Tensor:
    """Random rows of each group, distinct while there are enough: (G, number, C)."""
    groups, count, width = rows.shape
    repeats = -(-number // count)
    order = torch.stack([torch.randperm(count, device=rows.device).repeat(repeats) for _ in range(groups)])
    return rows.gather(1, order[:, :number, None].expand(-1, -1, width))
