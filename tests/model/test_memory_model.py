"""The published model at other shapes and around every family: it trains, reads banks and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from mbc_cli.model.bank import TensorBank
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from tests.support.tiny_models import FAMILIES, SENTENCES, memory_config, save_t5

QUESTIONS = ["Who opened the museum?", "Where?", "How many guests came to Lindholm?"]
ANSWERS = ["Mira Okafor", "in Lindholm", "312"]


def built(directory: Path, family: str = "gpt2", **changes: Any) -> tuple[WholeBankMemoryModel, Tokenizers]:
    config = memory_config(directory, family, **changes)
    torch.manual_seed(6)
    model, tokenizers = create_memory_model(config)
    assert isinstance(model, WholeBankMemoryModel)
    return model, tokenizers


@pytest.fixture(scope="module")
def built_once(tmp_path_factory: pytest.TempPathFactory) -> tuple[WholeBankMemoryModel, Tokenizers]:
    return built(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize(
    ("changes", "widths"),
    [
        ({"context_vectors": 7}, (40, 32)),  # 7 does not divide P N 2 = 12
        ({"context_vectors": 12}, (32, 40)),  # question T5 wider than the other
        ({"context_vectors": 17}, (48, 40)),  # more slots than the prefix has; T5 as wide as the LLM
        ({"modulation": {"prefix_tokens": 5, "hidden": 9}}, (40, 48)),
        ({"aggregation": {"blocks": 3, "heads": 1, "head_dimension": 5}}, (40, 40)),
        ({"kv_lora": {"rank": 1, "alpha": 1, "last_layers": 3}}, (24, 56)),
        ({"quantizer": {"codebook_size": 9, "codebook": "per-slot", "update": "ema"}}, (40, 32)),
        ({"quantizer": {"codebook_size": 9, "codebook_dim": 6}}, (40, 32)),
        ({"quantizer": {"kind": "none"}}, (40, 32)),
    ],
)
def test_other_shapes_train_and_answer(
    tmp_path: Path, changes: dict[str, Any], widths: tuple[int, int]
) -> None:
    amortization = {
        "document_t5": str(save_t5(tmp_path / "d", width=widths[0])),
        "question_t5": str(save_t5(tmp_path / "q", width=widths[1])),
        "document_tokens": 24,
    }
    model, tokenizers = built(tmp_path, **changes, amortization=amortization)
    batch = tokenizers.training_batch(SENTENCES[:2], QUESTIONS, ANSWERS, [0, 0, 1])
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=3e-3)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = model.train().training_loss(batch)
        loss.total.backward()
        assert all(p.grad is not None for p in model.trainable_parameters())
        optimizer.step()
        losses.append(loss.parts["answer"])
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("codebook", ["shared", "per-slot"])
def test_counts_read_as_the_vectors_they_count(tmp_path: Path, family: str, codebook: str) -> None:
    model, tokenizers = built(tmp_path, family, quantizer={"codebook_size": 16, "codebook": codebook})
    model.eval()
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        documents = tokenizers.encode_documents([f"{text} No. {i}." for i, text in enumerate(SENTENCES * 2)])
        output = model.quantize(model.encode_documents(documents.input_ids, documents.attention_mask))
        counts = torch.zeros(5, 1, 16, dtype=torch.int64)
        for row in output.codes:
            for slot, code in enumerate(row[:, 0].tolist()):
                counts[slot, 0, code] += 1
        asked = tokenizers.encode_questions(QUESTIONS)
        question = model.encode_questions(asked.input_ids, asked.attention_mask)
        from_counts = model.prefix(question, model.attended_by_counts(counts))
        reading = model.read(asked, TensorBank(model.quantizer.decode(output.codes)))
        assert reading.prefix is not None
        from_vectors = reading.prefix()
        assert torch.allclose(from_counts.states, from_vectors.states, atol=1e-5)
        prompts = tokenizers.encode_prompts(QUESTIONS)
        together = model.generate(from_counts, prompts.input_ids, prompts.attention_mask, max_new_tokens=4)
        for row, text in enumerate(QUESTIONS):
            prompt = tokenizers.encode_prompts([text])
            alone = model.generate(
                from_counts[row : row + 1], prompt.input_ids, prompt.attention_mask, max_new_tokens=4
            )
            assert torch.equal(alone[0], together[row])


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_half_precision_llm_trains_float32_memory_modules(tmp_path: Path, family: str) -> None:
    config = memory_config(tmp_path, family)
    half = AutoModelForCausalLM.from_pretrained(config.base_model, dtype=torch.bfloat16)
    half.save_pretrained(config.base_model)
    model, tokenizers = create_memory_model(config)
    assert model.backbone.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.trainable_parameters()} == {torch.float32}
    model.train().training_loss(
        tokenizers.training_batch(SENTENCES, QUESTIONS, ANSWERS, range(3))
    ).total.backward()
    assert all(parameter.grad is not None for parameter in model.trainable_parameters())


def test_training_under_autocast_keeps_codes_and_losses_in_float32(
    built_once: tuple[WholeBankMemoryModel, Tokenizers],
) -> None:
    model, tokenizers = built_once
    batch = tokenizers.training_batch(SENTENCES, QUESTIONS, ANSWERS, range(3))
    plain = model.eval().training_loss(batch).total
    with torch.autocast("cpu", torch.bfloat16):
        vectors = model.encode_documents(batch.document_ids, batch.document_mask)
        mixed = model.training_loss(batch).total
    assert vectors.dtype == mixed.dtype == torch.float32
    assert torch.allclose(plain, mixed, rtol=0.02)


def test_a_documents_codes_do_not_depend_on_its_batch(
    built_once: tuple[WholeBankMemoryModel, Tokenizers],
) -> None:
    model, tokenizers = built_once
    model.eval()
    documents = tokenizers.encode_documents(["Tarn.", *SENTENCES])
    alone = tokenizers.encode_documents(["Tarn."])
    with torch.no_grad():
        together = model.encode_documents(documents.input_ids, documents.attention_mask)[:1]
        single = model.encode_documents(alone.input_ids, alone.attention_mask)
    assert alone.input_ids.shape[1] < documents.input_ids.shape[1]
    assert torch.allclose(together, single, atol=1e-5)


def test_where_the_decoder_attends_to_padding_texts_are_always_padded_to_the_same_length(
    tmp_path: Path,
) -> None:
    config = memory_config(tmp_path)
    changed = config.amortization.model_copy(update={"attend_to_padding": True})
    model, tokenizers = create_memory_model(config.model_copy(update={"amortization": changed}))
    model.eval()
    alone, more = tokenizers.encode_documents(["Tarn."]), tokenizers.encode_documents(["Tarn.", *SENTENCES])
    assert alone.input_ids.shape[1] == more.input_ids.shape[1] == 24
    with torch.no_grad():
        single = model.encode_documents(alone.input_ids, alone.attention_mask)
        together = model.encode_documents(more.input_ids, more.attention_mask)[:1]
        cut = model.encode_documents(alone.input_ids[:, :9], alone.attention_mask[:, :9])
    assert torch.allclose(single, together, atol=1e-5)
    assert (single - cut).abs().max() > 1e-4  # the switch has an effect


def test_the_bank_of_a_training_batch_is_all_its_documents_whatever_the_question_asks(
    built_once: tuple[WholeBankMemoryModel, Tokenizers],
) -> None:
    model, tokenizers = built_once
    model.eval()
    first = tokenizers.training_batch(SENTENCES, QUESTIONS, ANSWERS, [0, 1, 2])
    other = tokenizers.training_batch(SENTENCES[::-1], QUESTIONS, ANSWERS, [2, 1, 0])
    with torch.no_grad():
        losses = [model.training_loss(batch).total for batch in (first, other)]
    assert torch.allclose(*losses, atol=1e-5)


def test_counts_of_another_shape_or_all_zero_are_refused(
    built_once: tuple[WholeBankMemoryModel, Tokenizers],
) -> None:
    model, _ = built_once
    with pytest.raises(ValueError, match=r"\(5, 1, 16\)"):
        model.attended_by_counts(torch.ones(5, 1, 15, dtype=torch.int64))
    with pytest.raises(ValueError, match="no vectors"):
        model.attended_by_counts(torch.zeros(5, 1, 16, dtype=torch.int64))


def test_the_memory_state_holds_all_that_is_learned_and_nothing_of_the_llm(tmp_path: Path) -> None:
    model, _ = built(tmp_path)
    twin, _ = built(tmp_path)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter))
    state = {name: value.clone() for name, value in model.memory_state_dict().items()}
    assert not any("base_layer" in name or "wte" in name for name in state)
    twin.load_memory_state_dict(state)
    for mine, its in zip(model.trainable_parameters(), twin.trainable_parameters(), strict=True):
        assert torch.equal(mine, its)
    assert twin.fingerprint() == model.fingerprint()
    del state["modulation.norm.weight"]
    with pytest.raises(ValueError, match=r"modulation\.norm\.weight"):
        twin.load_memory_state_dict(state)


@pytest.mark.parametrize("part", ["amortizer", "quantizer", "question_encoder", "modulation", "usage"])
def test_the_fingerprint_changes_with_what_makes_the_codes_only(tmp_path: Path, part: str) -> None:
    model, _ = built(tmp_path)
    before = model.fingerprint()
    with torch.no_grad():
        if part == "usage":
            model.quantizer.usage.add_(1)
        else:
            next(iter(getattr(model, part).parameters())).view(-1)[3] += 1e-3
    assert (model.fingerprint() != before) == (part in ("amortizer", "quantizer"))


def test_progress_outside_its_range_is_refused(built_once: tuple[WholeBankMemoryModel, Tokenizers]) -> None:
    model, tokenizers = built_once
    batch = tokenizers.training_batch(SENTENCES[:1], QUESTIONS[:1], ANSWERS[:1], [0])
    with pytest.raises(ValueError, match=r"1\.5"):
        model.training_loss(batch, 1.5)
