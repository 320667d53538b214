"""Telegrams: codes are tokens, found by what questions share with them and read as the LLM reads any text."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mbc_cli.model.bank import TensorBank
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.config import parse_memory_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import HIDDEN
from mbc_cli.model.telegram.model import TelegramMemoryModel
from mbc_cli.model.tokenizers import Vocabulary
from tests.support.tiny_select_models import BACKBONES, VOCABULARY, batch

SLOTS = 5
EMPTY = VOCABULARY


def build(backbone: str = "llama-gqa-untied", **changes: Any) -> TelegramMemoryModel:
    settings: dict[str, Any] = {
        "method": "telegram",
        "base_model": "tiny",
        "context_vectors": SLOTS,
        "amortization": {"trunk_layers": 2},
        "selection": {"dimension": 9},
        "kv_lora": {"rank": 3, "alpha": 6, "last_layers": 2},
        "memory_queue": {"negatives": 5, "size": 8},
    }
    torch.manual_seed(1)
    model = build_memory_model(
        parse_memory_config(settings | changes),
        Backbone.from_config(copy.deepcopy(BACKBONES[backbone])),
        vocabulary=Vocabulary(VOCABULARY, "d" * 32),
    )
    assert isinstance(model, TelegramMemoryModel)
    return model


def rarities(model: TelegramMemoryModel, **rare: float) -> None:
    """Set the rarity of tokens, given as t7=3.0; all others are as common as can be."""
    model.amortizer.rarity.zero_()
    for name, value in rare.items():
        model.amortizer.rarity[int(name[1:])] = value


def ids(*rows: list[int]) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    return (
        torch.tensor([row + [0] * (width - len(row)) for row in rows]),
        torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows]),
    )


@pytest.fixture(params=sorted(BACKBONES))
def backbone(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- keeping ---------------------------------------------------------------------------------------


def test_half_of_the_tokens_are_kept_the_rarest_in_their_order_and_exactly() -> None:
    model = build().eval()
    rarities(model, t7=3.0, t9=2.0, t11=4.0)
    codes = model.encode_passages(*ids([9, 8, 11, 12, 7, 13])).codes
    assert codes is not None
    assert codes[..., 0].tolist() == [[9, 11, 7, EMPTY, EMPTY]]


def test_no_more_than_the_slots_are_kept_and_at_least_one() -> None:
    model = build().eval()
    long, short = list(range(10, 40)), [4]
    codes = model.encode_passages(*ids(long, short)).codes
    assert codes is not None
    kept = (codes[..., 0] != EMPTY).sum(1)
    assert kept.tolist() == [SLOTS, 1]


def test_codes_do_not_depend_on_the_company_or_the_padding() -> None:
    model = build().eval()
    model.amortizer.rarity.uniform_(0, 8)
    texts = [torch.randint(3, VOCABULARY, (length,)).tolist() for length in (2, 9, 17, 5)]
    together = model.encode_passages(*ids(*texts)).passages
    for row, text in enumerate(texts):
        assert torch.equal(model.encode_passages(*ids(text)).passages[0], together[row])


def test_rarity_is_the_inverse_document_frequency_of_the_training_set() -> None:
    model = build()
    model.prepare_training([torch.tensor([5, 5, 6]), torch.tensor([6, 7]), torch.tensor([6])])
    assert model.amortizer.rarity[6] == pytest.approx(math.log(4 / 3.5), rel=1e-5)
    assert model.amortizer.rarity[5] == model.amortizer.rarity[7] == pytest.approx(math.log(4 / 1.5))
    assert model.amortizer.rarity[8] == pytest.approx(math.log(4 / 0.5))


def test_in_use_rarity_counts_more_than_in_training() -> None:
    model = build(quantizer={"kind": "vocabulary", "kept": 0.5, "added_rarity": 1.5})
    rarities(model, t20=2.0, t21=4.0)
    text = ids([20, 21, 22])
    with torch.no_grad():
        model.amortizer.rarity_weight.fill_(-1.0)  # as if training had learned to keep what is common
        learned = model.train().amortizer(*text)
        used = model.eval().amortizer(*text)
    difference = used.salience - learned.salience
    assert torch.allclose(difference, 1.5 * (model.amortizer.rarity[text[0]] - 5), atol=1e-5)
    assert 21 not in learned.codes
    assert 21 in used.codes


def test_salience_learns_to_keep_what_answers_need() -> None:
    """Tokens that are as rare as others, and that every question asks for, are kept in the end."""
    model, data = build(), batch()
    optimizer = torch.optim.Adam(model.amortizer.parameters(), lr=1e-2)
    model.train()
    for _ in range(120):
        optimizer.zero_grad()
        loss = model.training_loss(data, 0.5)
        loss.total.backward()
        optimizer.step()
    wanted = data.answer_labels[data.answer_labels >= 0].unique()
    salience = model.eval().amortizer(data.document_ids, data.document_mask).salience
    asked = torch.isin(data.document_ids, wanted) & (data.document_mask > 0)
    others = ~asked & (data.document_mask > 0)
    assert salience[asked].mean() > salience[others].mean() + 1


# --- finding ---------------------------------------------------------------------------------------


def found(model: TelegramMemoryModel, questions: tuple[Tensor, Tensor], codes: Tensor) -> Tensor:
    with torch.no_grad():
        return model.selection.score(model.encode_questions(TokenBatch(*questions)), codes)


def test_an_untrained_memory_finds_the_passage_with_the_rarest_tokens_in_common() -> None:
    model = build().eval()
    rarities(model, t20=5.0, t21=1.0, t22=1.0)
    codes = torch.tensor([[21, 22, 30, 31, EMPTY], [33, 20, 34, EMPTY, EMPTY], [35, 36, 37, 38, 39]])
    scores = found(model, ids([20, 21, 22, 40]), codes)
    assert scores.argmax().item() == 1


def test_scores_do_not_depend_on_other_passages_or_empty_slots() -> None:
    model = build().eval()
    model.amortizer.rarity.uniform_(0, 8)
    codes = torch.randint(0, VOCABULARY, (6, SLOTS))
    codes[1, 3:] = codes[4, 1:] = EMPTY
    questions = ids([4, 5, 6], [7, 8, 9, 10, 11])
    together = found(model, questions, codes)
    alone = torch.cat([found(model, questions, codes[n : n + 1]) for n in range(6)], dim=1)
    assert torch.allclose(together, alone, atol=1e-5)
    padded = torch.cat([codes, torch.full((6, 3), EMPTY)], dim=1)
    assert torch.allclose(found(model, questions, padded), together, atol=1e-5)


def test_an_empty_slot_matches_nothing() -> None:
    model = build().eval()
    model.amortizer.rarity.uniform_(0, 8)
    assert found(model, ids([4, 5]), torch.full((1, SLOTS), EMPTY)).tolist() == [[0.0]]


def test_words_in_the_order_of_the_question_score_higher_than_the_same_words_apart() -> None:
    model = build().eval()
    rarities(model, t20=2.0, t21=2.0)
    codes = torch.tensor([[20, 30, 31, 32, 21], [30, 20, 21, 31, 32]])
    apart, together = found(model, ids([20, 21]), codes)[0]
    assert together > apart


def test_reading_takes_the_best_passages_of_the_bank() -> None:
    model = build().eval()
    rarities(model, t20=5.0, t21=3.0)
    codes = torch.tensor([[21, 30, 31, 32, 33], [20, 21, 30, EMPTY, EMPTY], [34, 35, 36, 37, 38]])
    reading = model.read(TokenBatch(*ids([20, 21])), TensorBank(codes[..., None]), k=2)
    assert reading.rows.tolist() == [[1, 0]]
    assert reading.prefix_length == 1 + SLOTS
    nothing = model.read(TokenBatch(*ids([20])), TensorBank(torch.empty(0, SLOTS, 1, dtype=torch.int64)))
    assert nothing.prefix is None


def test_the_newest_of_near_equal_passages_is_what_is_read() -> None:
    model = build().eval()
    rarities(model, t20=5.0)
    codes = torch.tensor([[20, 30, 31, 32, 33], [20, 25, 26, 27, 28], [34, 35, 36, 37, 38]])
    bank, asked = TensorBank(codes[..., None]), TokenBatch(*ids([20]))
    years = torch.tensor([2026, 2021, 2030])
    plain = model.read(asked, bank, k=1)
    newest = model.read(asked, bank, k=1, times=lambda rows: years[rows])
    assert (plain.rows.tolist(), newest.rows.tolist()) == ([[1]], [[0]])
    assert plain.prefix is not None
    assert newest.prefix is not None
    with torch.no_grad():
        question, mask = ids([5, 6])
        seen = model.answer_logits(newest.prefix(), question, mask)
        expected = model.answer_logits(model.reader(codes[:1]), question, mask)
    assert torch.allclose(seen, expected, atol=1e-4)


# --- reading ---------------------------------------------------------------------------------------


def test_reading_a_telegram_is_reading_its_tokens(backbone: str) -> None:
    """The next token after the prefix is what the LLM says after the same tokens and its start."""
    model = build(backbone).eval()
    question, mask = ids([5, 6, 7])
    with torch.no_grad():
        seen = model.answer_logits(model.reader(torch.tensor([[20, 21, 22, EMPTY, EMPTY]])), question, mask)
        embed = model.backbone.transformer.get_input_embeddings()
        start = model.reader.start.expand(1, 1, -1)
        text = torch.cat([start, embed(torch.tensor([[20, 21, 22, 5, 6, 7]])).float()], dim=1)
        expected = model.backbone.transformer(inputs_embeds=text.to(model.backbone.dtype)).logits[:, 4:]
    assert torch.allclose(seen, expected, atol=1e-4)


def test_empty_slots_and_company_change_nothing(backbone: str) -> None:
    model = build(backbone).eval()
    codes = torch.tensor([[20, 21, EMPTY, EMPTY, EMPTY], [22, 23, 24, 25, 26]])
    question, mask = ids([5, 6, 7], [8, 9, 10])
    with torch.no_grad():
        together = model.answer_logits(model.reader(codes), question, mask)
        alone = model.answer_logits(model.reader(codes[:1, :2]), question[:1], mask[:1])
    assert torch.allclose(together[:1], alone, atol=1e-4)


def test_passages_side_by_side_are_read_alike_in_any_order(backbone: str) -> None:
    model = build(backbone).eval()
    passages = model.reader(torch.tensor([[20, 21, EMPTY, EMPTY, EMPTY], [22, 23, 24, 25, 26]]))
    question, mask = ids([5, 6], [5, 6])
    with torch.no_grad():
        both = passages.side_by_side(torch.tensor([[0, 1], [1, 0]]))
        first, second = model.answer_logits(both, question, mask)
        one = model.answer_logits(passages.side_by_side(torch.tensor([[0]])), question[:1], mask[:1])[0]
    assert torch.allclose(first, second, atol=1e-4)
    assert not torch.allclose(first, one, atol=1e-3)


def test_a_passage_of_no_weight_is_not_read(backbone: str) -> None:
    model = build(backbone).eval()
    codes = torch.tensor([[20, 21, 27, EMPTY, EMPTY], [22, 23, 24, EMPTY, EMPTY]])
    question, mask = ids([5, 6])
    weights = torch.tensor([[0.0, HIDDEN]])
    with torch.no_grad():
        passages = model.reader(codes)
        seen = model.answer_logits(passages.side_by_side(torch.tensor([[0, 1]]), weights), question, mask)
        expected = model.answer_logits(model.reader(codes[:1]), question, mask)
    assert torch.allclose(seen, expected, atol=1e-4)


def test_a_passage_that_foretells_the_question_comes_first() -> None:
    """Of equals in tokens the LLM's own expectation decides, by the sum of both scores in nats."""
    model = build(reading={"candidates": 2}).eval()
    rarities(model, t20=5.0)
    codes = torch.tensor([[20, 30, 31, 32, 33], [20, 25, 26, 27, 28], [34, 35, 36, 37, 38]])
    bank, asked = TensorBank(codes[..., None]), TokenBatch(*ids([20]))
    found = model.read(asked, bank, k=3)
    assert found.rows.tolist() == [[1, 0, 2]]
    for prompt in ([7, 10, 11], [7, 12, 13], [7, 14, 15], [7, 16, 17]):
        prompts = TokenBatch(*ids(prompt))
        with torch.no_grad():
            alone = model.backbone.next_token_losses(*ids(prompt)).sum()
            told = torch.stack(
                [
                    alone
                    - model.backbone.next_token_losses(*ids(prompt), model.reader(codes[row, None])).sum()
                    for row in (1, 0)
                ]
            )
            reading = model.read(asked, bank, k=3, prompts=prompts)
        expected = found.scores[0, :2] + told
        order = expected.argsort(descending=True)
        assert reading.rows[0].tolist() == [*torch.tensor([1, 0])[order].tolist(), 2]
        assert torch.allclose(reading.scores[0, :2], expected[order], atol=1e-3)
        assert reading.scores[0, 2] <= reading.scores[0, 1]


