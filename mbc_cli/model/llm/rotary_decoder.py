"""The decoder of Llama, Mistral, Qwen 2 and Qwen 3: rotary positions, grouped queries, gated feed-forward.

It computes what the classes of `transformers` do, operation by operation, under the same names of modules and
weights, so that an adapter fits both. It is here because they take two seconds to import: a command that only
reads and answers starts without them. Training, and what rotary_config.py does not know, uses them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.llm.rotary_config import RotaryConfig

States = Float[Tensor, "B kv_heads S head_dim"]
Rotation = tuple[Tensor, Tensor]
"""Cosines and sines (B or 1, S, head_dim) of the angles by which positions turn queries and keys."""


class LayerStates:
    """The keys and values (B, kv_heads, S, head_dim) that one layer has read; None before the first."""

    def __init__(self, keys: Tensor | None = None, values: Tensor | None = None) -> None:
        self.keys = keys
        self.values = values

    def extend(self, keys: States, values: States) -> tuple[Tensor, Tensor]:
        """All of them, once ``keys`` and ``values`` have been added."""
        if self.keys is not None and self.values is not None:
            keys = torch.cat([self.keys, keys], dim=-2)
            values = torch.cat([self.values, values], dim=-2)
        self.keys, self.values = keys, values
        return keys, values


class KeyValueCache:
    """What all layers have read so far."""

    def __init__(self, layers: list[LayerStates]) -> None:
        self.layers = layers

    @property
    def length(self) -> int:
        keys = self.layers[0].keys
        return 0 if keys is None else keys.shape[-2]


class DecoderOutput(NamedTuple):
    """States (B, S, D) and, where it was asked for, the cache that reading has extended."""

    last_hidden_state: Tensor
    past_key_values: KeyValueCache | None


class CausalOutput(NamedTuple):
    """Next-token logits (B, S, vocabulary), and the cache as in `DecoderOutput`."""

    logits: Tensor
    past_key_values: KeyValueCache | None


class RmsNorm(nn.Module):
    """Scales to unit root mean square, computed in float32."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        scaled = x.float()
        scaled = scaled * torch.rsqrt(scaled.pow(2).mean(-1, keepdim=True) + self.epsilon)
        return self.weight * scaled.to(x.dtype)


class RotaryPositions(nn.Module):
    """The angles of positions; nothing in it is learned or saved."""

    inverse: Tensor

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        # On the CPU whatever device is being built on: no weights are loaded into it afterwards.
        with torch.device("cpu"):
            steps = torch.arange(0, config.head_dim, 2, dtype=torch.float) / config.head_dim
            inverse = 1.0 / (config.rope_theta**steps)
        self.register_buffer("inverse", inverse, persistent=False)

    def forward(self, x: Float[Tensor, "B S D"], position_ids: Int[Tensor, "rows S"]) -> Rotation:
        """The rotation for positions (B or 1, S), in the type of the states ``x``."""
        angles = position_ids[..., None].float() * self.inverse.to(x.device, torch.float)
        angles = torch.cat((angles, angles), dim=-1)
        return angles.cos().to(x.dtype), angles.sin().to(x.dtype)


class Attention(nn.Module):
    """Causal attention, or as the mask says; several query heads share a key-value head."""

    def __init__(self, config: RotaryConfig, index: int) -> None:
        super().__init__()
        self.index = index
        self.head_dim = config.head_dim
        self.shared_by = config.num_attention_heads // config.num_key_value_heads
        width, bias = config.hidden_size, config.projects_with_bias
        queries = config.num_attention_heads * config.head_dim
        keys = config.num_key_value_heads * config.head_dim
        self.q_proj: nn.Module = nn.Linear(width, queries, bias=bias)
        self.k_proj: nn.Module = nn.Linear(width, keys, bias=bias)
        self.v_proj: nn.Module = nn.Linear(width, keys, bias=bias)
        self.o_proj = nn.Linear(queries, width, bias=config.output_bias)
        if config.normalises_heads:
            self.q_norm = RmsNorm(config.head_dim, config.rms_norm_eps)
            self.k_norm = RmsNorm(config.head_dim, config.rms_norm_eps)
        self.normalises = config.normalises_heads

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        rotation: Rotation,
        mask: Tensor | None,
        cache: KeyValueCache | None,
    ) -> Float[Tensor, "B S D"]:
        """Of states (B, S, D); the mask is as in `RotaryTransformer`, (B, 1, S, keys) if there is one."""
        heads = (*x.shape[:-1], -1, self.head_dim)
        queries, keys = self.q_proj(x).view(heads), self.k_proj(x).view(heads)
        values = self.v_proj(x).view(heads).transpose(1, 2)
        if self.normalises:
            queries, keys = self.q_norm(queries), self.k_norm(keys)
        queries, keys = _rotated(queries.transpose(1, 2), rotation), _rotated(keys.transpose(1, 2), rotation)
        if cache is not None:
            keys, values = cache.layers[self.index].extend(keys, values)
        read = self._attend(queries, keys, values, mask)
        return self.o_proj(read.transpose(1, 2).reshape(*x.shape[:-1], -1))

    def _attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, count, width = queries.shape
        if mask is None and width <= 256:
            # Without a mask the tokens are the first ones, or a single one after all others.
            return F.scaled_dot_product_attention(
                queries, keys, values, is_causal=count > 1, enable_gqa=self.shared_by > 1
            )
        if count == 1 and self.shared_by > 1:
            # One token: the query heads of a key-value head are so many queries to it, and nothing is copied.
            queries = queries.reshape(batch, -1, self.shared_by, width)
        elif self.shared_by > 1:
            keys, values = (
                keys.repeat_interleave(self.shared_by, 1),
                values.repeat_interleave(self.shared_by, 1),
            )
        read = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, is_causal=mask is None and count > 1
        )
        return read.reshape(batch, heads, count, width)


