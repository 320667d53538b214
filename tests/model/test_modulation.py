"""Latents of any number of slots become prefixes for any LLM."""

from __future__ import annotations

import pytest
import torch

from mbc_cli.model.llm.families import BackboneShape
from mbc_cli.model.whole_bank.modulation import LatentOverflow, Modulation, spread_slots

WIDTH = 12


@pytest.mark.parametrize(
    ("vectors", "slots", "expected"),
    [
        (3, 6, [0, 0, 1, 1, 2, 2]),
        (5, 12, [0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]),  # the first remainder slots get one more
        (4, 6, [0, 0, 1, 1, 2, 3]),  # T <= slots < 2T, which the published code gets wrong
        (4, 4, [0, 1, 2, 3]),
    ],
)
@pytest.mark.parametrize("overflow", ["average", "truncate"])
def test_vectors_are_repeated_in_order(
    vectors: int, slots: int, expected: list[int], overflow: LatentOverflow
) -> None:
    latent = torch.randn(2, vectors, WIDTH)
    assert torch.equal(spread_slots(latent, slots, overflow), latent[:, expected])


@pytest.mark.parametrize(("vectors", "slots"), [(6, 4), (24, 8), (7, 1)])
def test_truncating_gives_the_first_vectors_a_slot_each_and_drops_the_rest(vectors: int, slots: int) -> None:
    latent = torch.randn(2, vectors, WIDTH)
    assert torch.equal(spread_slots(latent, slots, "truncate"), latent[:, :slots])


@pytest.mark.parametrize(("vectors", "slots"), [(6, 4), (24, 8), (7, 1)])
def test_with_fewer_slots_than_vectors_every_vector_still_counts(vectors: int, slots: int) -> None:
    latent = torch.randn(2, vectors, WIDTH, requires_grad=True)
    spread = spread_slots(latent, slots)
    assert spread.shape == (2, slots, WIDTH)
    spread.sum().backward()
    assert (latent.grad > 0).all()


@pytest.mark.parametrize("vectors", [1, 5, 23, 60])
@pytest.mark.parametrize(("kv_heads", "head_dim"), [(3, 4), (2, 5)])  # kv width 12 = D, and 10
def test_the_prefix_has_the_llms_shape(vectors: int, kv_heads: int, head_dim: int) -> None:
    shape = BackboneShape(hidden_size=WIDTH, layers=3, kv_heads=kv_heads, head_dim=head_dim, vocabulary=9)
    modulation = Modulation(shape, prefix_tokens=4, hidden=11)
    prefix = modulation(torch.randn(2, vectors, WIDTH))
    assert prefix.states.shape == (3, 2, 2, kv_heads, 4, head_dim)
    assert (prefix.batch, prefix.length) == (2, 4)
    cache = prefix.to_cache()
    assert cache.get_seq_length() == 4
    assert torch.equal(cache.layers[2].values, prefix.states[2, 1])


def test_rows_of_a_prefix_can_be_taken() -> None:
    shape = BackboneShape(hidden_size=WIDTH, layers=2, kv_heads=3, head_dim=4, vocabulary=9)
    prefix = Modulation(shape, prefix_tokens=1, hidden=5)(torch.randn(3, 6, WIDTH))
    assert torch.equal(prefix[torch.tensor([2, 0])].states[:, :, 1], prefix.states[:, :, 0])