def test_without_foresight_passages_stay_as_they_were_found() -> None:
    model = build(reading={"candidates": 2, "foresight": 0.0}).eval()
    rarities(model, t20=5.0)
    codes = torch.tensor([[20, 30, 31, 32, 33], [20, 25, 26, 27, 28]])
    bank, asked = TensorBank(codes[..., None]), TokenBatch(*ids([20]))
    found = model.read(asked, bank, k=2)
    for prompt in ([7, 10, 11], [7, 14, 15]):
        with torch.no_grad():
            reading = model.read(asked, bank, k=2, prompts=TokenBatch(*ids(prompt)))
        assert torch.equal(reading.rows, found.rows)
        assert torch.allclose(reading.scores, found.scores)


def test_losses_of_tokens_are_those_of_the_logits_wherever_rows_are_padded(backbone: str) -> None:
    model = build(backbone).eval()
    right = ids([5, 6, 7, 8], [9, 10])
    left = tuple(torch.stack([rows[0], rows[1].roll(2)]) for rows in right)
    with torch.no_grad():
        logits = model.answer_logits(None, *right)
        expected = torch.nn.functional.cross_entropy(
            logits[0, :-1].float(), right[0][0, 1:], reduction="none"
        )
        losses = model.backbone.next_token_losses(*right)
        others = model.backbone.next_token_losses(*left)
    assert torch.allclose(losses[0], torch.cat([torch.zeros(1), expected]), atol=1e-4)
    assert losses[1, 1] > 0
    assert losses[1, [0, 2, 3]].tolist() == [0, 0, 0]
    assert torch.allclose(losses.sum(1), others.sum(1), atol=1e-4)


