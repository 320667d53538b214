"""Lists of the passages that hold a code say the same as the codes, whatever has become of the store."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import mbc_store.posting_lists as posting_lists
import numpy as np
import pytest
from mbc_store import DocumentRecord, MemoryStore, StoreConfig, StoreCorrupt, StoreError
from mbc_store.columns import Columns

from tests.support.store import make_record, state_of

ONE_LEVEL = StoreConfig(slots=3, num_quantizers=1, codebook_size=11, fingerprint="f" * 32)


@pytest.fixture(autouse=True)
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 4, 12, 36... passages, merged a few entries at a time."""
    monkeypatch.setattr(posting_lists, "TAIL", 4)
    monkeypatch.setattr(posting_lists, "GROWTH", 3)
    monkeypatch.setattr(posting_lists, "ROWS_AT_ONCE", 7)
    monkeypatch.setattr(posting_lists, "ENTRIES_AT_ONCE", 5)


@pytest.fixture
def listed(tmp_path: Path) -> MemoryStore:
    """An empty store that keeps lists."""
    store = MemoryStore.create(tmp_path / "listed", ONE_LEVEL)
    store.keep_posting_lists()
    return store


def record_of(name: str, digest: int) -> DocumentRecord:
    """Of one to three passages."""
    return make_record(name, digest, ONE_LEVEL)


def told(store: MemoryStore) -> tuple[list[set[int]], list[set[int]], list[tuple[int, int]]]:
    """Rows by code, as the codes say and as lists and tail say; and the runs."""
    with store.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        codes = np.concatenate([part for _, part, _ in snapshot.iter_codes()] or [np.empty((0, 3, 1), int)])
        expected = [set(np.flatnonzero((codes == code).any(axis=(1, 2))).tolist()) for code in range(11)]
        found: list[set[int]] = [set() for _ in range(11)]
        for run in lists.runs:
            every = np.arange(11)
            for code, rows in enumerate(run.lists(every)):
                assert (np.diff(rows.astype(int)) > 0).all()
                assert len(rows) == run.lengths(every)[code]
                found[code] |= {run.start + row for row in rows.tolist()}
        for row in range(lists.indexed, len(codes)):
            for code in codes[row].reshape(-1).tolist():
                found[code].add(row)
        assert len(codes) - lists.indexed <= posting_lists.TAIL
        return expected, found, [(run.start, run.stop) for run in lists.runs]


def test_lists_are_up_to_date_after_every_commit_while_runs_grow_and_merge(listed: MemoryStore) -> None:
    most = 0
    for n in range(40):
        with listed.transaction("one") as transaction:
            transaction.upsert([record_of(f"doc-{n}", n + 1)])
        expected, found, runs = told(listed)
        assert found == expected
        assert [stop for _, stop in runs[:-1]] == [start for start, _ in runs[1:]]  # without gaps
        most = max(most, len(runs))
    assert most >= 3
    assert listed.verify() == []


def test_lists_of_a_store_that_has_documents_are_those_of_one_that_always_kept_them(
    listed: MemoryStore, tmp_path: Path
) -> None:
    later = MemoryStore.create(tmp_path / "later", ONE_LEVEL)
    for store in (listed, later):
        for first in range(0, 30, 10):
            with store.transaction("ten") as transaction:
                transaction.upsert([record_of(f"doc-{n}", n + 1) for n in range(first, first + 10)])
    with later.snapshot() as snapshot:
        assert snapshot.posting_lists() is None
    later.keep_posting_lists()
    assert told(later)[:2] == told(listed)[:2]
    commits = len(later.history())
    later.keep_posting_lists()  # there is nothing to do
    assert len(later.history()) == commits
    assert later.info().array_bytes["postings"] > 0
    later.keep_posting_lists(False)
    with later.snapshot() as snapshot:
        assert snapshot.posting_lists() is None
    assert "postings" not in later.info().array_bytes
    assert later.verify() == []


