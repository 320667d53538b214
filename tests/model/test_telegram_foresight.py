"""Ranking again: what cannot win is not read, and answers go on from what ranking has read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mbc_cli.model.bank import Reading, TensorBank
from mbc_cli.model.batches import TokenBatch
from mbc_cli.model.telegram import foresight, reader
from mbc_cli.model.telegram.model import TelegramMemoryModel
from tests.model.test_telegram import EMPTY, build, ids, rarities
from tests.support.tiny_select_models import BACKBONES

CODES = torch.tensor(
    [[20, 22, 31, 32, 33], [27, 25, 21, 26, 20], [34, 23, 35, 22, EMPTY], [21, 39, 23, EMPTY, EMPTY]]
)
ASKED = ([20, 22, 24], [20, 21], [21, 23])
QUESTIONS = ids(*ASKED)
PROMPTS = torch.tensor([[0, 0, 7, 10, 11], [7, 12, 13, 14, 15], [0, 7, 16, 17, 18]])


@pytest.fixture(autouse=True)
def small_passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """So that a batch takes several passes."""
    monkeypatch.setattr(foresight, "_TOGETHER", 4)
    monkeypatch.setattr(reader, "_TOGETHER", 2)
    with torch.inference_mode():
        yield


def memory(backbone: str = "llama-gqa-untied", *, margin: float = 1e6) -> TelegramMemoryModel:
    model = build(backbone, reading={"candidates": 3, "margin": margin}).eval()
    rarities(model, t20=5.0, t21=4.0, t22=3.0, t23=2.0)
    return model


def prompts() -> TokenBatch:
    return TokenBatch(PROMPTS, (PROMPTS > 0).long())


def read(model: TelegramMemoryModel, k: int = 1) -> Reading:
    return model.read(TokenBatch(*QUESTIONS), TensorBank(CODES[..., None]), k, prompts())


def passages_read(model: TelegramMemoryModel, monkeypatch: pytest.MonkeyPatch, k: int = 1) -> int:
    """How many passages one reading takes."""
    seen: list[int] = []
    in_parts = model.reader.in_parts

    def spy(codes: Tensor) -> object:
        seen.append(len(codes))
        return in_parts(codes)

    monkeypatch.setattr(model.reader, "in_parts", spy)
    read(model, k)
    monkeypatch.undo()
    return sum(seen)


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
def test_an_answer_that_goes_on_from_ranking_is_that_of_reading_again(backbone: str) -> None:
    model = memory(backbone)
    reading = read(model)
    assert reading.prefix is not None
    assert reading.prompted is not None
    asked = prompts()
    kept = torch.tensor([2, 0])  # as where memory does not speak to the others
    for rows in (torch.arange(3), kept):
        ask = asked.input_ids[rows], asked.attention_mask[rows]
        again = list(model.stream(reading.prefix()[rows], *ask, max_new_tokens=4))
        on = list(model.stream(reading.prompted()[rows], *ask, max_new_tokens=4))
        for one, two in zip(again, on, strict=True):
            assert torch.equal(one.ids, two.ids)
            assert torch.allclose(one.log_likelihood, two.log_likelihood, atol=1e-4)


def test_company_changes_no_score() -> None:
    model = memory()
    together = read(model)
    for row, (question, prompt) in enumerate(zip(ASKED, PROMPTS, strict=True)):
        asked = TokenBatch(*ids(prompt[prompt > 0].tolist()))
        alone = model.read(TokenBatch(*ids(question)), TensorBank(CODES[..., None]), 1, asked)
        assert torch.equal(alone.rows[0], together.rows[row])
        assert torch.allclose(alone.scores[0], together.scores[row], atol=1e-3)


def test_a_margin_that_no_passage_makes_good_changes_neither_the_best_nor_its_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = memory()
    everything = read(model, k=3)
    found = model.read(TokenBatch(*QUESTIONS), TensorBank(CODES[..., None]), 3)
    same = (found.rows[:, :, None] == everything.rows[:, None]).to(torch.int8).argmax(2)
    gained = everything.scores.gather(1, same) - found.scores
    most = float((gained - gained[:, :1]).max())
    careful = memory(margin=most + 1e-3)
    assert torch.equal(read(careful).rows, everything.rows[:, :1])
    assert torch.allclose(read(careful).scores, everything.scores[:, :1], atol=1e-3)
    assert passages_read(careful, monkeypatch) < passages_read(model, monkeypatch)


def test_without_a_margin_only_the_best_found_is_read_and_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    model = memory(margin=0.0)
    found = model.read(TokenBatch(*QUESTIONS), TensorBank(CODES[..., None]), 1)
    reading = read(model)
    assert torch.equal(reading.rows, found.rows)
    assert not torch.allclose(reading.scores, found.scores)
    assert passages_read(model, monkeypatch) == len(found.rows.unique())


def test_where_several_passages_are_asked_for_all_candidates_are_read() -> None:
    narrow, wide = read(memory(margin=0.0), k=2), read(memory(), k=2)
    assert torch.equal(narrow.rows, wide.rows)
    assert torch.allclose(narrow.scores, wide.scores)
    assert narrow.prompted is None
