"""Slots of a passage count as far as they speak to the question."""

from __future__ import annotations

import pytest
import torch

from mbc_cli.model.select.losses import relevance_loss
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.select.readers import SoftTokenReader
from mbc_cli.model.select.relevance import SlotRelevance
from mbc_cli.model.select.trunk import TokenStates
from tests.support.tiny_select_models import ONE_LEVEL, QUESTIONS, SLOTS, WIDTH, batch, build_kind, sharpen

KIND = "tokens, soft-tokens by relevance, shared"


def _relevance(model: SelectMemoryModel) -> SlotRelevance:
    assert isinstance(model.reader, SoftTokenReader)
    assert model.reader.relevance is not None
    return model.reader.relevance


def _logits(model: SelectMemoryModel, codes: torch.Tensor) -> torch.Tensor:
    data = batch()
    question = model.encode_questions(data.question_ids, data.question_mask)
    prefix = model.prefix(question, codes, torch.zeros(codes.shape[:2]))
    return model.answer_logits(prefix, data.question_ids, data.question_mask)


def test_slots_without_weight_leave_no_trace_in_the_answer(each_backbone: str) -> None:
    model = build_kind(KIND, each_backbone).eval()
    codes = torch.randint(ONE_LEVEL["codebook_size"], (QUESTIONS, 1, SLOTS, 1))
    changed = codes.clone()
    changed[:, :, 2:4] = (changed[:, :, 2:4] + 5) % ONE_LEVEL["codebook_size"]

    class Chosen(SlotRelevance):
        """Slots 2 and 3 are about something else."""

        def forward(self, question: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
            scores = torch.zeros(vectors.shape[:2])
            scores[:, 2:4] = -60.0
            return scores

    with torch.no_grad():
        model.quantizer.initialise_from(torch.randn(40, SLOTS, WIDTH))
        sharpen(model)
        before = (_logits(model, codes) - _logits(model, changed)).abs().max()
        assert isinstance(model.reader, SoftTokenReader)
        model.reader.relevance = Chosen(WIDTH, 1)
        after = (_logits(model, codes) - _logits(model, changed)).abs().max()
    assert after < 1e-5 < before


def test_a_slot_that_holds_words_of_the_question_is_told_by_its_matches() -> None:
    torch.manual_seed(0)
    relevance = SlotRelevance(WIDTH, 1)
    raw = torch.randn(1, 5, WIDTH)
    raw = raw / raw.square().mean(-1, keepdim=True).sqrt()  # as raw embeddings are
    slots = torch.randn(1, 9, WIDTH)
    slots[0, 4] = 0.3 * raw[0, 2]  # whatever the length of a decoded slot
    seen: list[torch.Tensor] = []
    relevance.match.register_forward_hook(lambda _, given, __: seen.append(given[0][0] / given[0].max()))
    question = relevance.question_vectors(TokenStates(raw, torch.randn(1, 5, WIDTH), torch.ones(1, 5)))
    for around in (0, 1, 2):  # the words on both sides match as well
        for side in (-around, around):
            slots[0, 4 + side] = raw[0, 2 + side]
        relevance(question, slots)
        full = {0: 1, 1: 3, 2: 4}[around]  # alone; with a pair and three; with five
        assert torch.allclose(seen[-1][4, :full], torch.ones(full), atol=1e-5)
        assert bool((seen[-1][4, full:] < 0.95).all())


@pytest.mark.slow
def test_training_learns_to_read_the_part_of_a_passage_that_is_asked_about() -> None:
    """Slots of two halves, each begun by a key that questions name: only the named half is wanted."""
    torch.manual_seed(0)
    slots, keys = 8, torch.randn(12, WIDTH)
    keys = keys / keys.square().mean(-1, keepdim=True).sqrt()
    relevance = SlotRelevance(WIDTH, 3)
    optimizer = torch.optim.Adam(relevance.parameters(), lr=3e-3)

    def example(rows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[torch.Tensor]]:
        passage = torch.randn(rows, slots, WIDTH)
        pair = torch.rand(rows, 12).argsort(1)[:, :2]
        every, second = torch.arange(rows), torch.randint(3, 6, (rows,))  # where the second half begins
        passage[:, 0] = keys[pair[:, 0]]
        passage[every, second] = keys[pair[:, 1]]
        asked = torch.randint(2, (rows,))
        question = torch.stack([torch.randn(rows, WIDTH), keys[pair[every, asked]]], dim=1)
        in_second = torch.arange(slots) >= second[:, None]
        wanted = [
            ids[half == which] for ids, half, which in zip(every_slot(rows), in_second, asked, strict=True)
        ]
        return question, passage, every_slot(rows), wanted

    def every_slot(rows: int) -> torch.Tensor:
        return torch.arange(slots).expand(rows, -1)

    for _ in range(150):
        question, passage, ids, wanted = example(64)
        loss = relevance_loss(relevance(question, passage), ids, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    question, passage, ids, wanted = example(300)
    target = torch.stack([torch.isin(row, own) for row, own in zip(ids, wanted, strict=True)])
    with torch.no_grad():
        right = ((relevance(question, passage) > 0) == target).float().mean()
    assert right > 0.9


def test_slots_that_stand_for_no_token_do_not_count_in_the_loss() -> None:
    ids = torch.tensor([[7, 9, -1], [9, -1, -1]])
    scores = torch.tensor([[30.0, -30.0, 5.0], [30.0, -8.0, 2.0]])
    assert relevance_loss(scores, ids, [torch.tensor([7]), torch.tensor([5, 9])]) < 1e-6
    assert relevance_loss(scores, ids, [torch.tensor([9]), torch.tensor([9])]) > 10


def test_the_training_loss_teaches_which_slots_an_answer_needs(each_backbone: str) -> None:
    """What is learned of relevance falls with its own loss, though nothing else asks for it."""
    weights = {"selection": 0.0, "salience": 0.0}
    model, data = build_kind(KIND, each_backbone, relevance_weight=5.0, loss=weights), batch()
    optimizer = torch.optim.Adam(_relevance(model).parameters(), lr=1e-2)
    model.train()
    losses = []
    for _ in range(12):
        loss = model.training_loss(data, 0.0)
        losses.append(loss.parts["relevance"])
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]
