"""What a transaction changes, and what it leaves alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mbc_store import Counts, FingerprintMismatch, InvalidRecord, MemoryStore, StoreConfig, StoreError
from mbc_store.codes import count_codes
from mbc_store.columns import Columns
from mbc_store.errors import StoreExists, StoreNotFound, StoreReadOnly
from mbc_store.records import LAST_TIMESTAMP

from tests.support.store import SMALL, make_record, make_records, state_of


def upsert(store: MemoryStore, *records) -> Counts:
    with store.transaction("test") as transaction:
        transaction.upsert(records)
    return transaction.counts


def forget(store: MemoryStore, *ids: str) -> Counts:
    with store.transaction("test") as transaction:
        transaction.forget(ids)
    return transaction.counts


def test_what_was_stored_is_found_by_another_process_view(store: MemoryStore) -> None:
    record = make_record(
        "a", 7, title="Title", timestamp=-5, metadata={"source": "wire", "n": [1, {"x": None}]}, passages=3
    )
    assert upsert(store, record) == Counts(added=1)
    with MemoryStore.open(store.location, fingerprint="test").snapshot() as snapshot:
        found = snapshot.record("a")
        assert np.array_equal(found.codes, record.codes)
        assert np.array_equal(found.spans, record.spans)
        assert (found.text, found.title, found.timestamp) == (record.text, "Title", -5)
        assert (found.metadata, found.digest) == (record.metadata, 7)


def test_equal_content_changes_nothing_and_makes_no_commit(store: MemoryStore) -> None:
    upsert(store, *make_records(0, 5))
    before = store.history()
    assert upsert(store, *make_records(0, 5)) == Counts(unchanged=5)
    assert store.history() == before


def test_other_content_replaces_and_the_last_of_equal_ids_wins(store: MemoryStore) -> None:
    upsert(store, *make_records(0, 3))
    assert upsert(store, make_record("doc-1", 50), make_record("doc-1", 60)) == Counts(replaced=1)
    assert state_of(store) == {"doc-0": 1, "doc-1": 60, "doc-2": 3}


def test_forgotten_documents_are_gone_from_every_way_of_asking(store: MemoryStore) -> None:
    upsert(store, *make_records(0, 6))
    assert forget(store, "doc-2", "doc-4", "never there") == Counts(forgotten=2)
    with store.snapshot() as snapshot:
        assert snapshot.digests(["doc-2", "doc-3", "doc-4"]) == {"doc-3": 4}
        assert snapshot.document("doc-2") is None
        living = {passage.document_id for passage in snapshot.passages(np.flatnonzero(snapshot.alive()))}
        assert living == {"doc-0", "doc-1", "doc-3", "doc-5"}
        assert snapshot.document_count == 4


def test_a_forgotten_document_can_return(store: MemoryStore) -> None:
    upsert(store, make_record("a", 1))
    forget(store, "a")
    assert upsert(store, make_record("a", 1)) == Counts(added=1)
    assert state_of(store) == {"a": 1}


def test_counts_always_equal_the_codes_of_the_living(store: MemoryStore) -> None:
    upsert(store, *make_records(0, 40))
    forget(store, *(f"doc-{n}" for n in range(0, 40, 3)))
    upsert(store, *(make_record(f"doc-{n}", n + 500) for n in range(1, 40, 4)))
    with store.snapshot() as snapshot:
        codes = np.concatenate([record.codes for record in snapshot.iter_records()])
        assert np.array_equal(snapshot.code_counts(), count_codes(codes, SMALL))
        assert snapshot.passage_count == len(codes) == snapshot.alive().sum()


def test_an_exception_leaves_the_store_as_it_was(store: MemoryStore) -> None:
    upsert(store, make_record("a", 1))

    def interrupted() -> None:
        with store.transaction("test") as transaction:
            transaction.upsert([make_record("b", 2)])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert state_of(store) == {"a": 1}


def test_a_snapshot_does_not_see_later_commits(store: MemoryStore) -> None:
    upsert(store, *make_records(0, 3))
    with store.snapshot() as before:
        forget(store, "doc-0")
        upsert(store, make_record("doc-9", 10))
        assert set(before.digests(["doc-0", "doc-9"])) == {"doc-0"}
        assert before.document_count == 3
        assert before.code_counts()[0, 0].sum() == before.alive().sum()


def test_a_store_without_texts_keeps_none(tmp_path: Path) -> None:
    store = MemoryStore.create(tmp_path / "s", replace(SMALL, keep_text=False))
    upsert(store, make_record("a", 1))
    with store.snapshot() as snapshot:
        assert snapshot.record("a").text is None
        assert snapshot.passages([0])[0].text is None


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"id": ""}, "empty"),
        ({"id": " "}, "empty"),
        ({"id": "\0"}, "control character"),
        ({"id": "é\n\t"}, "control character"),
        ({"id": "x" * 513}, "513 characters"),
        ({"codes": np.zeros((1, 2, 2), int)}, "shape"),
        ({"codes": np.zeros((0, 3, 2), int)}, "shape"),
        ({"codes": np.full((1, 3, 2), 32)}, "0 to 31"),
        ({"codes": np.full((1, 3, 2), -1)}, "0 to 31"),
        ({"codes": np.zeros((1, 3, 2), float)}, "integers"),
        ({"spans": np.array([[5, 2]])}, "start <= end"),
        ({"spans": np.array([[0, 2], [2, 4]])}, "shape"),
        ({"digest": -1}, "64-bit"),
        ({"digest": 2**64}, "64-bit"),
        ({"timestamp": LAST_TIMESTAMP + 1}, "years 1 to 9999"),
        ({"metadata": {"x": float("nan")}}, "JSON"),
        ({"metadata": {"x": object()}}, "JSON"),
        ({"text": "\ud800"}, "UTF-8"),
        ({"id": "\udfff"}, "UTF-8"),
    ],
)
def test_a_record_that_does_not_fit_is_refused_with_its_reason(
    store: MemoryStore, changes: dict, problem: str
) -> None:
    record = replace(make_record("a", 1, passages=1), **changes)
    with pytest.raises(InvalidRecord, match=problem), store.transaction("test") as transaction:
        transaction.upsert([record])
    assert state_of(store) == {}


@pytest.mark.parametrize("identifier", ["a/../../b", " a", "é\u2028", "x" * 512, "🐘" * 300])
def test_any_text_without_control_characters_is_an_id(store: MemoryStore, identifier: str) -> None:
    upsert(store, make_record(identifier, 3), make_record("other", 4))
    assert state_of(store) == {identifier: 3, "other": 4}
    assert forget(store, identifier) == Counts(forgotten=1)


def test_opening_with_another_adapter_names_both_and_the_ways_out(store: MemoryStore) -> None:
    with pytest.raises(FingerprintMismatch, match=r"adapter test, not with other .*re-?encode"):
        MemoryStore.open(store.location, fingerprint="other")


def test_creating_twice_and_opening_nothing_are_errors(store: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(StoreExists):
        MemoryStore.create(store.location, SMALL)
    with pytest.raises(StoreNotFound):
        MemoryStore.open(tmp_path / "nowhere")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    with pytest.raises(StoreExists, match="not empty"):
        MemoryStore.create(tmp_path / "other", SMALL)
    assert not MemoryStore.exists(tmp_path / "other")
    assert MemoryStore.exists(store.location)


def test_a_creation_cut_short_does_not_stand_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "s" / "unfinished-abc" / "chunks").mkdir(parents=True)
    store = MemoryStore.create(tmp_path / "s", SMALL)
    assert state_of(store) == {}
    assert {entry.name for entry in (tmp_path / "s").iterdir()} == {"icechunk", "locks"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"slots": 0},
        {"num_quantizers": 0},
        {"codebook_size": 1},
        {"codebook_size": 2**32 + 1},
        {"fingerprint": ""},
    ],
)
def test_an_impossible_configuration_is_refused(wrong: dict) -> None:
    fields = {"slots": 3, "num_quantizers": 1, "codebook_size": 4, "fingerprint": "x"} | wrong
    with pytest.raises(StoreError):
        StoreConfig(**fields)


def test_the_largest_codebook_keeps_its_last_code(tmp_path: Path) -> None:
    config = StoreConfig(slots=2, num_quantizers=1, codebook_size=65536, fingerprint="x")
    store = MemoryStore.create(tmp_path / "s", config)
    codes = np.array([[[65535], [0]]])
    upsert(store, replace(make_record("a", 1, config, passages=1), codes=codes))
    with store.snapshot() as snapshot:
        assert np.array_equal(snapshot.codes([0]), codes)
        assert snapshot.code_counts()[0, 0, 65535] == 1


def test_an_old_view_cannot_be_changed(store: MemoryStore) -> None:
    upsert(store, make_record("a", 1))
    old = MemoryStore.open(store.location, at=store.history()[0].id)
    with pytest.raises(StoreReadOnly):
        old.transaction("test")


def test_commits_of_one_open_store_see_what_others_and_failures_left(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store remembers the end of what it wrote; it must never take that for another snapshot."""
    other = MemoryStore.open(store.location)
    expected = {}

    def change(by: MemoryStore, first: int) -> None:
        upsert(by, *make_records(first, 4))
        expected.update({f"doc-{n}": n + 1 for n in range(first, first + 4)})

    change(store, 0)
    change(store, 4)
    change(other, 8)
    change(store, 12)
    with monkeypatch.context() as broken:
        broken.setattr(
            "mbc_store.repository.Repository.move_head",
            lambda *_: exec("raise OSError(5, 'input/output error')"),
        )
        with pytest.raises(StoreError, match="input/output error"):
            upsert(store, *make_records(100, 4))
    change(store, 16)
    head = store.history()[0].id
    upsert(store, *make_records(200, 4))
    store.rollback(head)
    change(store, 20)
    forget(store, "doc-3")
    store.compact()
    change(store, 24)
    del expected["doc-3"]
    assert state_of(store) == expected


def test_a_second_commit_reads_nothing_that_the_first_has_written(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    upsert(store, *make_records(0, 3))
    fetched: list[str] = []
    real = Columns._fetch

    async def fetch(columns: Columns, keys: Iterable[str]) -> list[bytes | None]:
        fetched.extend(asked := list(keys))
        return await real(columns, asked)

    monkeypatch.setattr(Columns, "_fetch", fetch)
    upsert(store, *make_records(3, 3))
    assert fetched == []
