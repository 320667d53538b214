"""Reading the bank from its histogram equals attending to every vector in it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from mbc_cli.model.whole_bank.aggregation import Aggregator, WeightedVectors

WIDTH, SLOTS, QUESTIONS = 20, 5, 3


def aggregator(blocks: int = 2, heads: int = 3, head_dimension: int = 7, seed: int = 0) -> Aggregator:
    torch.manual_seed(seed)
    return Aggregator(WIDTH, blocks, heads, head_dimension).eval()


def questions(seed: int = 1) -> torch.Tensor:
    return torch.randn(QUESTIONS, SLOTS, WIDTH, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=40, deadline=None)
@given(
    documents=st.integers(1, 300),
    codes=st.integers(2, 40),
    blocks=st.integers(1, 3),
    skew=st.floats(0.2, 4),
    seed=st.integers(0, 10_000),
)
def test_the_histogram_identity_holds_for_random_banks(
    documents: int, codes: int, blocks: int, skew: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    codebook = torch.randn(codes, WIDTH, generator=generator)
    # Skewed use of the codes, with some of them unused.
    bank_codes = (torch.rand(documents * SLOTS, generator=generator) ** skew * codes).long()
    counts = torch.bincount(bank_codes, minlength=codes)
    present = counts > 0
    model = aggregator(blocks, seed=seed)
    with torch.no_grad():
        every_vector = model(questions(seed), WeightedVectors(codebook[bank_codes]))
        histogram = model(questions(seed), WeightedVectors(codebook[present], counts[present].float().log()))
    # The two sum up to 1,500 rows of float32 in different order, through up to three blocks.
    assert (every_vector - histogram).abs().max() < 5e-5


def test_attention_equals_its_definition_over_a_bank_copied_for_each_question() -> None:
    block = aggregator(blocks=1).blocks[0].attention
    x, vectors = questions(), torch.randn(11, WIDTH)
    copied = vectors.expand(QUESTIONS, -1, -1)
    split = lambda y: y.unflatten(-1, (3, 7)).transpose(1, 2)  # noqa: E731
    scores = split(block.to_q(x)) @ split(block.to_k(copied)).transpose(2, 3) / 7**0.5
    read = (scores.softmax(-1) @ split(block.to_v(copied))).transpose(1, 2).flatten(2)
    assert torch.allclose(block(x, vectors, None), block.to_out(read), atol=1e-6)


def test_the_bank_is_projected_once_whatever_the_number_of_questions() -> None:
    model = aggregator()
    rows: list[torch.Size] = []
    for block in model.blocks:
        for projection in (block.attention.to_k, block.attention.to_v):
            projection.register_forward_hook(lambda _, inputs, __: rows.append(inputs[0].shape))
    many = torch.randn(50, SLOTS, WIDTH)
    model(many, WeightedVectors(torch.randn(13, WIDTH)))
    assert rows == [torch.Size([1, 13, WIDTH])] * 4


def test_questions_with_vectors_of_their_own_read_as_if_each_were_asked_alone() -> None:
    model, encoding = aggregator(), questions()
    vectors, bias = torch.randn(QUESTIONS, 9, WIDTH), torch.randn(QUESTIONS, 9)
    together = model(encoding, WeightedVectors(vectors, bias))
    for row in range(QUESTIONS):
        alone = model(encoding[row : row + 1], WeightedVectors(vectors[row], bias[row]))
        assert torch.allclose(alone[0], together[row], atol=1e-5)


def test_a_question_reads_the_same_alone_and_in_a_batch() -> None:
    model, bank = aggregator(), WeightedVectors(torch.randn(9, WIDTH), torch.rand(9))
    encoding = questions()
    together = model(encoding, bank)
    for row in range(QUESTIONS):
        alone = model(encoding[row : row + 1], bank)
        assert torch.allclose(alone[0], together[row], atol=1e-6)


def test_attention_over_counts_stays_in_float32_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.dtype] = []
    attend = F.scaled_dot_product_attention

    def watched(query, key, value, attn_mask):
        seen.extend(x.dtype for x in (query, key, value, attn_mask))
        result = attend(query, key, value, attn_mask=attn_mask)
        seen.append(result.dtype)
        return result

    monkeypatch.setattr(F, "scaled_dot_product_attention", watched)
    with torch.autocast("cpu", torch.bfloat16):
        aggregator(blocks=1)(questions(), WeightedVectors(torch.randn(4, WIDTH), torch.rand(4)))
    assert seen == [torch.float32] * 5


def test_an_empty_bank_is_refused() -> None:
    with pytest.raises(ValueError, match="no vectors"):
        WeightedVectors(torch.empty(0, WIDTH))
    with pytest.raises(ValueError, match="no vectors"):
        WeightedVectors(torch.empty(QUESTIONS, 0, WIDTH))
