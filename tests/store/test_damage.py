"""Damaged and hostile stores, drawn at random. Large numbers: benchmarks/store_damage.py."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.store import state_of
from tests.support.store.damage import corruption, hostile, store_with_history


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_file_is_noticed_and_costs_no_more_than_the_plan_says(tmp_path: Path, seed: int) -> None:
    expected = state_of(store_with_history(tmp_path / "sound"))
    assert corruption(tmp_path / "sound", tmp_path / "damaged", expected, random.Random(seed))


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.filterwarnings("ignore::mbc_store.StoreWarning")
def test_a_hostile_store_is_refused_in_one_line_or_read(tmp_path: Path, seed: int) -> None:
    store_with_history(tmp_path / "sound")
    assert hostile(tmp_path / "sound", tmp_path / "hostile", random.Random(seed))
