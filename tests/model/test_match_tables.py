"""Scores by table look-up are those of the formula, and the same from both programs that compute them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbc_cli.model import match_kernel
from mbc_cli.model.bank import best_passages
from mbc_cli.model.match_tables import MatchTables

OFFSETS = (0, 1, -1)
CODES = 13


def tables_of(
    seed: int, slots: int, tokens: list[int], offsets: tuple[int, ...], least: float
) -> MatchTables:
    """Of random questions; with one offset each slot has codes of its own."""
    made = torch.Generator().manual_seed(seed)
    own = 1 if len(offsets) > 1 else slots
    return MatchTables.of(
        [torch.randn(len(offsets), own * CODES, count, generator=made) for count in tokens],
        [torch.rand(count, generator=made) for count in tokens],
        offsets=offsets,
        scale=torch.tensor(3.5),
        codes_per_slot=CODES if own > 1 else 0,
        least=least,
    )


def by_the_formula(tables: MatchTables, codes: torch.Tensor) -> torch.Tensor:
    rows, slots = codes.shape
    scores = torch.zeros(len(tables.starts) - 1, rows)
    for question in range(len(scores)):
        for token in range(tables.starts[question], tables.starts[question + 1]):
            best = torch.full((rows,), tables.least)
            for slot in range(slots):
                match = torch.zeros(rows)
                for table, offset in zip(tables.tables, tables.offsets, strict=True):
                    if 0 <= slot + offset < slots:
                        match += table[codes[:, slot + offset] + slot * tables.codes_per_slot, token]
                best = torch.maximum(best, match)
            scores[question] += tables.weights[token] * best
    return tables.scale * scores


def both(tables: MatchTables, codes: torch.Tensor, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """Scores by torch, and by the compiled program."""
    found = []
    for pays in (False, True):
        monkeypatch.setattr(match_kernel, "pays", lambda scores, pays=pays: pays)
        found.append(tables.scores(codes))
    return found


@given(
    seed=st.integers(0, 2**31),
    slots=st.integers(1, 7),
    rows=st.integers(1, 60),
    tokens=st.lists(st.integers(1, 9), min_size=1, max_size=11),
    offsets=st.sampled_from([(0,), OFFSETS]),
    least=st.sampled_from([-torch.inf, 0.0]),
)
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_the_formula_and_equal_in_both_programs(
    seed: int, slots: int, rows: int, tokens: list[int], offsets: tuple[int, ...], least: float
) -> None:
    tables = tables_of(seed, slots, tokens, offsets, least)
    codes = torch.randint(CODES, (rows, slots), generator=torch.Generator().manual_seed(seed + 1))
    with pytest.MonkeyPatch.context() as patch:
        looked_up, compiled = both(tables, codes, patch)
    assert torch.equal(looked_up, compiled)
    torch.testing.assert_close(looked_up, by_the_formula(tables, codes), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.int64])
def test_codes_may_be_of_any_integer_type_and_in_any_order_in_memory(
    kind: type[np.generic], monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = tables_of(5, 4, [3, 6], OFFSETS, 0.0)
    codes = np.random.default_rng(2).integers(0, CODES, (9001, 4)).astype(kind)
    expected = by_the_formula(tables, torch.from_numpy(codes.astype(np.int64)))
    for stored in (codes, np.asfortranarray(codes)):
        for found in both(tables, torch.from_numpy(stored), monkeypatch):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@given(
    seed=st.integers(0, 2**31),
    slots=st.integers(1, 7),
    tokens=st.lists(st.integers(1, 9), min_size=4, max_size=20),
    offsets=st.sampled_from([(0,), OFFSETS]),
    least=st.sampled_from([-torch.inf, 0.0, 0.7]),
    size=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
)
@settings(max_examples=60, deadline=None)
def test_scores_that_reach_far_enough_are_never_ruled_out(
    seed: int, slots: int, tokens: list[int], offsets: tuple[int, ...], least: float, size: float
) -> None:
    tables = tables_of(seed, slots, tokens, offsets, least)
    tables = replace(tables, tables=tables.tables * size)
    made = torch.Generator().manual_seed(seed + 1)
    codes = torch.randint(CODES, (90, slots), generator=made)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(match_kernel, "pays", lambda scores: True)
        every = tables.scores(codes)
        reach = every.gather(1, torch.randint(90, (len(tokens), 1), generator=made))[:, 0]
        found = tables.scores(codes, reach)
    reaching = every >= reach[:, None]
    assert torch.equal(found[reaching], every[reaching])
    assert bool(((found == every) | found.isneginf()).all())


def test_most_passages_are_ruled_out_by_their_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_kernel, "pays", lambda scores: True)
    tables = tables_of(3, 5, [6] * 8, OFFSETS, 0.0)
    codes = torch.randint(CODES, (5000, 5), generator=torch.Generator().manual_seed(1))
    reach = tables.scores(codes).topk(10, dim=1).values[:, -1]
    scored = tables.scores(codes, reach).isfinite().sum(1)
    assert bool((scored >= 10).all())
    assert bool((scored <= 50).all())


def test_threads_and_parts_of_a_bank_do_not_change_a_score(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_kernel, "pays", lambda scores: True)
    tables = tables_of(7, 5, [2] * 10, OFFSETS, -torch.inf)  # more questions than are scored together
    codes = torch.randint(CODES, (20_011, 5))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(tables.scores(codes))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    assert torch.equal(torch.cat([tables.scores(part) for part in codes.split(777)], dim=1), found[0])


def test_a_process_compiles_only_once_it_has_scored_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(match_kernel, "_scored", 0)
    monkeypatch.setattr(match_kernel, "WORTH_COMPILING", 100)
    assert [match_kernel.pays(40) for _ in range(4)] == [False, False, True, True]


@given(
    seed=st.integers(0, 2**31),
    parts=st.lists(st.integers(1, 90), min_size=1, max_size=4),
    k=st.integers(1, 7),
    values=st.integers(1, 40),
)
@settings(max_examples=80, deadline=None)
def test_the_best_passages_are_the_first_of_all_sorted_and_the_later_written_of_equals(
    seed: int, parts: list[int], k: int, values: int
) -> None:
    made = torch.Generator().manual_seed(seed)
    total, questions = sum(parts), 3
    scores = torch.randint(values, (questions, total), generator=made).float()  # many are equal
    rows = torch.randperm(3 * total, generator=made)[:total]
    found = best_passages(
        zip(rows.split(parts), scores.T.split(parts), strict=True),
        lambda passages, reach: passages.T,
        k,
        questions=questions,
        device=torch.device("cpu"),
    )
    for question in range(questions):
        order = sorted(range(total), key=lambda i: (-float(scores[question, i]), -int(rows[i])))[:k]
        assert found[0][question].tolist() == scores[question, order].tolist()
        assert found[1][question].tolist() == rows[order].tolist()
