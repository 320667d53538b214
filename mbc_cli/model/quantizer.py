"""Quantisers: context vectors become codes, the indices that a store keeps (MBC section 3.2).

One interface for all of them. `VectorQuantizer` is the published one with a shared codebook, one level and
gradient updates; it also has a codebook per slot, residual levels and EMA updates. `PassThrough` quantises
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.config import RvqConfig, UnquantizedConfig, VqConfig
from mbc_cli.model.distributed import from_first_rank, gather_over_ranks, sum_over_ranks
from mbc_cli.model.kmeans import assign, kmeans


@dataclass(frozen=True)
class QuantizerOutput:
    """What a quantiser made of a batch of context vectors, and how well its codebooks are used.

    ``quantized`` (B, T, C) passes gradients straight through to the vectors; ``codes`` (B, T, L) int64, or
    None where nothing is quantised; ``loss`` is to be minimised. The rest are scalars of this batch:
    ``perplexity`` of the codes, mean over codebooks; ``dead_codes`` whose usage is under the reset
    threshold; ``error``, the mean squared quantisation error relative to the mean square of the vectors.
    """

    quantized: Float[Tensor, "B T C"]
    codes: Int[Tensor, "B T L"] | None
    loss: Float[Tensor, ""]
    perplexity: Float[Tensor, ""]
    dead_codes: Num[Tensor, ""]
    error: Float[Tensor, ""]

    def figures(self) -> dict[str, Tensor]:
        """What a training logs of it."""
        return {
            "quantizer": self.loss,
            "perplexity": self.perplexity,
            "dead_codes": self.dead_codes,
            "quantization_error": self.error,
        }


class PassThrough(nn.Module):
    """The identity: the bank keeps the vectors themselves, as MAC (arXiv 2403.04317) does."""

    def forward(self, vectors: Float[Tensor, "B T C"]) -> QuantizerOutput:
        """Vectors (B, T, C) come back unchanged, with no codes and no loss."""
        zero = vectors.new_zeros(())
        return QuantizerOutput(vectors, None, zero, zero, zero, zero)

    def decode(self, codes: Int[Tensor, "N T L"]) -> Float[Tensor, "N T C"]:
        """Raises ValueError: there are no codes to decode."""
        raise ValueError("this model has quantizer.kind 'none' and keeps no codes: choose 'vq' or 'rvq'")

    def initialise_from(self, vectors: Float[Tensor, "N T C"]) -> None:
        """Nothing to initialise."""

    def number_by_usage(self) -> None:
        """Nothing to number."""


class VectorQuantizer(nn.Module):
    """Nearest codes by squared L2, in L residual levels, with a codebook for all slots or one for each.

    ``codebooks`` (L, G, K, C) with G = 1 (shared) or T (per slot); ``usage`` (L, G, K) is the exponential
    moving average of how often a batch uses each code. Codes whose usage falls under the threshold are
    replaced by random vectors of the batch and get the mean usage. In a data-parallel run usage, EMA sums
    and replacements are the same on all ranks.
    """

    codebooks: Tensor
    usage: Tensor
    sums: Tensor

    def __init__(self, config: VqConfig | RvqConfig, slots: int, width: int) -> None:
        super().__init__()
        self.config = config
        groups = slots if config.codebook == "per-slot" else 1
        codebooks = torch.empty(config.num_quantizers, groups, config.codebook_size, width)
        nn.init.uniform_(codebooks, -1 / config.codebook_size, 1 / config.codebook_size)
        if config.update == "ema":
            self.register_buffer("codebooks", codebooks)
            self.register_buffer("sums", codebooks.clone())  # usage * code, with usage 1
        else:
            self.codebooks = nn.Parameter(codebooks)
        self.register_buffer("usage", torch.ones(codebooks.shape[:3]))

    @property
    def groups(self) -> int:
        """G: 1 for a shared codebook, T for one per slot."""
        return self.codebooks.shape[1]

    def forward(self, vectors: Float[Tensor, "B T C"]) -> QuantizerOutput:
        """Quantise vectors (B, T, C); in training mode also update usage and codebooks.

        The loss is ||sg[z] - e||^2 + beta ||z - sg[e]||^2, means over elements, summed over levels; under
        EMA updates the first term is left out.
        """
        # Float32 whatever the autocast: in low precision the nearest code is often another one.
        with torch.autocast(vectors.device.type, enabled=False):
            return self._quantize(vectors.float())

    def _quantize(self, vectors: Tensor) -> QuantizerOutput:
        rows = self._to_groups(vectors)
        residual, total = rows, torch.zeros_like(rows)
        codes, perplexities = [], []
        loss = vectors.new_zeros(())
        for level in range(self.config.num_quantizers):
            codebook = self.codebooks[level]
            chosen = assign(residual.detach(), codebook.detach())
            quantized = _look_up(codebook, chosen)
            loss = loss + self.config.commitment_cost * F.mse_loss(residual, quantized.detach())
            if self.config.update == "gradient":
                loss = loss + F.mse_loss(quantized, residual.detach())
            counts = torch.zeros_like(codebook[..., 0]).detach()
            counts.scatter_add_(1, chosen, torch.ones_like(chosen, dtype=counts.dtype))
            perplexities.append(_perplexity(counts))
            if self.training:
                self._update(level, residual.detach(), chosen, counts)
            codes.append(chosen)
            total = total + quantized
            residual = residual - quantized.detach()
        error = (total - rows).detach().square().mean() / rows.detach().square().mean().clamp_min(1e-12)
        straight_through = rows + (total - rows).detach()
        return QuantizerOutput(
            quantized=self._from_groups(straight_through, vectors),
            codes=torch.stack([self._from_groups(c, vectors) for c in codes], dim=-1),
            loss=loss,
            perplexity=torch.stack(perplexities).mean(),
            dead_codes=self._dead().sum(),
            error=error,
        )

    def decode(self, codes: Int[Tensor, "N T L"]) -> Float[Tensor, "N T C"]:
        """Codes (N, T, L) int64 -> vectors (N, T, C). A shared codebook decodes any number of slots."""
        if codes.shape[-1] != self.config.num_quantizers or self.groups not in (1, codes.shape[1]):
            raise ValueError(
                f"codes have shape {tuple(codes.shape)}, but this quantiser has "
                f"{self.config.num_quantizers} levels and {self.groups} codebooks: "
                "it decodes (documents, slots, levels)"
            )
        rows = self._to_groups(codes)
        levels = [
            _look_up(self.codebooks[level], rows[..., level]) for level in range(self.config.num_quantizers)
        ]
        return self._from_groups(torch.stack(levels).sum(0), codes)

    @torch.no_grad()
    def initialise_from(self, vectors: Float[Tensor, "N T C"], iterations: int = 10) -> None:
        """Place the codes by k-means over vectors (N, T, C), level after level.

        Every rank ends with the first rank's codebooks.
        """
        residual = self._to_groups(vectors.float())
        for level in range(self.config.num_quantizers):
            codebook = from_first_rank(kmeans(residual, self.config.codebook_size, iterations))
            self.codebooks[level] = codebook
            self.usage[level] = 1.0
            if self.config.update == "ema":
                self.sums[level] = codebook
            residual = residual - _look_up(codebook, assign(residual, codebook))

    @torch.no_grad()
    def number_by_usage(self) -> None:
        """Number the codes from the most to the least used, by their EMA usage.

        Nothing a model computes changes, but small numbers then are frequent ones, and the bank on disk
        compresses better. Not for codebooks that a bank has been encoded with.
        """
        order = self.usage.argsort(dim=-1, descending=True, stable=True)
        self.usage.copy_(self.usage.gather(-1, order))
        along = order[..., None].expand_as(self.codebooks)
        self.codebooks.data.copy_(self.codebooks.data.gather(2, along))
        if self.config.update == "ema":
            self.sums.copy_(self.sums.gather(2, along))

    @torch.no_grad()
    def _update(self, level: int, rows: Tensor, chosen: Tensor, counts: Tensor) -> None:
        """Move the averages, under EMA the codes too, and replace codes that nobody uses."""
        usage, decay = self.usage[level], self.config.decay
        usage.mul_(decay).add_(sum_over_ranks(counts), alpha=1 - decay)
        if self.config.update == "ema":
            batch_sums = torch.zeros_like(self.sums[level])
            batch_sums.scatter_add_(1, chosen[..., None].expand_as(rows), rows)
            self.sums[level].mul_(decay).add_(sum_over_ranks(batch_sums), alpha=1 - decay)
            self.codebooks[level] = self.sums[level] / usage.clamp_min(1e-12)[..., None]
        dead = self._dead()[level]
        if bool(dead.any()):  # the same on all ranks, so they all take part in the exchange
            replacement = self._replacements(rows)
            mean_usage = usage.mean(-1, keepdim=True).expand_as(usage)
            usage.copy_(torch.where(dead, mean_usage, usage))
            # .data: the optimiser's parameter is changed in place, outside the graph of this step.
            self.codebooks.data[level] = torch.where(dead[..., None], replacement, self.codebooks.data[level])
            if self.config.update == "ema":
                fresh = replacement * usage[..., None]
                self.sums[level] = torch.where(dead[..., None], fresh, self.sums[level])

    def _dead(self) -> Tensor:
        """Which codes are used less than the threshold: (L, G, K) bool."""
        threshold = torch.full_like(self.usage[..., :1], self.config.threshold_ema_dead_code)
        if self.config.reset_fraction is not None:
            threshold = threshold.maximum(self.config.reset_fraction * self.usage.mean(-1, keepdim=True))
        return self.usage < threshold

    def _replacements(self, rows: Tensor) -> Tensor:
        """A random vector of the batch, the batch of all ranks, for every code: (G, K, C)."""
        groups, count, width = rows.shape
        drawn = torch.randint(count, (groups, self.config.codebook_size), device=rows.device)
        candidates = gather_over_ranks(rows.gather(1, drawn[..., None].expand(-1, -1, width)))
        # Code k takes its candidate from rank k mod ranks: all ranks agree without another message.
        ranks = torch.arange(self.config.codebook_size, device=rows.device) % candidates.shape[0]
        return candidates[ranks, :, torch.arange(self.config.codebook_size, device=rows.device)].transpose(
            0, 1
        )

    def _to_groups(self, x: Tensor) -> Tensor:
        """(B, T, ...) -> (G, rows, ...): one row of all slots for a shared codebook, else a row per slot."""
        return x.flatten(0, 1)[None] if self.groups == 1 else x.transpose(0, 1)

    def _from_groups(self, x: Tensor, like: Tensor) -> Tensor:
        """The inverse of `_to_groups` for a batch shaped (B, T, ...) like ``like``."""
        return x[0].unflatten(0, like.shape[:2]) if self.groups == 1 else x.transpose(0, 1)


def _look_up(codebook: Tensor, codes: Tensor) -> Tensor:
    """Codebook (G, K, C) and codes (G, n) -> vectors (G, n, C)."""
    return codebook.gather(1, codes[..., None].expand(-1, -1, codebook.shape[-1]))


def _perplexity(counts: Tensor) -> Tensor:
    """exp of the entropy of each row of counts (G, K), mean over rows."""
    p = counts / counts.sum(-1, keepdim=True)
    return torch.exp(-(p * torch.log(p + 1e-10)).sum(-1)).mean()


def build_quantizer(
    config: VqConfig | RvqConfig | UnquantizedConfig, slots: int, width: int
) -> PassThrough | VectorQuantizer:
    """The quantiser a configuration asks for, for T = ``slots`` vectors of ``width`` columns."""
    return PassThrough() if config.kind == "none" else VectorQuantizer(config, slots, width)
