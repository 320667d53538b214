"""Export, import, copy and merge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mbc_store import Counts, FingerprintMismatch, MemoryStore, StoreError
from mbc_store.errors import StoreExists, StoreNotFound

from tests.support.store import SMALL, make_record, make_records, state_of


@pytest.fixture
def filled(store: MemoryStore) -> MemoryStore:
    """Documents with every field, one forgotten."""
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 12))
        transaction.upsert(
            [make_record("full", 99, title="T", timestamp=1_000_001, metadata={"k": ["ä", None]})]
        )
    with store.transaction("forget") as transaction:
        transaction.forget(["doc-4"])
    return store


def records(store: MemoryStore) -> list[dict]:
    with store.snapshot() as snapshot:
        return [
            {
                "id": r.id,
                "codes": r.codes.tolist(),
                "spans": r.spans.tolist(),
                "digest": r.digest,
                "text": r.text,
            }
            | {"title": r.title, "timestamp": r.timestamp, "metadata": r.metadata}
            for r in snapshot.iter_records()
        ]


def test_an_export_imports_to_the_same_store(filled: MemoryStore, tmp_path: Path) -> None:
    assert filled.export_to(tmp_path / "out") == 12
    other = MemoryStore.create(tmp_path / "other", SMALL)
    assert other.import_from(tmp_path / "out") == Counts(added=12)
    assert records(other) == records(filled)
    assert other.import_from(tmp_path / "out") == Counts(unchanged=12)


def test_an_export_is_readable_by_anything(filled: MemoryStore, tmp_path: Path) -> None:
    filled.export_to(tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / "documents.jsonl").read_text().splitlines()]
    full = next(line for line in lines if line["id"] == "full")
    assert full["timestamp"] == "1970-01-01T00:00:01.000001Z"
    assert (full["title"], full["metadata"]) == ("T", {"k": ["ä", None]})
    table = pq.read_table(tmp_path / "out" / "codes.parquet").to_pydict()
    codes = [
        np.array(row).reshape(3, 2).tolist()
        for row, i in zip(table["codes"], table["document_id"], strict=True)
        if i == "full"
    ]
    with filled.snapshot() as snapshot:
        assert codes == snapshot.record("full").codes.tolist()
    with pytest.raises(StoreExists):
        filled.export_to(tmp_path / "out")


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        ("store.json", lambda data: data[:-20]),
        ("store.json", lambda data: data.replace(b'"version": 1', b'"version": 9')),
        ("documents.jsonl", lambda data: data[:-30]),
        ("documents.jsonl", lambda data: b"\n".join(data.splitlines()[:-1]) + b"\n"),
        ("documents.jsonl", lambda data: data.replace(b'"id": "doc-3"', b'"id": "doc-x"')),
        ("documents.jsonl", lambda data: data.replace(b'"spans"', b'"spams"', 1)),
        ("codes.parquet", lambda data: data[: len(data) // 2]),
        ("codes.parquet", lambda data: b""),
    ],
)
def test_a_damaged_export_is_one_clear_error(filled: MemoryStore, tmp_path: Path, file: str, damage) -> None:
    filled.export_to(tmp_path / "out")
    path = tmp_path / "out" / file
    path.write_bytes(damage(path.read_bytes()))
    other = MemoryStore.create(tmp_path / "other", SMALL)
    with pytest.raises(StoreError, match=file.split(".")[0]):
        other.import_from(tmp_path / "out")
    assert state_of(other) == {}


def test_importing_nothing_or_of_another_adapter_is_refused(filled: MemoryStore, tmp_path: Path) -> None:
    with pytest.raises(StoreNotFound):
        filled.import_from(tmp_path)
    filled.export_to(tmp_path / "out")
    other = MemoryStore.create(tmp_path / "other", replace(SMALL, fingerprint="other"))
    with pytest.raises(FingerprintMismatch):
        other.import_from(tmp_path / "out")


def test_a_copy_holds_the_same_and_lives_on_its_own(filled: MemoryStore, tmp_path: Path) -> None:
    copy = filled.copy_to(tmp_path / "copy")
    assert records(copy) == records(filled)
    with copy.transaction("more") as transaction:
        transaction.upsert([make_record("only here", 5)])
    assert state_of(copy) == state_of(filled) | {"only here": 5}
    with pytest.raises(StoreExists):
        filled.copy_to(tmp_path / "copy")


def test_merging_keeps_the_newest_of_equal_ids(tmp_path: Path) -> None:
    ours, theirs = MemoryStore.create(tmp_path / "a", SMALL), MemoryStore.create(tmp_path / "b", SMALL)
    with ours.transaction("x") as transaction:
        transaction.upsert(
            [
                make_record(i, n, timestamp=t)
                for i, n, t in [
                    ("old", 1, 5),
                    ("new", 2, 9),
                    ("tie", 3, 7),
                    ("none", 4, None),
                    ("same", 5, 1),
                ]
            ]
        )
    with theirs.transaction("x") as transaction:
        transaction.upsert(
            [
                make_record(i, n, timestamp=t)
                for i, n, t in [
                    ("old", 11, 6),
                    ("new", 12, 8),
                    ("tie", 13, 7),
                    ("none", 14, 0),
                    ("same", 5, 2),
                    ("extra", 16, None),
                ]
            ]
        )
    assert ours.merge(theirs) == Counts(added=1, replaced=2, unchanged=3)
    assert state_of(ours) == {"old": 11, "new": 2, "tie": 3, "none": 14, "same": 5, "extra": 16}
    assert ours.history()[0].operation == "merge"


def test_codes_of_other_adapters_or_dimensions_do_not_merge(filled: MemoryStore, tmp_path: Path) -> None:
    other = MemoryStore.create(tmp_path / "other", replace(SMALL, fingerprint="other"))
    with pytest.raises(FingerprintMismatch):
        filled.merge(other)
    wider = MemoryStore.create(tmp_path / "wider", replace(SMALL, slots=4))
    with pytest.raises(StoreError, match="slots"):
        filled.merge(wider)


def test_a_name_in_an_export_cannot_leave_its_folder(filled: MemoryStore, tmp_path: Path) -> None:
    with filled.transaction("x") as transaction:
        transaction.upsert([make_record("../../escape", 1), make_record("/abs", 2)])
    filled.export_to(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "store.json",
        "documents.jsonl",
        "codes.parquet",
    }
    assert not (tmp_path / "escape").exists()


def test_nothing_is_written_into_a_store_s_own_folder(store: MemoryStore) -> None:
    before = set(store.location.path.rglob("*"))
    for attempt in (store.copy_to, store.export_to, lambda place: MemoryStore.create(place, SMALL)):
        for inside in ("copy", "icechunk/chunks/copy"):
            with pytest.raises(StoreError, match="lies in the store"):
                attempt(store.location.path / inside)
    assert {path for path in store.location.path.rglob("*") if "readers" not in path.parts} <= before


@pytest.mark.parametrize(
    "damage",
    [
        lambda line: line | {"text": 3},
        lambda line: line | {"title": ["a"]},
        lambda line: line | {"spans": [[0, 2**63]]},
        lambda line: line | {"metadata": [1]},
        lambda line: line | {"digest": "x"},
        lambda line: line | {"id": 7},
        lambda line: line | {"timestamp": 2020},
        lambda line: [line],
    ],
)
def test_an_import_that_fails_at_its_last_document_leaves_nothing(
    store: MemoryStore, tmp_path: Path, damage: Callable[[dict], object]
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 7))
    store.export_to(tmp_path / "export")
    documents = tmp_path / "export" / "documents.jsonl"
    lines = documents.read_text().splitlines()
    documents.write_text("\n".join([*lines[:-1], json.dumps(damage(json.loads(lines[-1])))]) + "\n")
    with pytest.raises(StoreError):
        MemoryStore.import_at(tmp_path / "new", tmp_path / "export")
    assert not (tmp_path / "new").exists()
    other = MemoryStore.create(tmp_path / "other", SMALL)
    with pytest.raises(StoreError):
        other.import_from(tmp_path / "export")
    assert state_of(other) == {}


@pytest.mark.parametrize("line", [b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"id": ' + b"9" * 5000 + b"}\n"])
def test_a_line_of_an_export_that_is_no_document_is_named(
    store: MemoryStore, tmp_path: Path, line: bytes
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 2))
    store.export_to(tmp_path / "export")
    with (tmp_path / "export" / "documents.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(StoreError, match=r"documents\.jsonl, line 3"):
        store.import_from(tmp_path / "export")
