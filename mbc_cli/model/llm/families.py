"""Which architectures of LLMs are supported, where they keep their parts, and how large those are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mbc_cli.errors import ModelError
from mbc_cli.model.llm.rotary_config import RotaryConfig

if TYPE_CHECKING:
    from transformers import PretrainedConfig


@dataclass(frozen=True)
class Family:
    """Where an architecture keeps its layers and the projections of their attention."""

    layers: str  # name of the module list of layers
    projections: tuple[str, ...]  # modules that compute keys and values
    output: str  # a layer's module that maps the heads' results back to hidden states
    fused: bool = False  # one Conv1D (weights transposed) computes queries, keys and values side by side


_SPLIT = Family("layers", ("k_proj", "v_proj"), "self_attn.o_proj")
FAMILIES: dict[str, Family] = {
    "gpt2": Family("h", ("c_attn",), "attn.c_proj", fused=True),
    "llama": _SPLIT,
    "mistral": _SPLIT,
    "qwen2": _SPLIT,
    "qwen3": _SPLIT,
}


@dataclass(frozen=True)
class BackboneShape:
    """The dimensions of an LLM that the memory modules are built for."""

    hidden_size: int
    layers: int
    kv_heads: int
    head_dim: int
    vocabulary: int

    @classmethod
    def of(cls, config: PretrainedConfig | RotaryConfig) -> BackboneShape:
        heads = config.num_attention_heads
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"):
            size = getattr(config, name)
            if not isinstance(size, int) or size < 1:
                raise ModelError(
                    f"{name} of the base model is {size!r}; accepted: a whole number from 1 on",
                    "its config.json is damaged: copy the base model again, or name another copy",
                )
        return cls(
            hidden_size=config.hidden_size,
            layers=config.num_hidden_layers,
            kv_heads=getattr(config, "num_key_value_heads", None) or heads,
            head_dim=getattr(config, "head_dim", None) or config.hidden_size // heads,
            vocabulary=config.vocab_size,
        )

    @property
    def kv_width(self) -> int:
        """Columns of one layer's keys (or values) for one token."""
        return self.kv_heads * self.head_dim


def family_of(config: PretrainedConfig | RotaryConfig) -> Family:
    """The architecture family of an LLM's configuration.

    Raises MbcError if the architecture is not supported.
    """
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise ModelError(
            f"the base model's architecture is {config.model_type!r}, which mbc does not support",
            hint=f"supported architectures: {', '.join(FAMILIES)}",
        )
    return family
