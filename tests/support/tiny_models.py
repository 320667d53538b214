"""Tiny random models of real architectures, saved to disk as a user would have them.

Every dimension differs from every other, so that a transposed axis cannot pass unnoticed. The tokenizers are
real byte-level ones, trained here on a few sentences: any text encodes, and nothing is downloaded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertModel,
    GPT2Config,
    LlamaConfig,
    MistralConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    T5Config,
    T5Model,
)

from mbc_cli.model.config import MemoryConfig, parse_memory_config

VOCABULARY = 320
FAMILIES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")
SENTENCES = (
    "Mira Okafor opened the harbour museum in Lindholm on 14 March with 312 guests.",
    "The council of Tarn elected Jonas Weil as its treasurer after a vote of 27 to 9.",
    "Who opened the museum? Where was the treasurer elected? How many guests came?",
)


def save_tokenizer(directory: Path, kind: str) -> None:
    """Write a byte-level BPE tokenizer. kind 't5' ends every text with ``</s>`` and pads with ``<pad>``."""
    special = ["<pad>", "</s>", "<unk>"] if kind == "t5" else ["<|endoftext|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if kind == "t5":
        ending = [("</s>", tokenizer.token_to_id("</s>"))]
        tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=ending)
        names = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    else:
        names = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(directory)


def language_model_config(
    family: str = "gpt2", hidden: int = 48, layers: int = 3, **changes: Any
) -> PretrainedConfig:
    """A real architecture in small: 4 query heads, and 2 key-value heads where the family can group them.

    ``changes`` replace fields of the family's own configuration.
    """
    fields: dict[str, Any] = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0}
    if family == "gpt2":
        fields |= {"n_embd": hidden, "n_layer": layers, "n_head": 4, "n_positions": 256}
        return GPT2Config(**(fields | changes))
    kinds: dict[str, type[PretrainedConfig]] = {
        "llama": LlamaConfig,
        "mistral": MistralConfig,
        "qwen2": Qwen2Config,
        "qwen3": Qwen3Config,
    }
    fields |= {
        "hidden_size": hidden,
        "intermediate_size": 56,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
    }
    if family == "qwen3":
        fields["head_dim"] = 20  # not hidden / heads, as in Qwen3
    return kinds[family](**(fields | changes))


def save_language_model(
    directory: Path, family: str = "gpt2", *, hidden: int = 48, layers: int = 3, seed: int = 0
) -> Path:
    """Write a random causal LM with its tokenizer to ``directory`` and return it."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(language_model_config(family, hidden, layers))
    # Default initialisation (0.02) makes every context produce the same token; wider weights do not.
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1 and "norm" not in name:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(directory)
    save_tokenizer(directory, "causal")
    return directory


def save_t5(directory: Path, *, width: int = 40, layers: int = 2, seed: int = 1) -> Path:
    """Write a random T5 encoder-decoder (3 heads of 8) with its tokenizer to ``directory`` and return it."""
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=width,
        d_kv=8,
        d_ff=72,
        num_layers=layers,
        num_heads=3,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )
    T5Model(config).save_pretrained(directory)
    save_tokenizer(directory, "t5")
    return directory


def save_text_encoder(directory: Path, *, width: int = 36, seed: int = 3) -> Path:
    """Write a random BERT (3 heads, 2 layers) with its tokenizer to ``directory`` and return it."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=44,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    BertModel(config).save_pretrained(directory)
    save_tokenizer(directory, "t5")
    return directory


def memory_config(directory: Path, family: str = "gpt2", **changes: Any) -> MemoryConfig:
    """A small whole-bank memory around models written under ``directory``; ``changes`` replace fields.

    T=5 slots, K=16 codes, windows of 24 document tokens, P=2 prefix tokens, 3 new tokens per answer.
    """
    fields: dict[str, Any] = {
        "method": "whole-bank",
        "base_model": str(save_language_model(directory / family, family)),
        "context_vectors": 5,
        "amortization": {
            "document_t5": str(save_t5(directory / "document-t5")),
            "question_t5": str(save_t5(directory / "question-t5", width=32, seed=2)),
            "document_tokens": 24,
            "question_tokens": 18,
        },
        "quantizer": {"codebook_size": 16},
        "aggregation": {"blocks": 1, "heads": 2, "head_dimension": 6},
        "modulation": {"prefix_tokens": 2, "hidden": 28},
        "kv_lora": {"rank": 3, "alpha": 6, "last_layers": 2},
        "answer_tokens": 3,
    }
    return parse_memory_config(fields | changes)


def telegram_config(directory: Path, family: str = "gpt2", **changes: Any) -> MemoryConfig:
    """A small memory of telegrams: half of the tokens, T=7 at most, 2 passages read."""
    fields: dict[str, Any] = {
        "method": "telegram",
        "base_model": str(save_language_model(directory / family, family, hidden=32)),
        "context_vectors": 7,
        "amortization": {"trunk_layers": 2, "document_tokens": 24, "question_tokens": 18},
        "selection": {"top_k": 2, "dimension": 10},
        "kv_lora": {"rank": 3, "alpha": 6, "last_layers": 2},
        "answer_tokens": 3,
    }
    return parse_memory_config(fields | changes)


def select_config(directory: Path, family: str = "gpt2", **changes: Any) -> MemoryConfig:
    """A small select-then-read memory: T=6 salient tokens, 2 levels of 16 codes, 2 passages read."""
    fields: dict[str, Any] = {
        "method": "select",
        "base_model": str(save_language_model(directory / family, family)),
        "context_vectors": 6,
        "amortization": {"trunk_layers": 2, "document_tokens": 24, "question_tokens": 18},
        "quantizer": {"kind": "rvq", "num_quantizers": 2, "codebook_size": 16},
        "selection": {"top_k": 2, "dimension": 10},
        "kv_lora": {"rank": 3, "alpha": 6, "last_layers": 2},
        "answer_tokens": 3,
    }
    return parse_memory_config(fields | changes)
