"""Put a select-then-read model together."""

from __future__ import annotations

from mbc_cli.model.code_space import ProjectedCodeSpace
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora
from mbc_cli.model.quantizer import build_quantizer
from mbc_cli.model.select.answer_head import AnswerHead
from mbc_cli.model.select.late_interaction import Selection
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.select.reader import Reader
from mbc_cli.model.select.relevance import SlotRelevance
from mbc_cli.model.select.salience import SalientTokenAmortizer
from mbc_cli.model.select.slot_pooling import SlotAmortizer
from mbc_cli.model.select.slot_reader import SlotReader
from mbc_cli.model.select.soft_tokens import SoftTokenReader
from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings


def build_select_model(
    config: MemoryConfig, backbone: Backbone, *, weights_follow: bool = False
) -> SelectMemoryModel:
    """A model that selects passages and reads their decoded slots, around a backbone without KV-LoRA.

    ``weights_follow``: as in `BackboneTrunk`.
    """
    width = backbone.shape.hidden_size
    code_width = config.quantizer.code_dimension or width
    slots = config.context_vectors
    pools_slots = config.amortization.pooling == "slots"
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
        # Slots that keep the order of a text need no names: whoever reads them sees the order itself.
        code_space=ProjectedCodeSpace(width, code_width, slots, slot_embedding=_slots_need_names(config)),
        quantizer=build_quantizer(config.quantizer, slots, code_width),
        selection=Selection(
            width,
            code_width,
            config.aggregation.selection_dimension,
            named_slots=slots if pools_slots else None,
        ),
        reader=_reader(config, backbone, embeddings),
        answer_head=AnswerHead(backbone, embeddings) if config.loss.answer_head else None,
    )


def _slots_need_names(config: MemoryConfig) -> bool:
    """Whether decoded slots carry an embedding of their own.

    Pooled slots differ in what they stand for, and attention does not see the order of tokens.
    """
    return config.amortization.pooling == "slots" or config.modulation.kind == "slots"


def _reader(config: MemoryConfig, backbone: Backbone, embeddings: RawEmbeddings) -> Reader:
    if config.modulation.kind == "soft-tokens":
        layers = config.modulation.relevance_layers
        relevance = SlotRelevance(backbone.shape.hidden_size, layers) if layers else None
        return SoftTokenReader(backbone, embeddings, relevance)
    return SlotReader(backbone, config.aggregation, config.modulation)
