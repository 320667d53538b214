"""Put a model together that reads the whole bank, as published."""

from __future__ import annotations

from pathlib import Path

from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import WholeBankConfig
from mbc_cli.model.llm.architectures import load_t5, t5_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora
from mbc_cli.model.quantizer import build_quantizer
from mbc_cli.model.whole_bank.aggregation import Aggregator
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.model.whole_bank.modulation import Modulation
from mbc_cli.model.whole_bank.t5_encoder import T5SlotEncoder


def build_whole_bank_model(
    config: WholeBankConfig,
    backbone: Backbone,
    *,
    weights_follow: bool = False,
    architectures: Path | None = None,
) -> WholeBankMemoryModel:
    """A model around a backbone without KV-LoRA; arguments as for `build_memory_model`."""
    attach_kv_lora(backbone, config.kv_lora)
    width, slots = backbone.shape.hidden_size, config.context_vectors
    codebook_dim = None if config.quantizer.kind == "none" else config.quantizer.codebook_dim

    def encoder(text: str) -> T5SlotEncoder:
        name = config.encoders[text]
        saved = name if architectures is None else str(architectures / f"{text}_t5")
        form = t5_config(saved) if weights_follow else None
        return T5SlotEncoder(load_t5(name, form), slots, width, config.amortization.attend_to_padding)

    return WholeBankMemoryModel(
        config,
        backbone,
        amortizer=encoder("document"),
        question_encoder=encoder("question"),
        code_space=(
            IdentityCodeSpace(width)
            if codebook_dim is None
            else ProjectedCodeSpace(width, codebook_dim, slots)
        ),
        quantizer=build_quantizer(config.quantizer, slots, codebook_dim or width),
        aggregator=Aggregator(
            width, config.aggregation.blocks, config.aggregation.heads, config.aggregation.head_dimension
        ),
        modulation=Modulation(
            backbone.shape,
            config.modulation.prefix_tokens,
            config.modulation.hidden,
            overflow=config.modulation.latent_overflow,
        ),
    )