class LoraLinear(nn.Module):
    """A projection with a low-rank adapter beside it, as PEFT computes it: in float32, then rounded.

    At first the adapter changes nothing: ``lora_B`` is zero.
    """

    def __init__(self, base_layer: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.lora_A = nn.Linear(base_layer.in_features, rank, bias=False)
        self.lora_B = nn.Linear(rank, base_layer.out_features, bias=False)
        nn.init.zeros_(self.lora_B.weight)
        self.scaling = alpha / rank
        self.enabled = True

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows kv_width"]:
        result = self.base_layer(x)
        if not self.enabled:
            return result
        added = self.lora_B(self.lora_A(x.to(self.lora_A.weight.dtype))) * self.scaling
        return (result + added).to(result.dtype)


class FeedForward(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, x: Float[Tensor, "*rows D"]) -> Float[Tensor, "*rows D"]:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer; it can be called by itself, as those of `transformers`."""

    def __init__(self, config: RotaryConfig, index: int) -> None:
        super().__init__()
        self.self_attn = Attention(config, index)
        self.mlp = FeedForward(config)
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)

    def forward(
        self,
        x: Float[Tensor, "B S D"],
        attention_mask: Tensor | None,
        position_embeddings: Rotation,
        cache: KeyValueCache | None = None,
    ) -> Float[Tensor, "B S D"]:
        """States (B, S, D) -> states."""
        x = x + self.self_attn(self.input_layernorm(x), position_embeddings, attention_mask, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class RotaryTransformer(nn.Module):
    """Tokens, or their embeddings, to states."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, index) for index in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = RotaryPositions(config)

    def forward(
        self,
        input_ids: Int[Tensor, "B S"] | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "rows S"] | None = None,
        past_key_values: KeyValueCache | None = None,
        inputs_embeds: Float[Tensor, "B S D"] | None = None,
        use_cache: bool = False,
    ) -> DecoderOutput:
        """Ids or embeddings (B, S, D) -> states.

        ``attention_mask`` is (B, keys) int64, 0 on padding, or a bias (B, 1, S, keys) that is added to the
        logits as it is; None hides nothing but the future. ``past_key_values`` is extended.
        """
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        cache = past_key_values
        if cache is None and use_cache:
            cache = KeyValueCache([LayerStates() for _ in self.layers])
        length = 0 if cache is None else cache.length
        if position_ids is None:
            position_ids = torch.arange(length, length + x.shape[1], device=x.device)[None]
        rotation = self.rotary_emb(x, position_ids)
        mask = _seen(attention_mask, x.shape[1], length)
        for layer in self.layers:
            x = layer(x, mask, rotation, cache)
        return DecoderOutput(self.norm(x), cache)


class RotaryDecoder(nn.Module):
    """Such an LLM with its output layer, which may be its table of embeddings."""

    def __init__(self, config: RotaryConfig) -> None:
        super().__init__()
        self.config = config
        self.model = RotaryTransformer(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.tie()

    def tie(self) -> None:
        """Let the output layer be the table of embeddings."""
        self.lm_head.weight = self.model.embed_tokens.weight

    @property
    def base_model(self) -> RotaryTransformer:
        return self.model

    def get_input_embeddings(self) -> nn.Embedding:
        return self.model.embed_tokens

    def get_output_embeddings(self) -> nn.Linear:
        return self.lm_head

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """A context in which it computes without LoRA."""
        adapted = [module for module in self.modules() if isinstance(module, LoraLinear)]
        for module in adapted:
            module.enabled = False
        try:
            yield
        finally:
            for module in adapted:
                module.enabled = True

    def forward(self, **reading: Any) -> CausalOutput:
        """`RotaryTransformer.forward`, and the logits of what follows each token."""
        states, cache = self.model(**reading)
        return CausalOutput(self.lm_head(states), cache)


def _rotated(x: Tensor, rotation: Rotation) -> Tensor:
    cosines, sines = rotation[0][:, None], rotation[1][:, None]  # equal for all heads
    first, second = x.chunk(2, dim=-1)
    return (x * cosines) + (torch.cat((-second, first), dim=-1) * sines)


def _seen(mask: Tensor | None, queries: int, past: int) -> Tensor | None:
    """What the attention takes as mask: None where the order of the tokens says it all."""
    if mask is not None and mask.dim() == 4:
        return mask
    if (mask is None or bool(mask.all())) and (queries == 1 or past == 0):
        return None
    keys = past + queries
    device = mask.device if mask is not None else None
    places = torch.arange(keys, device=device)
    seen = places <= places[past:, None]
    return seen[None, None] if mask is None else seen[None, None] & (mask[:, None, None] > 0)
