"""A saved adapter that selects is, when loaded, the same memory: equal codes, scores and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mbc_cli.model.adapter import load_adapter, save_adapter
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from tests.support.tiny_models import SENTENCES, select_config

# Slot pooling, a codebook for each slot, and the aggregated reading.
SLOTS: dict[str, Any] = {
    "pooling": "slots",
    "quantizer": {"kind": "rvq", "num_quantizers": 2, "codebook_size": 16, "codebook": "per-slot"},
    "reading": {
        "kind": "slot-attention",
        "blocks": 1,
        "heads": 2,
        "head_dimension": 6,
        "prefix_tokens": 5,
        "hidden": 28,
        "answer_head": 0.2,
    },
}
QUESTIONS = ["Who opened the museum?", "How many guests came to Lindholm?"]


def reload_with_embeddings(directory: str, *, tied: bool) -> None:
    """Write the LLM in ``directory`` again, with or without an output layer of its own."""
    config = AutoModelForCausalLM.from_pretrained(directory).config
    config.tie_word_embeddings = tied
    torch.manual_seed(3)
    language_model = AutoModelForCausalLM.from_config(config)
    for parameter in language_model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.15)
    language_model.save_pretrained(directory)


def read_from_codes(model: SelectMemoryModel, tokenizers: Tokenizers) -> tuple[torch.Tensor, ...]:
    """Codes of some documents, their scores for the questions, and the answers from the best two."""
    documents = tokenizers.encode_documents(SENTENCES)
    asked, prompts = tokenizers.encode_questions(QUESTIONS), tokenizers.encode_prompts(QUESTIONS)
    with torch.no_grad():
        codes = model.quantize(model.encode_documents(documents.input_ids, documents.attention_mask)).codes
        assert codes is not None
        question = model.encode_questions(asked.input_ids, asked.attention_mask)
        scores = model.score(question, codes)
        best = scores.topk(2, dim=1)
        prefix = model.prefix(question, codes[best.indices], best.values)
        logits = model.answer_logits(prefix, prompts.input_ids, prompts.attention_mask)
        answers = model.generate(prefix, prompts.input_ids, prompts.attention_mask)
    return codes, scores, logits, answers


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "qwen3"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("kind", [{}, SLOTS], ids=["tokens and soft-tokens", "slots and slots"])
def test_a_loaded_adapter_gives_the_same_codes_scores_and_answers(
    tmp_path: Path, family: str, tied: bool, kind: dict[str, Any]
) -> None:
    config = select_config(tmp_path, family, **kind)
    reload_with_embeddings(config.base_model, tied=tied)
    model, tokenizers = create_memory_model(config)
    assert isinstance(model, SelectMemoryModel)
    transformer = model.backbone.transformer
    shared = transformer.get_input_embeddings().weight is transformer.get_output_embeddings().weight
    assert shared == tied
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    untouched = read_from_codes(create_memory_model(config)[0].eval(), tokenizers)  # type: ignore[arg-type]
    saved = read_from_codes(model.eval(), tokenizers)
    save_adapter(model, tmp_path / "adapter", tokenizers, {})

    adapter = load_adapter(tmp_path / "adapter")

    assert isinstance(adapter.model, SelectMemoryModel)
    assert adapter.model.fingerprint() == model.fingerprint()
    loaded = read_from_codes(adapter.model, adapter.tokenizers)
    for mine, its in zip(saved, loaded, strict=True):
        assert torch.equal(mine, its)
    assert not any(torch.equal(mine, its) for mine, its in zip(saved[:3], untouched[:3], strict=True))