@pytest.mark.parametrize("seed", range(3))
def test_lists_follow_whatever_is_done_to_a_store(listed: MemoryStore, seed: int) -> None:
    chance = random.Random(seed)
    for n in range(12):
        names = [f"doc-{chance.randrange(9)}" for _ in range(3)]
        with listed.transaction("change") as transaction:
            if chance.random() < 0.3:
                transaction.forget(names)
            else:
                transaction.upsert([record_of(name, 100 * n + i + 1) for i, name in enumerate(names)])
        if chance.random() < 0.3:
            listed.compact()
        assert told(listed)[0] == told(listed)[1]
    assert listed.verify() == []


def test_a_copy_and_an_export_do_without_and_a_rollback_brings_them_back(
    listed: MemoryStore, tmp_path: Path
) -> None:
    with listed.transaction("some") as transaction:
        transaction.upsert([record_of(f"doc-{n}", n + 1) for n in range(20)])
    with_lists = listed.history()[0].id
    listed.keep_posting_lists(False)
    assert state_of(listed.copy_to(tmp_path / "copy")) == state_of(listed)
    listed.rollback(with_lists)
    expected, found, _ = told(listed)
    assert found == expected


def test_codes_of_several_levels_have_no_lists(store: MemoryStore) -> None:
    with pytest.raises(StoreError, match="have 2"):
        store.keep_posting_lists()
    with store.snapshot() as snapshot:
        assert snapshot.posting_lists() is None


def test_lists_that_are_not_those_of_the_codes_are_found_and_made_anew(listed: MemoryStore) -> None:
    with listed.transaction("some") as transaction:
        transaction.upsert([record_of(f"doc-{n}", n + 1) for n in range(20)])
    before = state_of(listed)

    def tamper(session: Any) -> dict[str, Any]:
        columns = Columns(session, listed.location)
        path = f"postings/{columns.posting_runs[0]['name']}/row"
        posting_lists.PostingLists(columns)
        rows = columns.read(path, 0, 8)
        rows[3] += 1
        columns.append_many([(path, 0, rows)])
        columns.flush()
        return {"operation": "tamper"}

    listed.repository.commit("tamper", tamper)
    assert [problem.kind for problem in listed.verify()] == ["index"]
    MemoryStore.repair(listed.location, MemoryStore.plan_repair(listed.location))
    assert listed.verify() == []
    assert state_of(listed) == before
    expected, found, _ = told(listed)
    assert found == expected


@pytest.mark.parametrize("part", ["start", "row"])
def test_lists_that_point_beyond_their_rows_are_refused(listed: MemoryStore, part: str) -> None:
    with listed.transaction("some") as transaction:
        transaction.upsert([record_of(f"doc-{n}", n + 1) for n in range(20)])

    def tamper(session: Any) -> dict[str, Any]:
        columns = Columns(session, listed.location)
        path = f"postings/{columns.posting_runs[0]['name']}/{part}"
        posting_lists.PostingLists(columns)
        values = columns.read(path, 0, 2)
        values[1] = 10**6
        columns.append_many([(path, 0, values)])
        columns.flush()
        return {"operation": "tamper"}

    listed.repository.commit("tamper", tamper)
    with listed.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        with pytest.raises(StoreCorrupt, match=r"posting lists of rows 0 to \d+ are damaged"):
            lists.runs[0].lists(np.arange(11))


def test_equal_pairs_have_equal_sums_and_others_have_not() -> None:
    codes, rows = np.array([3, 3, 5, 10]), np.array([0, 7, 7, 2**31])
    order = np.array([2, 0, 3, 1])
    assert posting_lists.mixed(codes, rows) == posting_lists.mixed(codes[order], rows[order])
    assert posting_lists.mixed(codes, rows) != posting_lists.mixed(codes, rows[[1, 0, 2, 3]] + [0, 0, 1, 0])
