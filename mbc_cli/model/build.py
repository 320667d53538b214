"""Put a memory model together from its configuration: the one place that chooses between kinds of parts."""

from __future__ import annotations

import torch
from torch import nn
from transformers import PretrainedConfig, T5Config

from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.architectures import load_t5, t5_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora, lora_parameters
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.quantizer import VectorQuantizer, build_quantizer
from mbc_cli.model.select.build import build_select_model
from mbc_cli.model.whole_bank.aggregation import Aggregator
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.model.whole_bank.modulation import Modulation
from mbc_cli.model.whole_bank.t5_encoder import T5SlotEncoder


def build_memory_model(
    config: MemoryConfig,
    backbone: Backbone,
    *,
    document_t5: T5Config | None = None,
    question_t5: T5Config | None = None,
    weights_follow: bool = False,
) -> MemoryModel:
    """A memory model around ``backbone``, which must not carry KV-LoRA yet.

    A T5 whose configuration is given gets random weights (to be loaded afterwards); otherwise the
    pretrained one that ``config`` names is loaded. ``weights_follow`` says that all of the memory's weights
    are loaded afterwards, so that a trunk can be built for a quantised LLM, whose blocks it cannot copy.
    """
    if config.aggregation.kind == "select":
        return _on_device(build_select_model(config, backbone, weights_follow=weights_follow))
    attach_kv_lora(backbone, config.kv_lora)
    amortizer, question_encoder = _encoders(config, backbone, document_t5, question_t5)
    width = backbone.shape.hidden_size
    code_dimension = config.quantizer.code_dimension
    model = WholeBankMemoryModel(
        config,
        backbone,
        amortizer=amortizer,
        code_space=(
            IdentityCodeSpace()
            if code_dimension is None
            else ProjectedCodeSpace(width, code_dimension, config.context_vectors)
        ),
        quantizer=build_quantizer(config.quantizer, config.context_vectors, code_dimension or width),
        question_encoder=question_encoder,
        aggregator=Aggregator(
            width, config.aggregation.blocks, config.aggregation.heads, config.aggregation.head_dimension
        ),
        modulation=Modulation(backbone.shape, config.modulation.prefix_tokens, config.modulation.hidden),
    )
    return _on_device(model)


def _on_device(model: MemoryModel) -> MemoryModel:
    """Move the memory modules to the LLM's device."""
    for name, part in model.named_children():
        if name != "backbone":  # a base quantised by bitsandbytes must stay where it was loaded
            part.to(model.backbone.device)
    return model


def _encoders(
    config: MemoryConfig, backbone: Backbone, document_t5: T5Config | None, question_t5: T5Config | None
) -> tuple[nn.Module, nn.Module]:
    """The networks that read documents and questions."""
    settings = config.amortization

    def encoder(name: str, architecture: T5Config | None) -> T5SlotEncoder:
        return T5SlotEncoder(
            load_t5(name, architecture),
            config.context_vectors,
            backbone.shape.hidden_size,
            settings.attend_to_padding,
        )

    return encoder(settings.document_t5, document_t5), encoder(settings.question_t5, question_t5)


def count_parameters(config: MemoryConfig, llm_config: PretrainedConfig) -> dict[str, int]:
    """Parameters of each part of the memory model and of the LLM, without weights and without a download.

    Everything is built on the meta device, so even the largest preset takes no memory.
    """
    reads_with_t5 = config.amortization.kind == "t5"
    with torch.device("meta"):
        backbone = Backbone.from_config(llm_config)
        counts = {"language_model": sum(p.numel() for p in backbone.parameters())}
        model = build_memory_model(
            config,
            backbone,
            document_t5=t5_config(config.amortization.document_t5) if reads_with_t5 else None,
            question_t5=t5_config(config.amortization.question_t5) if reads_with_t5 else None,
        )
    for name, part in model.named_children():
        if name != "backbone":
            counts[name] = sum(p.numel() for p in part.parameters())
    if isinstance(model.quantizer, VectorQuantizer):
        counts["quantizer"] = model.quantizer.codebooks.numel()  # buffers under EMA updates
    counts["kv_lora"] = sum(p.numel() for p in lora_parameters(backbone).values())
    return counts
