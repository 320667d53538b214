"""Put a memory of telegrams together."""

from __future__ import annotations

from mbc_cli.model.config import TelegramConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import attach_kv_lora
from mbc_cli.model.select.trunk import BackboneTrunk, RawEmbeddings
from mbc_cli.model.telegram.amortizer import TelegramAmortizer
from mbc_cli.model.telegram.model import TelegramMemoryModel
from mbc_cli.model.telegram.reader import TelegramReader
from mbc_cli.model.telegram.token_interaction import TokenInteraction
from mbc_cli.model.tokenizers import Vocabulary


def build_telegram_model(
    config: TelegramConfig,
    backbone: Backbone,
    vocabulary: Vocabulary | None = None,
    *,
    weights_follow: bool = False,
) -> TelegramMemoryModel:
    """A model whose codes are tokens, around a backbone without KV-LoRA.

    ``vocabulary`` None is one of the size of the LLM's embedding table; ``weights_follow`` as in
    `BackboneTrunk`.
    """
    vocabulary = vocabulary or Vocabulary(backbone.shape.vocabulary, "")
    embeddings = RawEmbeddings(backbone)
    trunk = BackboneTrunk(
        backbone, config.amortization.trunk_layers, embeddings, weights_follow=weights_follow
    )
    attach_kv_lora(backbone, config.kv_lora)
    return TelegramMemoryModel(
        config,
        backbone,
        amortizer=TelegramAmortizer(
            embeddings,
            trunk,
            slots=config.context_vectors,
            kept=config.quantizer.kept,
            added_rarity=config.quantizer.added_rarity,
            vocabulary=vocabulary.size,
        ),
        selection=TokenInteraction(embeddings, config.selection.dimension, vocabulary.size),
        reader=TelegramReader(backbone, embeddings, vocabulary.size),
        vocabulary=vocabulary,
    )
