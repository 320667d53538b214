"""Put a memory model together from its configuration: the one place that chooses between methods."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import torch

from mbc_cli.model.base_quantize import Quantize
from mbc_cli.model.config import (
    MemoryConfig,
    SelectSlotsConfig,
    SelectTokensConfig,
    TelegramConfig,
    WholeBankConfig,
)
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import lora_parameters
from mbc_cli.model.llm.sketch import without_storage
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.quantizer import VectorQuantizer
from mbc_cli.model.select.build import build_select_model
from mbc_cli.model.telegram.build import build_telegram_model
from mbc_cli.model.tokenizers import Tokenizers, Vocabulary

if TYPE_CHECKING:
    from transformers import PretrainedConfig


def create_memory_model(
    config: MemoryConfig, *, device: str | torch.device = "cpu", quantize: Quantize | None = None
) -> tuple[MemoryModel, Tokenizers]:
    """A new memory model, ready to be trained, and its tokenizers, from the models ``config`` names.

    ``quantize`` loads the LLM in nf4 or int8 in place of what ``config`` says. Raises MbcError where a model,
    a tokenizer or a package is missing, or the architecture is unsupported.
    """
    backbone = Backbone.from_pretrained(
        config.base_model,
        revision=config.base_revision,
        device=device,
        quantize=quantize or config.base_quantize,
    )
    tokenizers = Tokenizers.from_pretrained(config)
    return build_memory_model(config, backbone, vocabulary=tokenizers.vocabulary), tokenizers


def build_memory_model(
    config: MemoryConfig,
    backbone: Backbone,
    *,
    weights_follow: bool = False,
    architectures: Path | None = None,
    vocabulary: Vocabulary | None = None,
) -> MemoryModel:
    """A memory model around ``backbone``, which must not carry KV-LoRA yet.

    Its networks start from the pretrained models that ``config`` names. With ``weights_follow`` they get
    random weights, as all of the memory's are loaded afterwards; ``architectures`` is then where
    `MemoryModel.save_architectures` wrote their form, None where it is that of the models named.
    ``vocabulary`` is the tokenizer's, for methods whose codes are tokens; None is one of the LLM's size.
    """
    model: MemoryModel
    match config:
        case WholeBankConfig():
            from mbc_cli.model.whole_bank.build import build_whole_bank_model  # T5s of transformers

            model = build_whole_bank_model(
                config, backbone, weights_follow=weights_follow, architectures=architectures
            )
        case SelectTokensConfig() | SelectSlotsConfig():
            model = build_select_model(config, backbone, weights_follow=weights_follow)
        case TelegramConfig():
            model = build_telegram_model(config, backbone, vocabulary, weights_follow=weights_follow)
        case _:
            assert_never(config)
    for name, part in model.named_children():
        if name != "backbone":  # a base quantised by bitsandbytes must stay where it was loaded
            part.to(backbone.device)
    return model


def count_parameters(config: MemoryConfig, llm_config: PretrainedConfig) -> dict[str, int]:
    """Parameters of each part of the memory model and of the LLM, without weights and without a download.

    Everything is built on the meta device, so even the largest preset takes no memory.
    """
    with without_storage():
        backbone = Backbone.from_config(llm_config)
        counts = {"language_model": sum(p.numel() for p in backbone.parameters())}
        model = build_memory_model(config, backbone, weights_follow=True)
    for name, part in model.named_children():
        if name != "backbone":
            counts[name] = sum(p.numel() for p in part.parameters())
    quantizer = getattr(model, "quantizer", None)
    if isinstance(quantizer, VectorQuantizer):
        counts["quantizer"] = quantizer.codebooks.numel()  # buffers under EMA updates
    counts["kv_lora"] = sum(p.numel() for p in lora_parameters(backbone).values())
    return counts
