"""Tiny select-then-read models around real architectures, every dimension different, and a batch for them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from transformers import PretrainedConfig

from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.config import MemoryConfig, parse_memory_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.select.model import SelectMemoryModel
from tests.support.tiny_models import language_model_config

VOCABULARY, WIDTH, SLOTS, DOCUMENTS, QUESTIONS = 53, 32, 6, 4, 7


def _backbone(family: str, *, tied: bool, **changes: Any) -> PretrainedConfig:
    return language_model_config(family, WIDTH, vocab_size=VOCABULARY, tie_word_embeddings=tied, **changes)


# With and without tokens that begin and end a text.
BACKBONES: dict[str, PretrainedConfig] = {
    "gpt2-tied": _backbone("gpt2", tied=True, bos_token_id=1, eos_token_id=2),
    "gpt2-untied": _backbone("gpt2", tied=False, bos_token_id=1, eos_token_id=2),
    "llama-gqa-tied": _backbone("llama", tied=True, bos_token_id=None, eos_token_id=2),
    "llama-gqa-untied": _backbone("llama", tied=False, bos_token_id=None, eos_token_id=2),
    "qwen3-wide-heads-tied": _backbone("qwen3", tied=True, bos_token_id=None, eos_token_id=None, head_dim=24),
}
ONE_LEVEL: dict[str, Any] = {"kind": "vq", "codebook_size": 16, "update": "ema", "codebook_dim": WIDTH}
TWO_LEVELS: dict[str, Any] = {
    "kind": "rvq",
    "num_quantizers": 2,
    "codebook_size": 11,
    "update": "ema",
    "codebook_dim": 20,
}


def config(quantizer: Mapping[str, Any] = ONE_LEVEL, **changes: Any) -> MemoryConfig:
    settings: dict[str, Any] = {
        "method": "select",
        "base_model": "tiny",
        "context_vectors": SLOTS,
        "amortization": {"trunk_layers": 2},
        "quantizer": quantizer,
        "selection": {"dimension": 9},
        "kv_lora": {"rank": 3, "alpha": 6, "last_layers": 2},
        "memory_queue": {"negatives": 5, "size": 8},
    }
    return parse_memory_config(settings | changes)


def build(
    backbone: str = "llama-gqa-untied", quantizer: Mapping[str, Any] = ONE_LEVEL, **changes: Any
) -> SelectMemoryModel:
    torch.manual_seed(0)
    model = build_memory_model(config(quantizer, **changes), Backbone.from_config(BACKBONES[backbone]))
    assert isinstance(model, SelectMemoryModel)
    return model


def batch() -> TrainingBatch:
    torch.manual_seed(1)

    def ids(rows: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randint(3, VOCABULARY, (rows, length)), torch.ones(rows, length, dtype=torch.int64)

    documents, document_mask = ids(DOCUMENTS, 9)
    document_mask[0, 4:] = 0  # fewer tokens than slots
    questions, question_mask = ids(QUESTIONS, 5)
    question_mask[1, 3:] = 0
    answers, answer_mask = ids(QUESTIONS, 8)
    labels = answers.clone()
    labels[:, :5] = -100
    owners = torch.arange(QUESTIONS) % DOCUMENTS
    return TrainingBatch(
        documents, document_mask, questions, question_mask, owners, answers, answer_mask, labels
    )


PREFIX_TOKENS = 5
# (pooling, reading.kind, quantizer.codebook)
KINDS = {
    "tokens, soft-tokens, shared": ("tokens", "soft-tokens", "shared"),
    "tokens, soft-tokens by relevance, shared": ("tokens", "soft-tokens by relevance", "shared"),
    "tokens, slot-attention, shared": ("tokens", "slot-attention", "shared"),
    "slots, soft-tokens, shared": ("slots", "soft-tokens", "shared"),
    "slots, soft-tokens, per-slot": ("slots", "soft-tokens", "per-slot"),
    "slots, slot-attention, per-slot": ("slots", "slot-attention", "per-slot"),
}


def build_kind(
    kind: str,
    backbone: str = "llama-gqa-untied",
    quantizer: Mapping[str, Any] = ONE_LEVEL,
    *,
    relevance_weight: float = 1.0,
    answer_head: float = 0.0,
    **changes: Any,
) -> SelectMemoryModel:
    pooling, reading, codebook = KINDS[kind]
    readings: dict[str, dict[str, Any]] = {
        "soft-tokens": {},
        "soft-tokens by relevance": {"relevance": {"layers": 2, "weight": relevance_weight}},
        "slot-attention": {
            "kind": "slot-attention",
            "blocks": 2,
            "heads": 3,
            "head_dimension": 14,
            "prefix_tokens": PREFIX_TOKENS,
            "hidden": 23,
            "answer_head": answer_head,
        },
    }
    if quantizer["kind"] != "none":
        quantizer = {**quantizer, "codebook": codebook}
    return build(backbone, quantizer, **{"pooling": pooling, "reading": readings[reading]} | changes)


def sharpen(model: SelectMemoryModel) -> None:
    """Let the LLM be sure of its tokens, for which default weights are too small. Wants no gradients."""
    model.backbone.transformer.get_output_embeddings().weight.normal_(std=0.5)


def asking_for_tokens(data: TrainingBatch, start: int) -> TrainingBatch:
    """Questions that begin with three tokens of their documents: from ``start``, or their last."""
    question_ids = data.question_ids.clone()
    for row, document in enumerate(data.question_document.tolist()):
        first = min(start, int(data.document_mask[document].sum()) - 3)
        question_ids[row, :3] = data.document_ids[document, first : first + 3]
    return replace(data, question_ids=question_ids)


def fit(model: SelectMemoryModel, data: TrainingBatch, *, steps: int) -> tuple[float, float, torch.Tensor]:
    """Train on one batch: the answers' loss before and after, and the questions' scores (Q, D) after."""
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=5e-3)
    model.train()
    first = model.training_loss(data, 0.0).parts["answer"]
    for step in range(steps):
        loss = model.training_loss(data, step / steps)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    model.eval()
    with torch.no_grad():
        codes = model.quantize(model.encode_documents(data.document_ids, data.document_mask)).codes
        assert codes is not None
        scores = model.score(model.encode_questions(data.question_ids, data.question_mask), codes)
        last = model.training_loss(data, 1.0).parts["answer"]
    return float(first), float(last), scores


def assert_finite_gradients_under_autocast(
    model: SelectMemoryModel, data: TrainingBatch, progress: float
) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        total = model.training_loss(data, progress).total
    total.backward()
    grads = [p.grad for p in model.trainable_parameters() if p.grad is not None]
    assert grads
    assert all(bool(grad.isfinite().all()) for grad in grads)