# --- the vocabulary ----------------------------------------------------------------------------------


def test_two_llms_of_one_tokenizer_read_the_same_codes() -> None:
    """Of different width and depth: the codes mean the same tokens to both, and so does the fingerprint."""
    small, large = build("llama-gqa-untied"), build("qwen3-wide-heads-tied", context_vectors=9)
    assert small.fingerprint() == large.fingerprint()
    codes = small.eval().encode_passages(*ids([9, 8, 11, 12, 7, 13])).passages
    reading = large.eval().read(TokenBatch(*ids([9, 11])), TensorBank(codes))
    assert reading.prefix is not None
    assert reading.prefix().length == 1 + 3


def test_there_is_one_code_more_than_tokens() -> None:
    assert build().code_shape == (SLOTS, 1, VOCABULARY + 1)


# --- training ----------------------------------------------------------------------------------------


def test_everything_that_learns_gets_a_gradient_and_the_llm_none() -> None:
    model, data = build(reading={"distractors": 2}), batch()
    model.amortizer.rarity.uniform_(0, 8)
    model.train()
    model.training_loss(data, 0.1).total.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        else:
            assert parameter.grad is None, name


def test_evaluation_draws_nothing_and_remembers_nothing() -> None:
    model, data = build().eval(), batch()
    first = model.training_loss(data, 0.3)
    assert model.training_loss(data, 0.3).parts == first.parts
    assert len(model.queue.filled.entries) == 0


def test_passages_are_read_whole_at_first_and_never_in_the_end() -> None:
    model, data = build(reading={"whole": 1.0}), batch()
    salience = model.amortizer(data.document_ids, data.document_mask).salience
    lengths = data.document_mask.sum(1)
    early = (model._to_read(data, salience, 0.0) != EMPTY).sum(1)
    assert torch.equal(early, lengths)
    for _ in range(5):
        late = (model._to_read(data, salience, 1.0) != EMPTY).sum(1)
        assert bool((late[lengths > 3] < lengths[lengths > 3]).all())


def test_training_continues_exactly_from_its_state() -> None:
    model, data = build().train(), batch()
    model.training_loss(data, 0.2)
    twin = build()
    twin.load_memory_state_dict(model.memory_state_dict())
    twin.load_training_state(model.training_state())
    torch.manual_seed(7)
    expected = model.training_loss(data, 0.4)
    torch.manual_seed(7)
    assert twin.train().training_loss(data, 0.4).parts == expected.parts
