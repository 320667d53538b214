"""Configurations of T5s and LLMs: from disk, from the hub, or for well-known models from this table.

With the table, sizes of the presets can be told where there is no network.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mbc_cli.errors import ModelError
from mbc_cli.model.llm import pretrained

if TYPE_CHECKING:
    from transformers import PretrainedConfig, T5Config, T5Model


def _t5(d_model: int, d_ff: int, heads: int, layers: int) -> dict[str, Any]:
    return {
        "model_type": "t5",
        "vocab_size": 32128,
        "d_model": d_model,
        "d_kv": 64,
        "d_ff": d_ff,
        "num_heads": heads,
        "num_layers": layers,
        "decoder_start_token_id": 0,
    }


def _gpt2(width: int, layers: int, heads: int) -> dict[str, Any]:
    return {"model_type": "gpt2", "n_embd": width, "n_layer": layers, "n_head": heads}


_KNOWN: dict[str, dict[str, Any]] = {
    "t5-small": _t5(512, 2048, 8, 6),
    "t5-base": _t5(768, 3072, 12, 12),
    "t5-large": _t5(1024, 4096, 16, 24),
    "distilgpt2": _gpt2(768, 6, 12),
    "gpt2": _gpt2(768, 12, 12),
    "gpt2-medium": _gpt2(1024, 24, 16),
    "gpt2-large": _gpt2(1280, 36, 20),
    "gpt2-xl": _gpt2(1600, 48, 25),
    "meta-llama/Llama-2-7b-hf": {
        "model_type": "llama",
        "vocab_size": 32000,
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
    },
    "meta-llama/Llama-3.2-1B": {
        "model_type": "llama",
        "vocab_size": 128256,
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "tie_word_embeddings": True,
    },
    "smollm2-135m-instruct": {
        "model_type": "llama",
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-0.5B": {
        "model_type": "qwen2",
        "vocab_size": 151936,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
}


def model_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a hub id or local directory, from the table above where it is listed there.

    Raises MbcError if it is neither listed, on disk, nor to be had from the hub.
    """
    if name in _KNOWN and not Path(name).is_dir():
        settings = dict(_KNOWN[name])
        return pretrained.known_config(settings.pop("model_type"), settings)
    return pretrained.load_config(name, revision)


def t5_config(name: str) -> T5Config:
    """`model_config` of a T5. Raises MbcError if the model is of another kind."""
    from transformers import T5Config

    config = model_config(name)
    if not isinstance(config, T5Config):
        raise ModelError(
            f"{name!r} is a {config.model_type} model, but amortization 't5' needs a T5",
            "name a T5, such as t5-small, or a directory that holds one",
        )
    return config


def load_t5(name: str, architecture: T5Config | None = None) -> T5Model:
    """A T5 encoder-decoder without its output layer.

    With ``architecture`` one of that form with random weights; otherwise the pretrained one named. A local
    directory without weights gives random ones, to train from scratch. Raises MbcError if there is none.
    """
    from transformers import T5Model

    directory = Path(name)
    if architecture is None and directory.is_dir() and not any(directory.glob("*.safetensors*")):
        architecture = t5_config(name)
    return pretrained.load_t5(name) if architecture is None else T5Model(architecture)
