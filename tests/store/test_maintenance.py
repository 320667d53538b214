"""Compaction, purging and garbage collection."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.chunks import decode_chunk
from mbc_store.errors import StoreInUse, StoreNotFound
from mbc_store.format import array_specs

from tests.support.store import SMALL, make_record, make_records, state_of


def fill(store: MemoryStore, count: int = 30) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, count))


def forget(store: MemoryStore, *ids: str) -> None:
    with store.transaction("forget") as transaction:
        transaction.forget(ids)


def repository_files(store: MemoryStore) -> set[Path]:
    return {path for path in store.location.repository_path.rglob("*") if path.is_file()}


def test_compaction_removes_dead_rows_and_nothing_else(store: MemoryStore) -> None:
    fill(store)
    forget(store, *(f"doc-{n}" for n in range(0, 30, 2)))
    before = state_of(store)
    with store.snapshot() as snapshot:
        dead = snapshot.row_count - snapshot.passage_count
        counts = snapshot.code_counts()
        records = list(snapshot.iter_records())
    assert store.compact().rows_removed == dead > 0
    assert state_of(store) == before
    with store.snapshot() as snapshot:
        assert snapshot.row_count == snapshot.passage_count
        assert np.array_equal(snapshot.code_counts(), counts)
        assert [r.id for r in snapshot.iter_records()] == [r.id for r in records]
    assert store.compact().rows_removed == 0


def test_a_compacted_store_goes_on_growing(store: MemoryStore) -> None:
    fill(store)
    forget(store, *(f"doc-{n}" for n in range(25)))
    store.compact()
    with store.transaction("more") as transaction:
        transaction.upsert([make_record("new", 77), make_record("doc-28", 78)])
    assert state_of(store) == {
        "doc-25": 26,
        "doc-26": 27,
        "doc-27": 28,
        "doc-29": 30,
        "new": 77,
        "doc-28": 78,
    }


def test_an_emptied_store_compacts_to_nothing(store: MemoryStore) -> None:
    fill(store, 5)
    forget(store, *(f"doc-{n}" for n in range(5)))
    store.compact(purge=True)
    assert state_of(store) == {}
    fill(store, 3)
    assert len(state_of(store)) == 3


def test_purging_leaves_no_byte_of_the_forgotten_on_disk(store: MemoryStore) -> None:
    fill(store)
    secret = make_record("secret", 5000)
    with store.transaction("secret") as transaction:
        transaction.upsert([secret])
    store.tag("remembers")
    assert secret.text is not None
    assert secret.text in texts_on_disk(store)
    forget(store, "secret")
    store.compact()
    assert secret.text in texts_on_disk(store)
    store.compact(purge=True)
    assert secret.text not in texts_on_disk(store)
    assert b"secret" not in b"".join(path.read_bytes() for path in repository_files(store))
    assert store.tags() == {}
    assert [c.operation for c in store.history()] == ["compact"]
    assert "secret" not in state_of(store)


def texts_on_disk(store: MemoryStore) -> set[str]:
    """Texts in any chunk file, whoever refers to it."""
    found: set[str] = set()
    for path in (store.location.repository_path / "chunks").iterdir():
        try:
            found |= set(decode_chunk(path.read_bytes(), array_specs(SMALL)["documents/text"]).tolist())
        except ValueError:
            continue
    return found


def test_purging_is_refused_while_somebody_reads(store: MemoryStore) -> None:
    fill(store)
    with store.snapshot(), pytest.raises(StoreInUse, match="being read"):
        store.compact(purge=True)
    store.compact(purge=True)


def test_collection_keeps_what_an_open_snapshot_needs(store: MemoryStore) -> None:
    fill(store)
    old = store.snapshot()
    forget(store, *(f"doc-{n}" for n in range(30)))
    store.compact()
    for _ in range(2):
        store.gc(older_than=timedelta(0))
        assert [r.id for r in old.iter_records()] == [f"doc-{n}" for n in range(30)]
    old.close()
    collected = store.gc(older_than=timedelta(0))
    assert collected.objects_deleted > 0
    with pytest.raises(StoreNotFound):
        store.snapshot(at=old.id)


def test_a_reader_that_died_holds_nothing_back(store: MemoryStore) -> None:
    fill(store)
    readers = Path(str(store.location)) / "locks" / "readers"
    readers.mkdir(exist_ok=True)
    (readers / "1-dead.lock").touch()
    (readers / ("1-dead." + "0" * 20)).touch()
    store.gc(older_than=timedelta(0))
    assert not list(readers.iterdir())


def test_collection_brings_many_small_commits_back_to_the_size_of_one(tmp_path: Path) -> None:
    many, one = MemoryStore.create(tmp_path / "many", SMALL), MemoryStore.create(tmp_path / "one", SMALL)
    records = make_records(0, 60)
    for record in records:
        with many.transaction("one") as transaction:
            transaction.upsert([record])
    with one.transaction("all") as transaction:
        transaction.upsert(records)
    collected = many.gc(older_than=timedelta(0))
    one.gc(older_than=timedelta(0))
    assert collected.bytes_before > 5 * collected.bytes_after
    assert many.info().disk_bytes <= 1.3 * one.info().disk_bytes
    assert state_of(many) == state_of(one)


def test_young_history_and_tags_survive_collection(store: MemoryStore) -> None:
    fill(store, 3)
    store.tag("keep")
    tagged = store.history()[0].id
    forget(store, "doc-0")
    assert len(store.history()) == 3
    store.gc(older_than=timedelta(hours=1))
    assert len(store.history()) == 3
    store.gc(older_than=timedelta(0))
    assert state_of(MemoryStore.open(store.location, at="keep")) == {"doc-0": 1, "doc-1": 2, "doc-2": 3}
    assert store.tags() == {"keep": tagged}


def test_what_a_killed_writer_left_is_swept(store: MemoryStore) -> None:
    fill(store, 3)
    leftover = store.location.repository_path / "manifests" / "ABC#7"
    leftover.write_bytes(b"partial")
    store.gc()
    assert not leftover.exists()
    assert len(state_of(store)) == 3


def test_a_negative_age_is_refused(store: MemoryStore) -> None:
    with pytest.raises(StoreError, match="zero or more"):
        store.gc(older_than=timedelta(days=-1))
