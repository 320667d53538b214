"""Which LLMs this package runs by itself, read off their config.json.

Llama, Mistral, Qwen 2 and Qwen 3 are one decoder with small differences (rotary_decoder.py). Whatever a
configuration says beyond them, a kind of scaling or a window of attention for instance, is left to
`transformers`, whose import alone takes twice as long as that of PyTorch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbc_cli.model.llm.model_folder import config_json

_KINDS = ("llama", "mistral", "qwen2", "qwen3")
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "vocab_size",
)
_FLAGS = ("attention_bias", "mlp_bias", "tie_word_embeddings")
_FLAGS_WITHOUT_EFFECT: Mapping[object, tuple[str, ...]] = {
    "llama": (),
    "mistral": ("attention_bias", "mlp_bias"),
    "qwen2": ("attention_bias", "mlp_bias"),
    "qwen3": ("mlp_bias",),
}
_TOKENS = ("bos_token_id", "eos_token_id")
# Keys that may stand in the file beside what is read of it: they say nothing of how to compute.
_WITHOUT_MEANING = {
    "_model_name_or_path",
    "_name_or_path",
    "architectures",
    "initializer_range",
    "is_llama_config",
    "max_window_layers",
    "pad_token_id",
    "pretraining_tp",
    "transformers.js_config",
    "transformers_version",
    "unk_token_id",
    "use_cache",
}
# Keys that must say this, where they are there.
_FIXED: dict[str, tuple[Any, ...]] = {
    "attention_dropout": (0, 0.0),
    "hidden_act": ("silu",),
    "rope_interleaved": (False,),
    "sliding_window": (None,),
    "use_sliding_window": (False,),
}
_KNOWN = {
    *_SIZES,
    *_FLAGS,
    *_TOKENS,
    *_FIXED,
    *_WITHOUT_MEANING,
    "dtype",
    "head_dim",
    "layer_types",
    "model_type",
    "rms_norm_eps",
    "rope_parameters",
}


@dataclass(frozen=True, slots=True)
class RotaryConfig:
    """The dimensions of such an LLM, under the names that `transformers` gives them."""

    model_type: str
    name_or_path: str
    hidden_size: int
    intermediate_size: int
    max_position_embeddings: int
    num_attention_heads: int
    num_hidden_layers: int
    num_key_value_heads: int
    vocab_size: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    attention_bias: bool
    mlp_bias: bool
    tie_word_embeddings: bool
    bos_token_id: int | None
    eos_token_id: int | None
    dtype: str | None

    @property
    def projects_with_bias(self) -> bool:
        """Whether queries, keys and values are shifted as well."""
        return self.attention_bias or self.model_type == "qwen2"

    @property
    def output_bias(self) -> bool:
        """Whether the heads' results are."""
        return self.attention_bias and self.model_type != "qwen2"

    @property
    def normalises_heads(self) -> bool:
        """Whether the queries and keys of each head are normalised."""
        return self.model_type == "qwen3"


def rotary_config(directory: Path) -> RotaryConfig | None:
    """The configuration in ``directory``, or None where `transformers` has to read it.

    Raises:
        UntrustedFileError: config.json is malformed, or larger than any model's.
    """
    return _rotary_config(config_json(directory), str(directory))


def _rotary_config(tree: Mapping[str, Any], place: str) -> RotaryConfig | None:
    kind: Any = tree.get("model_type")
    rope: Any = tree.get("rope_parameters")
    epsilon: Any = tree.get("rms_norm_eps")
    sizes = {key: tree.get(key) for key in _SIZES}
    flags = {key: tree.get(key, False) for key in _FLAGS}
    tokens = {key: tree.get(key) for key in _TOKENS}
    head, dtype = tree.get("head_dim"), tree.get("dtype")
    plain = (
        kind in _KINDS
        and tree.keys() <= _KNOWN
        and all(key not in tree or tree[key] in values for key, values in _FIXED.items())
        and all(_is_size(size) for size in sizes.values())
        and (_is_size(head) or (head is None and kind != "qwen3"))
        and all(type(flag) is bool for flag in flags.values())
        and not any(flags[flag] for flag in _FLAGS_WITHOUT_EFFECT[kind])
        and all(token is None or type(token) is int for token in tokens.values())
        and tree.get("layer_types") in (None, ["full_attention"] * tree["num_hidden_layers"])
        # Mistral has a window of attention unless told otherwise.
        and (kind != "mistral" or "sliding_window" in tree)
        and isinstance(rope, dict)
        and rope.keys() == {"rope_theta", "rope_type"}
        and rope["rope_type"] == "default"
        and _is_positive(rope["rope_theta"])
        and _is_positive(epsilon)
        and dtype in (None, "float32", "bfloat16", "float16")
        and tree["hidden_size"] % tree["num_attention_heads"] == 0
        and tree["num_attention_heads"] % tree["num_key_value_heads"] == 0
    )
    if not plain:
        return None
    head = head or tree["hidden_size"] // tree["num_attention_heads"]
    if head % 2:
        return None
    values: dict[str, Any] = {**sizes, **flags, **tokens, "head_dim": head, "dtype": dtype}
    values |= {"rms_norm_eps": float(epsilon), "rope_theta": float(rope["rope_theta"])}
    return RotaryConfig(model_type=kind, name_or_path=place, **values)


def _is_size(number: object) -> bool:
    return type(number) is int and number > 0


def _is_positive(number: object) -> bool:
    return type(number) in (int, float) and 0 < number < 1e300  # type: ignore[operator]
