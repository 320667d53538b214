"""What verify notices, and what repair saves."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.columns import Columns
from mbc_store.errors import StoreCorrupt, StoreExists, StoreNotFound
from mbc_store.repair import RepairPlan, apply_repair, plan_repair

from tests.support.store import SMALL, make_record, make_records, state_of


@pytest.fixture
def filled(store: MemoryStore) -> MemoryStore:
    """Two commits of thirty documents each, large enough that chunks are files of their own."""
    for first in (0, 30):
        with store.transaction(f"from {first}") as transaction:
            transaction.upsert(make_records(first, 30))
    return store


def repaired(store: MemoryStore) -> RepairPlan:
    """Repair, check that the store is sound and return what was done."""
    plan = plan_repair(store.location)
    apply_repair(store.location, plan)
    fresh = MemoryStore.open(store.location)
    assert len(state_of(fresh)) == plan.documents
    with fresh.transaction("goes on") as transaction:
        transaction.upsert([make_record("after", 1)])
    assert "after" in state_of(fresh)
    return plan


def files(store: MemoryStore, folder: str) -> list[Path]:
    """Newest first."""
    found = (store.location.repository_path / folder).iterdir()
    return sorted((p for p in found if p.is_file()), key=lambda p: p.stat().st_mtime_ns, reverse=True)


def flip(path: Path, position: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(position * (len(data) - 1))] ^= 0x10
    path.write_bytes(data)


def test_a_sound_store_needs_nothing(filled: MemoryStore) -> None:
    assert filled.verify() == []
    plan = plan_repair(filled.location)
    assert (plan.action, plan.documents, plan.lost_documents) == ("none", 60, 0)
    apply_repair(filled.location, plan)
    assert len(filled.history()) == 3


@pytest.mark.parametrize("position", [0.1, 0.5, 0.9, 1.0])
def test_a_flipped_bit_in_any_chunk_is_noticed_and_repaired(filled: MemoryStore, position: float) -> None:
    for chunk in files(filled, "chunks"):
        original = chunk.read_bytes()
        flip(chunk, position)
        if MemoryStore.open(filled.location).verify():
            plan = plan_repair(filled.location)
            assert plan.action == "rewrite" or plan.documents >= 30
            assert plan.problems
        chunk.write_bytes(original)
    assert filled.verify() == []


def test_reading_a_damaged_chunk_is_one_clear_error(filled: MemoryStore) -> None:
    for chunk in files(filled, "chunks"):
        flip(chunk)
    with MemoryStore.open(filled.location).snapshot() as snapshot:
        records = snapshot.iter_records()
        with pytest.raises(StoreCorrupt, match=r"damaged.*repair"):
            list(records)


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_what_the_newest_commit_damaged_is_recovered_from_the_one_before(
    filled: MemoryStore, keep: float
) -> None:
    before = chunk_files_of(filled, filled.history()[1].id)
    first = state_of(MemoryStore.open(filled.location, at=filled.history()[1].id))
    for chunk in set(files(filled, "chunks")) - before:
        chunk.write_bytes(chunk.read_bytes()[: int(keep * chunk.stat().st_size)])
    assert filled.verify()
    apply_repair(filled.location, plan_repair(filled.location))
    fresh = MemoryStore.open(filled.location)
    assert fresh.verify() == []
    with fresh.snapshot() as snapshot:
        for identifier, digest in first.items():
            assert snapshot.record(identifier).text == make_record(identifier, digest).text


def chunk_files_of(store: MemoryStore, snapshot_id: str) -> set[Path]:
    """Files older than the snapshot: those that it can refer to."""
    moment = (store.location.repository_path / "snapshots" / snapshot_id).stat().st_mtime_ns
    return {path for path in files(store, "chunks") if path.stat().st_mtime_ns <= moment}


@pytest.mark.slow
def test_a_repair_does_not_bring_back_what_was_forgotten(filled: MemoryStore) -> None:
    with filled.transaction("forget") as transaction:
        transaction.forget(["doc-3"])
    for chunk in files(filled, "chunks"):
        flip(chunk)
    apply_repair(filled.location, plan_repair(filled.location))
    repaired_store = MemoryStore.open(filled.location)
    assert repaired_store.verify() == []
    with repaired_store.snapshot() as snapshot:
        assert snapshot.document("doc-3") is None
        assert all(document.id != "doc-3" for document in snapshot.iter_documents())


@pytest.mark.parametrize("folder", ["manifests", "snapshots", "transactions"])
def test_missing_metadata_costs_at_most_the_newest_commit(filled: MemoryStore, folder: str) -> None:
    expected = state_of(MemoryStore.open(filled.location, at=filled.history()[1].id))
    files(filled, folder)[0].unlink()
    plan = repaired(filled)
    assert plan.documents >= len(expected)


@pytest.mark.parametrize("content", [b"", b"{", b'{"snapshot":"00000000000000000000"}', b"\xff" * 30])
def test_a_damaged_head_is_found_again(filled: MemoryStore, content: bytes) -> None:
    expected = state_of(filled)
    (filled.location.repository_path / "refs" / "branch.main" / "ref.json").write_bytes(content)
    with pytest.raises(StoreError):
        state_of(MemoryStore.open(filled.location))
    plan = plan_repair(filled.location)
    assert (plan.action, bool(plan.problems)) == ("restore", True)
    apply_repair(filled.location, plan)
    assert state_of(MemoryStore.open(filled.location)) == expected


@pytest.mark.parametrize("lost", ["refs", "refs/branch.main", "refs/branch.main/ref.json"])
def test_a_lost_head_is_found_again_and_planning_changes_nothing(filled: MemoryStore, lost: str) -> None:
    expected = state_of(filled)
    path = filled.location.repository_path / lost
    path.unlink() if path.is_file() else shutil.rmtree(path)
    left = set(filled.location.repository_path.rglob("*"))
    plan = plan_repair(filled.location)
    assert set(filled.location.repository_path.rglob("*")) == left
    assert (plan.action, plan.documents, plan.lost_documents) == ("restore", 60, None)
    assert [problem.message for problem in plan.problems] == ["the head is lost or cannot be read"]
    apply_repair(filled.location, plan)
    assert state_of(MemoryStore.open(filled.location)) == expected
    assert plan_repair(filled.location).action == "none"


def test_whoever_meets_a_lost_head_says_so_and_what_to_do(filled: MemoryStore) -> None:
    shutil.rmtree(filled.location.repository_path / "refs")
    for meet in (MemoryStore.exists, MemoryStore.open, lambda where: MemoryStore.create(where, SMALL)):
        with pytest.raises(StoreCorrupt, match=r"has lost its head .*`mbc memory repair`"):
            meet(filled.location)


def test_where_no_snapshot_is_left_repair_says_that_it_cannot_help(filled: MemoryStore) -> None:
    shutil.rmtree(filled.location.repository_path / "snapshots")
    with pytest.raises(StoreCorrupt, match=r"no snapshot of .* can be read \(restore it from a copy"):
        MemoryStore.plan_repair(filled.location)


def tamper(store: MemoryStore, change) -> None:
    """Commit a change that breaks a promise."""

    def apply(session):
        columns = Columns(session, store.location)
        change(columns)
        columns.flush()
        return {"operation": "tamper"}

    store.repository.commit("tamper", apply)


def test_wrong_counts_are_noticed_and_made_right(filled: MemoryStore) -> None:
    tamper(filled, lambda columns: columns.write_counts(columns.read_counts() + 1))
    assert {problem.kind for problem in filled.verify()} == {"counts"}
    assert repaired(filled).documents == 60


def test_an_incomplete_index_is_noticed_and_made_right(filled: MemoryStore) -> None:
    wrong = [{"name": "run-0-60", "level": 0, "start": 0, "stop": 60}]
    tamper(filled, lambda columns: columns.set_header(columns.lengths, wrong))
    assert filled.verify()
    assert repaired(filled).documents == 60


def test_a_repeated_id_is_noticed(filled: MemoryStore) -> None:
    import numpy as np

    twice = np.array(["doc-0"], dtype=object)
    tamper(filled, lambda columns: columns.append_many([("documents/id", 59, twice)]))
    assert "duplicate" in {problem.kind for problem in filled.verify()}


@pytest.mark.parametrize("folder", ["chunks", "manifests", "snapshots"])
def test_a_repaired_store_can_be_collected(filled: MemoryStore, folder: str) -> None:
    files(filled, folder)[0].unlink()
    plan = plan_repair(filled.location)
    assert plan.documents >= 30
    apply_repair(filled.location, plan)
    fresh = MemoryStore.open(filled.location)
    fresh.gc(older_than=timedelta(0))
    assert fresh.verify() == []
    fresh.compact(purge=True)
    assert fresh.info().documents == plan.documents


def test_a_folder_that_is_no_store_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "icechunk").mkdir()
    for look in (MemoryStore.open, MemoryStore.plan_repair):
        with pytest.raises(StoreNotFound, match="there is no store at"):
            look(tmp_path)
    assert not MemoryStore.exists(tmp_path)
    with pytest.raises(StoreExists, match="is not empty and not a store"):
        MemoryStore.create(tmp_path, SMALL)
