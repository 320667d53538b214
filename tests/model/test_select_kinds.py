"""Poolings and readings of select-then-read: each combination scores, reads and learns."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mbc_cli.model.select.model import EncodedQuestion, SelectMemoryModel
from mbc_cli.model.select.pooling import SlotAmortizer
from mbc_cli.model.select.readers import SlotAttentionReader, SoftTokenReader
from tests.support.tiny_select_models import (
    KINDS,
    ONE_LEVEL,
    PREFIX_TOKENS,
    QUESTIONS,
    SLOTS,
    TWO_LEVELS,
    VOCABULARY,
    WIDTH,
    asking_for_tokens,
    assert_finite_gradients_under_autocast,
    batch,
    build_kind,
    fit,
    sharpen,
)

READ_WITHOUT_THE_QUESTION = [kind for kind, (_, reading, _) in KINDS.items() if reading == "soft-tokens"]


def question_vectors(model: SelectMemoryModel, question: EncodedQuestion) -> torch.Tensor | None:
    """What questions read with, None if reading does not depend on the question."""
    reader = model.reader
    if isinstance(reader, SlotAttentionReader):
        return reader.question_vectors(question.tokens)
    assert isinstance(reader, SoftTokenReader)
    return None if reader.relevance is None else reader.relevance.question_vectors(question.tokens)


@pytest.mark.parametrize("quantizer", [ONE_LEVEL, TWO_LEVELS], ids=["one level", "two levels"])
def test_scores_looked_up_from_codes_equal_scores_of_the_decoded_vectors(
    each_kind: str, each_backbone: str, quantizer: dict[str, Any]
) -> None:
    model, data = build_kind(each_kind, each_backbone, quantizer).eval(), batch()
    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, quantizer["codebook_dim"]))
        codes = torch.randint(quantizer["codebook_size"], (13, SLOTS, quantizer.get("num_quantizers", 1)))
        question = model.encode_questions(data.question_ids, data.question_mask)
        decoded = model.score(question, model.quantizer.decode(codes))
        looked_up = model.score(question, codes)
    assert looked_up.shape == (QUESTIONS, 13)
    assert torch.allclose(looked_up, decoded, atol=1e-4)
    assert looked_up.std() > 0.01


def test_scores_depend_on_the_order_of_slots_where_slots_have_an_order_or_a_meaning(each_kind: str) -> None:
    model, data = build_kind(each_kind).eval(), batch()
    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, WIDTH))
        codes = torch.randint(ONE_LEVEL["codebook_size"], (9, SLOTS, 1))
        question = model.encode_questions(data.question_ids, data.question_mask)
        turned = model.score(question, codes.flip(1))
        assert (model.score(question, codes) - turned).abs().max() > 1e-2


def test_padding_changes_neither_context_vectors_nor_questions(each_kind: str, each_backbone: str) -> None:
    model, data = build_kind(each_kind, each_backbone).eval(), batch()

    def padded(x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, 6))

    with torch.no_grad():
        short = model.encode_documents(data.document_ids, data.document_mask)
        long = model.encode_documents(padded(data.document_ids), padded(data.document_mask))
        one = model.encode_questions(data.question_ids, data.question_mask)
        two = model.encode_questions(padded(data.question_ids), padded(data.question_mask))
        codes = torch.randint(ONE_LEVEL["codebook_size"], (5, SLOTS, 1))
        assert torch.allclose(model.score(one, codes), model.score(two, codes), atol=1e-4)
        reading_one, reading_two = question_vectors(model, one), question_vectors(model, two)
    assert torch.allclose(short, long, atol=1e-5)
    if reading_one is not None and reading_two is not None:
        length = reading_one.shape[1]  # question tokens, or vectors whose number padding does not change
        assert torch.allclose(reading_one, reading_two[:, :length], atol=1e-5)
        assert not reading_two[:, length:].any()


@pytest.mark.parametrize("passages", [1, 3])
def test_the_prefix_has_a_token_per_latent_vector_or_per_slot_and_passage(
    each_kind: str, each_backbone: str, passages: int
) -> None:
    model, data = build_kind(each_kind, each_backbone).eval(), batch()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, passages, SLOTS, 1))
    scores = torch.randn(QUESTIONS, passages)
    with torch.no_grad():
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)  # relevance starts out alike for all questions
        question = model.encode_questions(data.question_ids, data.question_mask)
        prefix = model.prefix(question, codes, scores)
        logits = model.answer_logits(prefix, data.question_ids, data.question_mask)
        other = model.encode_questions(data.question_ids.flip(0), data.question_mask.flip(0))
        read = model.prefix(other, codes, scores)
    shape = model.backbone.shape
    aggregated = model.config.reading.kind == "slot-attention"
    length = PREFIX_TOKENS if aggregated else passages * (1 + SLOTS)
    assert model.reader.prefix_length(passages, SLOTS) == length
    assert prefix.states.shape == (3, 2, QUESTIONS, shape.kv_heads, length, shape.head_dim)
    assert logits.shape == (*data.question_ids.shape, VOCABULARY)
    assert (question_vectors(model, question) is None) == (each_kind in READ_WITHOUT_THE_QUESTION)
    same = torch.equal(read.states, prefix.states)
    if read.log_weights is not None and prefix.log_weights is not None:
        same = same and torch.equal(read.log_weights, prefix.log_weights)
    assert same == (each_kind in READ_WITHOUT_THE_QUESTION)


def test_reading_codes_equals_reading_the_vectors_they_stand_for(each_kind: str, each_backbone: str) -> None:
    model, data = build_kind(each_kind, each_backbone, TWO_LEVELS).eval(), batch()
    codes = torch.randint(TWO_LEVELS["codebook_size"], (QUESTIONS, 2, SLOTS, 2))
    scores = torch.randn(QUESTIONS, 2)
    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, 20))
        question = model.encode_questions(data.question_ids, data.question_mask)
        vectors = model.quantizer.decode(codes.flatten(0, 1)).unflatten(0, (QUESTIONS, 2))
        from_codes = model.prefix(question, codes, scores)
        from_vectors = model.prefix(question, vectors, scores)
    assert torch.allclose(from_codes.states, from_vectors.states, atol=1e-5)


def test_training_reads_each_questions_own_passage_as_it_is_read_in_use(each_kind: str) -> None:
    model, data = build_kind(each_kind).eval(), batch()
    with torch.no_grad():
        vectors = model.encode_documents(data.document_ids, data.document_mask)
        question = model.encode_questions(data.question_ids, data.question_mask)
        decoded = model.code_space.leave(vectors)
        trained = model.reader.read_own(question.tokens, decoded, data.question_document).prefix
        used = model.prefix(question, vectors[data.question_document, None], torch.zeros(QUESTIONS, 1))
    assert torch.allclose(trained.states, used.states, atol=1e-5)


def test_every_part_but_the_frozen_llm_learns(each_kind: str, each_backbone: str) -> None:
    aggregated = KINDS[each_kind][1] == "slot-attention"
    model, data = build_kind(each_kind, each_backbone, answer_head=0.3), batch()
    model.train()
    frozen = {
        name: p.detach().clone() for name, p in model.backbone.named_parameters() if ".lora_" not in name
    }
    # LoRA's A has no gradient while its B is zero.
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=1e-2)
    for progress in (0.0, 0.5):
        optimizer.zero_grad()
        parts = model.training_loss(data, progress)
        parts.total.backward()
        optimizer.step()
    idle = {
        n for n, p in model.named_parameters() if p.requires_grad and (p.grad is None or not p.grad.any())
    }
    # A softmax does not feel what is added to all its logits: rounding alone moves this one.
    assert idle <= {"selection.weight.bias"}
    assert ("answer_head" in parts.parts) == aggregated
    for name, before in frozen.items():
        assert torch.equal(dict(model.backbone.named_parameters())[name], before)


def test_training_under_autocast_gives_finite_gradients(each_kind: str) -> None:
    assert_finite_gradients_under_autocast(build_kind(each_kind).train(), batch(), progress=0.5)


def test_several_passages_read_under_autocast_are_read_as_in_float32(each_kind: str) -> None:
    model, data = build_kind(each_kind).eval(), batch()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, 2, SLOTS, 1))
    with torch.no_grad():
        question = model.encode_questions(data.question_ids, data.question_mask)

        def read() -> torch.Tensor:
            prefix = model.prefix(question, codes, torch.tensor([[2.0, 1.0]]).expand(QUESTIONS, -1))
            return model.answer_logits(prefix, data.question_ids, data.question_mask).float()

        plain = read()
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.allclose(read(), plain, atol=0.05)


@pytest.mark.parametrize("kind", [kind for kind, (_, _, codebook) in KINDS.items() if codebook == "per-slot"])
def test_each_slot_is_quantised_and_decoded_by_a_codebook_of_its_own(kind: str) -> None:
    model = build_kind(kind).eval()
    vectors = torch.randn(40, SLOTS, WIDTH)
    with torch.no_grad():
        model.quantizer.initialise_from(vectors)
        assert model.quantizer.codebooks.shape == (1, SLOTS, ONE_LEVEL["codebook_size"], WIDTH)
        before = model.quantize(vectors)
        model.quantizer.codebooks[0, 2] += 1.0
        after = model.quantize(vectors)
    same = torch.tensor([slot != 2 for slot in range(SLOTS)])
    assert torch.equal(before.quantized[:, same], after.quantized[:, same])
    assert not torch.equal(before.quantized[:, ~same], after.quantized[:, ~same])


def test_a_slot_gathers_the_raw_embeddings_of_the_tokens_it_attends_to() -> None:
    model, data = build_kind("slots, slot-attention, per-slot").eval(), batch()
    amortizer = model.amortizer
    assert isinstance(amortizer, SlotAmortizer)
    pooling = amortizer.pooling
    with torch.no_grad():
        # Without the parts that start near zero, and with a salience that only one token has.
        pooling.context_out.weight.zero_(), pooling.context_out.bias.zero_()
        pooling.leave.weight.zero_(), pooling.leave.bias.zero_()
        states = amortizer.trunk(data.document_ids, data.document_mask, "document")
        amortizer.score.weight.copy_(1e3 * states[1, 4] / states[1, 4].norm())
        vectors = amortizer(data.document_ids[1:2], data.document_mask[1:2])
        raw = amortizer.embeddings(data.document_ids[1:2])
    assert torch.allclose(vectors[0], raw[0, 4].expand(SLOTS, -1), atol=1e-4)


def test_a_passage_with_a_far_lower_score_is_not_read(each_kind: str, each_backbone: str) -> None:
    model, data = build_kind(each_kind, each_backbone).eval(), batch()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, 2, SLOTS, 1))
    other = codes.clone()
    other[:, 1] = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, SLOTS, 1))
    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, WIDTH))
        sharpen(model)
        question = model.encode_questions(data.question_ids, data.question_mask)

        def read(codes: torch.Tensor, gap: float) -> torch.Tensor:
            scores = torch.tensor([[3.0, 3.0 - gap]]).expand(QUESTIONS, -1)
            prefix = model.prefix(question, codes, scores[:, : codes.shape[1]])
            return model.answer_logits(prefix, data.question_ids, data.question_mask)

        assert torch.allclose(read(codes, 40.0), read(other, 40.0), atol=1e-5)
        influence = [(read(codes, gap) - read(other, gap)).abs().max() for gap in (0.0, 2.0, 8.0)]
        assert influence[0] > influence[1] > influence[2] > 0
        # Only learned positions tell that something stood before the better passage.
        if model.config.reading.kind == "slot-attention" or not each_backbone.startswith("gpt2"):
            assert torch.allclose(read(codes, 40.0), read(codes[:, :1], 0.0), atol=1e-4)


@pytest.mark.parametrize("passages", [1, 2])
def test_answers_are_the_same_token_by_token_as_at_once_and_alone_as_in_a_batch(
    each_kind: str, each_backbone: str, passages: int
) -> None:
    model, data = build_kind(each_kind, each_backbone).eval(), batch()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (3, passages, SLOTS, 1))
    prompts, mask = data.question_ids[:3], torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 1]])
    with torch.no_grad():
        sharpen(model)
        question = model.encode_questions(data.question_ids[:3], data.question_mask[:3])
        scores = torch.tensor([[2.0, 1.0], [1.0, 0.9], [5.0, 0.0]])[:, :passages]
        prefix = model.prefix(question, codes, scores)
        written = model.generate(prefix, prompts, mask, max_new_tokens=4)
        read = torch.cat([prompts, written], dim=1)
        logits = model.answer_logits(prefix, read, torch.cat([mask, torch.ones(3, 4, dtype=mask.dtype)], 1))
        assert torch.equal(logits[:, 4:-1].argmax(-1), written)
        for row in range(3):
            alone = model.generate(
                prefix[row : row + 1],
                prompts[row : row + 1, mask[row] > 0],
                torch.ones(1, int(mask[row].sum()), dtype=torch.int64),
                max_new_tokens=4,
            )
            assert torch.equal(alone[0], written[row])


def test_the_score_of_a_single_passage_changes_nothing(each_kind: str) -> None:
    model, data = build_kind(each_kind).eval(), batch()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, 1, SLOTS, 1))
    with torch.no_grad():
        question = model.encode_questions(data.question_ids, data.question_mask)
        one = model.prefix(question, codes, torch.randn(QUESTIONS, 1))
        another = model.prefix(question, codes, torch.randn(QUESTIONS, 1))
    weighed = "relevance" in each_kind
    assert (one.log_weights is not None) == weighed
    assert torch.equal(one.states, another.states)
    if one.log_weights is not None and another.log_weights is not None:
        assert torch.equal(one.log_weights, another.log_weights)


@pytest.mark.slow
def test_training_fits_a_few_documents(each_kind: str) -> None:
    many = ONE_LEVEL | {"codebook_size": 61}
    model, data = build_kind(each_kind, quantizer=many), asking_for_tokens(batch(), 1)
    with torch.no_grad():
        sharpen(model)
    first, last, scores = fit(model, data, steps=80)
    assert torch.equal(scores.argmax(1), data.question_document)
    assert last < 0.3 * first
