"""Codes of large vocabularies, counted for all slots together, as those of tokens are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mbc_store import MemoryStore, StoreConfig

from tests.support.store import make_record, make_records, state_of

LARGE = StoreConfig(slots=5, num_quantizers=1, codebook_size=131_072, fingerprint="x", shared_counts=True)


@pytest.fixture
def filled(tmp_path: Path) -> MemoryStore:
    """A store of documents with codes beyond 65,535, one of them forgotten and one replaced."""
    store = MemoryStore.create(tmp_path / "large", LARGE)
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 14, LARGE))
    with store.transaction("change") as transaction:
        transaction.forget(["doc-3"])
        transaction.upsert([make_record("doc-7", 70, LARGE)])
    return store


def test_codes_beyond_two_bytes_come_back_as_they_were(filled: MemoryStore) -> None:
    assert len(state_of(MemoryStore.open(filled.location))) == 13
    with filled.snapshot() as snapshot:
        codes = snapshot.codes(np.arange(snapshot.row_count))
    assert codes.dtype == np.uint32
    assert codes.max() > 65_535


def test_counts_are_those_of_all_slots_together(filled: MemoryStore) -> None:
    with filled.snapshot() as snapshot:
        living = np.concatenate([record.codes for record in snapshot.iter_records()])
        counts = snapshot.code_counts()
        assert counts.shape == (1, 1, LARGE.codebook_size)
        assert np.array_equal(counts[0, 0], np.bincount(living.ravel(), minlength=LARGE.codebook_size))
        assert snapshot.passage_count == len(living)
        mask = np.arange(snapshot.row_count) < 9
        assert snapshot.code_counts(mask).sum() <= 9 * LARGE.slots


def test_entropy_is_that_of_the_slots_of_a_passage(tmp_path: Path) -> None:
    """Two codes, equally often, in each of five slots: a bit a slot."""
    store = MemoryStore.create(tmp_path / "bits", LARGE)
    with store.transaction("load") as transaction:
        for name, code in (("a", 7), ("b", 90_000)):
            record = make_record(name, 1, LARGE, passages=1)
            transaction.upsert([replace(record, codes=np.full((1, 5, 1), code))])
    assert store.info().code_entropy_bits == pytest.approx(5.0)


def test_copies_exports_and_compaction_keep_large_codes(filled: MemoryStore, tmp_path: Path) -> None:
    before = state_of(filled)
    assert state_of(filled.copy_to(tmp_path / "copy")) == before
    filled.export_to(tmp_path / "export")
    imported = MemoryStore.create(tmp_path / "imported", LARGE)
    imported.import_from(tmp_path / "export")
    assert state_of(imported) == before
    filled.compact()
    assert state_of(filled) == before


def test_slots_that_are_not_in_use_cost_next_to_nothing(tmp_path: Path) -> None:
    """Passages that fill 4 of 48 slots take hardly more than the same codes in 4 slots."""
    generator = np.random.default_rng(5)
    used = generator.integers(0, 49_152, (2000, 4, 1))
    sizes = {}
    for slots in (4, 48):
        config = StoreConfig(
            slots=slots, num_quantizers=1, codebook_size=49_153, fingerprint="x", shared_counts=True
        )
        store = MemoryStore.create(tmp_path / str(slots), config)
        codes = np.full((2000, slots, 1), 49_152)
        codes[:, :4] = used
        record = make_record("d", 1, config, passages=1)
        with store.transaction("load") as transaction:
            transaction.upsert(
                [replace(record, id=f"d{n}", codes=codes[n : n + 1]) for n in range(len(codes))]
            )
        sizes[slots] = store.info().array_bytes["passages/codes"]
    assert sizes[48] < 1.1 * sizes[4]
