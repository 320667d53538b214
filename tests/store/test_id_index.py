"""Finding documents by id, through every level of the index."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mbc_store.id_index as id_index
import numpy as np
import pytest
from mbc_store import MemoryStore
from mbc_store.columns import Columns
from mbc_store.id_index import IdIndex, hash_ids

from tests.support.store import SMALL, make_record, state_of


@pytest.fixture
def small_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 4, 12, 36... documents, so that a hundred documents fill several levels."""
    monkeypatch.setattr(id_index, "TAIL", 4)
    monkeypatch.setattr(id_index, "GROWTH", 3)


@pytest.mark.usefixtures("small_runs")
def test_every_document_is_found_while_runs_grow_and_merge(store: MemoryStore) -> None:
    levels = set()
    for n in range(60):
        with store.transaction("one") as transaction:
            transaction.upsert([make_record(f"doc-{n}", n + 1, passages=1)])
        with store.snapshot() as snapshot:
            assert snapshot.digests([f"doc-{m}" for m in range(70)]) == {
                f"doc-{m}": m + 1 for m in range(n + 1)
            }
            levels |= {run["level"] for run in snapshot.columns.runs}
            stops = [run["stop"] for run in snapshot.columns.runs]
            assert n + 1 - max(stops, default=0) <= 4
            assert sum(run["stop"] - run["start"] for run in snapshot.columns.runs) == max(stops, default=0)
    assert levels >= {0, 1, 2}


@pytest.mark.usefixtures("small_runs")
def test_equal_hashes_are_told_apart_by_the_ids(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_index, "hash_ids", lambda ids: np.full(len(list(ids)), 7, dtype=np.uint32))
    with store.transaction("all") as transaction:
        transaction.upsert([make_record(f"doc-{n}", n + 1) for n in range(20)])
    with store.transaction("some") as transaction:
        transaction.forget(["doc-3"])
        transaction.upsert([make_record("doc-4", 99)])
    assert state_of(store) == {f"doc-{n}": n + 1 for n in range(20) if n not in (3, 4)} | {"doc-4": 99}


@pytest.mark.slow
def test_a_run_of_several_chunks_is_searched_in_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore.create(tmp_path / "s", SMALL)
    ids = [f"doc-{n}" for n in range(40_000)]
    one = make_record("x", 1, passages=1)
    with store.transaction("bulk") as transaction:
        transaction.upsert([replace(one, id=identifier, digest=n) for n, identifier in enumerate(ids)])
    with store.snapshot() as snapshot:
        assert snapshot.columns.runs[0]["stop"] == 40_000
        asked = ids[::997] + [f"absent-{n}" for n in range(50)]
        assert snapshot.find(asked) == {ids[n]: n for n in range(0, 40_000, 997)}


def test_hashes_are_those_of_the_written_format() -> None:
    assert hash_ids(["", "a", "é"]).tolist() == [0x25CF7112, 0x554C23CA, 0xC2444595]


def test_an_index_rebuilt_from_the_ids_finds_the_same(store: MemoryStore) -> None:
    with store.transaction("all") as transaction:
        transaction.upsert([make_record(f"doc-{n}", n + 1) for n in range(50)])

    def rebuild(session):
        columns = Columns(session, store.location)
        columns.set_header(columns.lengths, IdIndex(columns).rebuild())
        columns.flush()
        return {"operation": "test"}

    store.repository.commit("rebuild", rebuild)
    with store.snapshot() as snapshot:
        assert snapshot.columns.runs[0]["stop"] == 50
    assert state_of(store) == {f"doc-{n}": n + 1 for n in range(50)}
