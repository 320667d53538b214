"""Presets are valid, carry the published values, and their sizes are known without weights."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

import mbc_cli
from mbc_cli.errors import MbcError, UsageError
from mbc_cli.model.build import count_parameters, create_memory_model
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.architectures import load_t5, model_config, t5_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.kv_lora import lora_parameters
from mbc_cli.presets import load_preset, preset_names
from mbc_cli.training.config import TrainingConfig
from tests.support.tiny_models import FAMILIES, memory_config, save_language_model, save_t5

# T, rank, alpha, adapted layers, document T5, question T5 (MBC, section 4).
PUBLISHED = {
    "distilgpt2": (12, 16, 32, 6, "t5-small", "t5-small"),
    "gpt2-large": (24, 32, 64, 16, "t5-base", "t5-base"),
    "gpt2-xl": (24, 32, 64, 16, "t5-large", "t5-base"),
    "llama2-7b": (24, 32, 64, 16, "t5-large", "t5-base"),
}
# Parameters of the LLMs as their makers count them, tied embeddings once.
LLM_PARAMETERS = {
    "distilgpt2": 81_912_576,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "llama2-7b": 6_738_415_616,
    "llama3.2-1b": 1_235_814_400,
    "qwen2.5-0.5b": 494_032_768,
    "news-small": 885_888,
    "smollm2-135m": 134_515_008,
}
MODERN = ("llama3.2-1b", "qwen2.5-0.5b")
# What examples/train_news_lm.py trains ships with the package.
NEWS_LM = model_config(str(Path(mbc_cli.__file__).parent / "default_adapters" / "news" / "base"))


def preset(name: str) -> tuple[MemoryConfig, TrainingConfig]:
    loaded = load_preset(name)
    return loaded.model, loaded.training


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_presets_carry_the_published_values(name: str) -> None:
    config, training = preset(name)
    lora, texts = config.kv_lora, config.amortization
    values = (lora.rank, lora.alpha, lora.last_layers, texts.document_t5, texts.question_t5)
    assert (config.context_vectors, *values) == PUBLISHED[name]
    assert (config.quantizer.codebook_size, config.modulation.prefix_tokens, config.aggregation.blocks) == (
        512,
        2,
        4,
    )
    assert (training.optimizer, training.learning_rate, training.epochs) == ("adam", 1e-5, 50)
    assert (training.schedule.kind, training.schedule.warmup) == ("constant", 0.01)
    effective_batch = training.batch_size * training.gradient_accumulation
    assert effective_batch == (32 if name == "llama2-7b" else 64)
    assert config.base_quantize == ("nf4" if name == "llama2-7b" else None)


@pytest.mark.parametrize("name", MODERN)
def test_presets_for_modern_llms_select_and_adapt_every_layer(name: str) -> None:
    config, training = preset(name)
    assert (config.method, config.pooling, config.reading.kind) == ("select", "tokens", "soft-tokens")
    assert config.kv_lora.last_layers == model_config(config.base_model).num_hidden_layers
    bits = (
        config.context_vectors
        * config.quantizer.num_quantizers
        * (config.quantizer.codebook_size - 1).bit_length()
    )
    assert bits / 8 == 132  # bytes per passage
    assert (training.optimizer, training.learning_rate, training.schedule.kind) == ("adamw", 1e-4, "cosine")
    assert training.mixed_precision == "bf16"


def test_every_preset_is_sized_here() -> None:
    assert LLM_PARAMETERS.keys() == set(preset_names())


@pytest.mark.parametrize("name", LLM_PARAMETERS)
def test_the_size_of_each_part_of_a_preset_is_told_without_weights(name: str) -> None:
    config, _ = preset(name)
    llm = NEWS_LM if name == "news-small" else model_config(config.base_model)
    counts = count_parameters(config, llm)
    assert counts["language_model"] == LLM_PARAMETERS[name]
    codebook = config.quantizer
    if codebook.kind != "vocabulary":
        width = codebook.codebook_dim or llm.hidden_size
        assert counts["quantizer"] == codebook.num_quantizers * codebook.codebook_size * width
    if config.method == "whole-bank":
        parts = ("amortizer", "question_encoder", "aggregator", "modulation")
        assert all(counts[part] > 1_000_000 for part in parts)
        return
    hidden, dimension = llm.hidden_size, config.selection.dimension
    # These LLMs tie their embeddings; the rest but the last norm are blocks, of which the trunk copies some.
    blocks = counts["language_model"] - (llm.vocab_size + 1) * hidden
    trunk = blocks * config.amortization.trunk_layers // llm.num_hidden_layers + 4 * hidden
    if config.method == "telegram":
        assert counts["amortizer"] == trunk + hidden + 2
        assert counts["selection"] == 3 * dimension * hidden + hidden + 4
        assert counts["reader"] == hidden
        return
    assert counts["amortizer"] == trunk + hidden**2 + 2 * hidden + 1
    assert counts["code_space"] == 2 * hidden * width + hidden + width
    assert counts["selection"] == 3 * dimension * (width + 2 * hidden) + hidden + 2
    assert counts["reader"] == hidden


@pytest.mark.parametrize("name", [*MODERN, "news-small"])
def test_a_preset_takes_slot_pooling_and_the_aggregated_reading_as_changes_of_single_keys(name: str) -> None:
    changes = [
        "model.pooling=slots",
        "model.quantizer.codebook=per-slot",
        "model.reading.kind=slot-attention",
        "model.reading.prefix_tokens=8",
        "model.reading.answer_head=0.3",
    ]
    config = load_preset(name, changes).model
    plain, _ = preset(name)
    llm = NEWS_LM if name == "news-small" else model_config(config.base_model)
    counts, before = count_parameters(config, llm), count_parameters(plain, llm)
    assert counts["quantizer"] == before["quantizer"] * config.context_vectors
    assert counts["language_model"] == before["language_model"]
    kv_width = llm.num_key_value_heads * llm.hidden_size // llm.num_attention_heads
    assert counts["reader"] > 2 * llm.num_hidden_layers * llm.hidden_size * kv_width
    with pytest.raises(UsageError, match="unknown 'document_t5'"):
        load_preset(name, ["model.amortization.document_t5=t5-small"])


@pytest.mark.parametrize("family", FAMILIES)
def test_counted_parameters_are_those_of_the_built_model(tmp_path: Path, family: str) -> None:
    config = memory_config(tmp_path, family)
    model, _ = create_memory_model(config)
    counts = count_parameters(config, model.backbone.transformer.config)
    lora = sum(p.numel() for p in lora_parameters(model.backbone).values())
    assert counts.pop("kv_lora") == lora
    everything = sum(p.numel() for p in model.backbone.parameters())
    assert counts.pop("language_model") == everything - lora
    for name, count in counts.items():
        assert count == sum(p.numel() for p in getattr(model, name).parameters()), name


def test_a_t5_without_weights_on_disk_starts_at_random_and_one_with_weights_from_them(tmp_path: Path) -> None:
    save_t5(tmp_path / "with")
    (tmp_path / "without").mkdir()
    (tmp_path / "without/config.json").write_text((tmp_path / "with/config.json").read_text())
    first, again = (load_t5(str(tmp_path / "with")).shared.weight for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, load_t5(str(tmp_path / "without")).shared.weight)


def test_a_t5_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(MbcError, match="needs a T5"):
        t5_config(str(save_language_model(tmp_path)))
    with pytest.raises(MbcError, match="nowhere") as raised:
        load_t5(str(tmp_path / "nowhere"))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("quantize", ["nf4", "int8"])
def test_quantising_without_bitsandbytes_is_one_clear_line(
    tmp_path: Path, quantize: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # None in sys.modules is how Python itself marks a module that cannot be imported.
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MbcError, match="bitsandbytes") as raised:
        Backbone.from_pretrained(str(save_language_model(tmp_path)), quantize=quantize)
    assert "pip install 'mbc-memory[quantize]'" in str(raised.value)
    assert "\n" not in str(raised.value)
