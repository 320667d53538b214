"""Scores from codes are those of the formula, whatever is scored beside them."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbc_cli.model.select.late_interaction import LateInteraction, LateInteractionQuery

Case = tuple[LateInteraction, torch.Tensor, torch.Tensor, LateInteractionQuery]
CODES, WIDTH, DIMENSION, TOKENS = 11, 5, 7, 4


def case(seed: int, slots: int, named: bool, rows: int, questions: int) -> Case:
    torch.manual_seed(seed)
    model = LateInteraction(WIDTH, WIDTH, DIMENSION, named_slots=slots if named else None)
    groups = slots if named else 1
    codebooks = torch.randn(1, groups, CODES, WIDTH)
    codes = torch.randint(CODES, (rows, slots, 1))
    vectors = torch.randn(len(model.offsets), questions, TOKENS, DIMENSION)
    mask = torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (questions, 1))
    weights = torch.rand(questions, TOKENS).add(0.1) * mask
    return model, codebooks, codes, LateInteractionQuery(vectors, weights / weights.sum(1, keepdim=True))


@given(
    seed=st.integers(0, 2**31),
    slots=st.integers(1, 6),
    named=st.booleans(),
    rows=st.integers(1, 70),
    questions=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
@torch.inference_mode()
def test_scores_of_codes_are_those_of_the_vectors_they_stand_for(
    seed: int, slots: int, named: bool, rows: int, questions: int
) -> None:
    model, codebooks, codes, query = case(seed, slots, named, rows, questions)
    group = torch.arange(slots) if named else torch.zeros(slots, dtype=torch.int64)
    expected = model.score_vectors(query, codebooks[0][group, codes[..., 0]])
    torch.testing.assert_close(model.score_codes(query, codebooks, codes), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("named", [False, True])
@torch.inference_mode()
def test_scores_do_not_depend_on_the_batch_the_padding_or_the_part_of_the_bank(named: bool) -> None:
    model, codebooks, codes, query = case(3, 6, named, 20_003, 5)
    together = model.score_codes(query, codebooks, codes)
    for i in range(5):
        length = int((query.weights[i] > 0).sum())
        alone = LateInteractionQuery(query.vectors[:, i : i + 1, :length], query.weights[i : i + 1, :length])
        parts = [model.score_codes(alone, codebooks, part) for part in codes.split(777)]
        assert torch.equal(torch.cat(parts, dim=1)[0], together[i])
