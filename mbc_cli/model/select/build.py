"""Put a select-then-read model together."""

from __future__ import annotations

from mbc_cli.model.code_space import ProjectedCodeSpace
from mbc_cli.model.config import SelectConfig, SlotAttentionConfig, WeighedSoftTokensConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora
from mbc_cli.model.quantizer import build_quantizer
from mbc_cli.model.select.late_interaction import LateInteraction
from mbc_cli.model.select.losses import AnswerHead
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.select.pooling import SalientTokenAmortizer, SlotAmortizer
from mbc_cli.model.select.readers import SlotAttentionReader, SoftTokenReader
from mbc_cli.model.select.relevance import SlotRelevance
from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings


def build_select_model(
    config: SelectConfig, backbone: Backbone, *, weights_follow: bool = False
) -> SelectMemoryModel:
    """A model that selects passages and reads their decoded slots, around a backbone without KV-LoRA.

    ``weights_follow``: as in `BackboneTrunk`.
    """
    width, slots = backbone.shape.hidden_size, config.context_vectors
    pools_slots = config.pooling == "slots"
    reading = config.reading
    relevance = reading.relevance if isinstance(reading, WeighedSoftTokensConfig) else None
    relevance_network = SlotRelevance(width, relevance.layers) if relevance else None
    answer_head_weight = reading.answer_head if isinstance(reading, SlotAttentionConfig) else 0.0
    codebook_dim = (None if config.quantizer.kind == "none" else config.quantizer.codebook_dim) or width

    embeddings = RawEmbeddings(backbone)
    trunk = BackboneTrunk(
        backbone, config.amortization.trunk_layers, embeddings, weights_follow=weights_follow
    )
    attach_kv_lora(backbone, config.kv_lora)
    pooling = SlotAmortizer if pools_slots else SalientTokenAmortizer
    return SelectMemoryModel(
        config,
        backbone,
        amortizer=pooling(embeddings, trunk, slots, width),
        # Pooled slots differ in what they stand for, and attention does not see the order of tokens.
        code_space=ProjectedCodeSpace(
            width, codebook_dim, slots, slot_embedding=pools_slots or reading.kind == "slot-attention"
        ),
        quantizer=build_quantizer(config.quantizer, slots, codebook_dim),
        selection=LateInteraction(
            width, codebook_dim, config.selection.dimension, named_slots=slots if pools_slots else None
        ),
        reader=(
            SlotAttentionReader(backbone, reading)
            if isinstance(reading, SlotAttentionConfig)
            else SoftTokenReader(backbone, embeddings, relevance_network)
        ),
        relevance_weight=relevance.weight if relevance else 0.0,
        answer_head=AnswerHead(backbone, embeddings) if answer_head_weight else None,
        answer_head_weight=answer_head_weight,
    )
