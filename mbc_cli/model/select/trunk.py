"""A bidirectional reader that starts as the frozen LLM's own first blocks.

A document is read by the same weights that will answer from it, so its representation lives in the LLM's
own space from the first step of training. Documents and questions share one trunk.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor, nn

from mbc_cli.errors import ModelError
from mbc_cli.model.llm.backbone import Backbone

TextType = Literal["document", "question"]
_TYPES: dict[TextType, int] = {"document": 0, "question": 1}


@dataclass(frozen=True)
class TokenStates:
    """Texts as read: raw embeddings and states of their tokens, (B, S, D), and the mask (B, S)."""

    raw: Float[Tensor, "B S D"]
    states: Float[Tensor, "B S D"]
    mask: Num[Tensor, "B S"]


class RawEmbeddings(nn.Module):
    """The LLM's input embeddings, centred and scaled to unit root mean square per token.

    Only the mean (D,) and the typical size of an embedding are kept here; the table stays the LLM's.
    """

    mean: Tensor
    size: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # Inside a tuple the LLM is no submodule of this one: its weights are neither saved nor trained here.
        self._backbone = (backbone,)
        width = backbone.shape.hidden_size
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("size", torch.ones(()))
        table = backbone.transformer.get_input_embeddings().weight.detach()
        if not table.is_meta:
            table = table.float()
            self.mean.copy_(table.mean(0))
            self.size.copy_((table - self.mean).square().mean().sqrt())

    def forward(self, input_ids: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Ids (B, S) -> normalised embeddings (B, S, D) float32."""
        centred = self.embed(input_ids) - self.mean
        return centred / centred.square().mean(-1, keepdim=True).sqrt().clamp_min(1e-6)

    def embed(self, input_ids: Int[Tensor, "B S"]) -> Float[Tensor, "B S D"]:
        """Ids (B, S) -> the LLM's own embeddings (B, S, D) float32, without a gradient."""
        return self._backbone[0].transformer.get_input_embeddings()(input_ids).detach().float()

    def restore(self, normalised: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        """The inverse up to each token's own length: unit root mean square -> the LLM's embedding space."""
        return normalised * self.size + self.mean


class BackboneTrunk(nn.Module):
    """The first blocks of the LLM, copied to be trained, reading in both directions.

    Build it before KV-LoRA is attached. Raises MbcError if the LLM has fewer blocks than asked for, or if its
    weights are quantised, since they then cannot be copied to be trained. With ``weights_follow`` the trunk's
    own weights are loaded afterwards, and a quantised LLM gives only the form.
    """

    def __init__(
        self, backbone: Backbone, layers: int, embeddings: RawEmbeddings, *, weights_follow: bool = False
    ) -> None:
        super().__init__()
        if layers > backbone.shape.layers:
            raise ModelError(
                f"amortization.trunk_layers is {layers} "
                f"but the base model has {backbone.shape.layers} layers",
                hint=f"set amortization.trunk_layers to at most {backbone.shape.layers}",
            )
        inner = backbone.transformer.base_model
        blocks = getattr(inner, backbone.family.layers)[:layers]
        if any(not p.dtype.is_floating_point for p in blocks.parameters()):
            if not weights_follow:
                raise ModelError(
                    "the trunk copies the base model's first blocks, which are quantised here",
                    hint="train with an unquantised base, then answer with --quantize",
                )
            blocks = nn.ModuleList(type(block)(inner.config, index) for index, block in enumerate(blocks))
        self._embeddings = (embeddings,)  # registered once, by the amortizer
        self.blocks = copy.deepcopy(blocks).float().requires_grad_(True)
        # GPT-2 adds a learned position to each embedding; the other families rotate queries and keys.
        self.rotary = copy.deepcopy(getattr(inner, "rotary_emb", None))
        positions = getattr(inner, "wpe", None)
        self.positions = None if positions is None else copy.deepcopy(positions).float().requires_grad_(True)
        self.types = nn.Embedding(len(_TYPES), backbone.shape.hidden_size)
        nn.init.normal_(self.types.weight, std=0.02)
        self.norm = nn.LayerNorm(backbone.shape.hidden_size)

    def forward(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"], text_type: TextType
    ) -> Float[Tensor, "B S D"]:
        """Ids and mask (B, S), padded on the right -> states (B, S, D) float32."""
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        kind = self.types.weight[_TYPES[text_type]]
        # The type is a direction at the scale of an embedding, whatever the LLM's scale is.
        x = self._embeddings[0].embed(input_ids) + kind * self._embeddings[0].size
        if self.positions is not None:
            x = x + self.positions(places)
        rotary = {} if self.rotary is None else {"position_embeddings": self.rotary(x, places)}
        unseen = torch.finfo(x.dtype).min
        mask = torch.zeros_like(attention_mask, dtype=x.dtype).masked_fill(attention_mask == 0, unseen)
        mask = mask[:, None, None, :].expand(-1, 1, input_ids.shape[1], -1)
        for block in self.blocks:
            x = block(x, attention_mask=mask, **rotary)
        return self.norm(x).float()
