"""A repair loses no more than it must, says what it loses, and brings nothing forgotten back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zarr
from mbc_store import MemoryStore, StoreCorrupt
from mbc_store.columns import Columns
from mbc_store.repair import RepairPlan, _Since
from mbc_store.repository import Repository

from tests.support.run_mbc import RunMbc
from tests.support.store import SMALL, make_record, make_records, state_of


@pytest.fixture
def filled(store: MemoryStore) -> MemoryStore:
    """Twelve documents and a tail of changes."""
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 12))
    return store


def change(
    store: MemoryStore, upserts: dict[str, int] | None = None, forgets: list[str] | None = None
) -> None:
    with store.transaction("change") as transaction:
        transaction.upsert([make_record(name, seed) for name, seed in (upserts or {}).items()])
        transaction.forget(forgets or [])


def lose(store: MemoryStore, path: str) -> None:
    """Delete the file of what an array holds in the newest commit: its chunk's, or its manifest's where
    chunks lie in the manifest."""
    session = store.repository.session(store.repository.head())
    array = zarr.open_group(session.store, mode="r")[path]
    assert isinstance(array, zarr.Array)
    look_up = store.repository.icechunk.lookup_snapshot
    here = {manifest.id for manifest in look_up(store.history()[0].id).manifests}
    for manifest in sorted(here):
        file = store.location.repository_path / "manifests" / manifest
        content = file.read_bytes()
        file.unlink()
        try:
            repository = Repository.open(store.location)
            columns = Columns(repository.session(repository.head()), store.location)
            columns.read(path, 0, columns.rows_of(path))
        except StoreCorrupt:
            return
        file.write_bytes(content)
    raise AssertionError(f"no manifest holds {path}")


def repaired(store: MemoryStore) -> tuple[RepairPlan, MemoryStore]:
    plan = MemoryStore.plan_repair(store.location)
    MemoryStore.repair(store.location, plan)
    fresh = MemoryStore.open(store.location)
    assert fresh.verify() == []
    return plan, fresh


def test_what_was_forgotten_is_forgotten_again_where_a_repair_goes_back(filled: MemoryStore) -> None:
    change(filled, forgets=["doc-5", "doc-6"])
    lose(filled, "passages/alive")
    plan, fresh = repaired(filled)
    assert plan.action == "restore"
    assert (plan.forgotten_again, plan.returning, plan.documents) == (2, 0, 10)
    assert sorted(state_of(fresh)) == sorted(f"doc-{n}" for n in range(12) if n not in (5, 6))


def test_an_earlier_version_of_a_forgotten_document_does_not_come_back_either(filled: MemoryStore) -> None:
    change(filled, {"doc-5": 500, "doc-7": 700})
    first = filled.history()[1].id
    middle = filled.history()[0].id
    change(filled, forgets=["doc-5"])
    since = _Since(filled.repository, filled.repository.head())
    assert since.forgotten(first) == {5, 12}
    assert since.forgotten(middle) == {5, 12}


def test_a_document_that_came_again_after_it_was_forgotten_stays(filled: MemoryStore) -> None:
    change(filled, forgets=["doc-5"])
    change(filled, {"doc-5": 555})
    change(filled, forgets=["doc-6"])
    lose(filled, "passages/alive")
    plan, fresh = repaired(filled)
    assert plan.returning == 0
    state = state_of(fresh)
    assert "doc-6" not in state
    assert state.get("doc-5") in (None, 555)


def test_documents_that_go_back_to_an_earlier_version_are_counted(filled: MemoryStore) -> None:
    change(filled, {"doc-1": 100, "doc-2": 200}, forgets=["doc-3"])
    lose(filled, "passages/alive")
    plan, fresh = repaired(filled)
    assert (plan.reverted, plan.forgotten_again) == (2, 1)
    state = state_of(fresh)
    assert (state["doc-1"], state["doc-2"], "doc-3" in state) == (2, 3, False)


def test_forgotten_documents_of_a_commit_that_does_not_say_which_are_counted_as_returning(
    filled: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbc_store.changes.ranges", lambda numbers: [])
    change(filled, forgets=["doc-5", "doc-6"])
    lose(filled, "passages/alive")
    plan = MemoryStore.plan_repair(filled.location)
    assert (plan.forgotten_again, plan.returning) == (0, 2)


def without_history(store: MemoryStore) -> None:
    store.compact(purge=True)


@pytest.mark.parametrize("path", ["passages/codes", "passages/location"])
def test_texts_are_salvaged_where_codes_are_lost(filled: MemoryStore, path: str) -> None:
    change(filled, forgets=["doc-4"])
    without_history(filled)
    lose(filled, path)
    plan = MemoryStore.plan_repair(filled.location)
    assert (plan.action, plan.documents, plan.lost_documents, plan.reencodable) == ("rewrite", 0, 11, 11)
    texts = {document.id: document.text for document in MemoryStore.salvaged_texts(filled.location, plan)}
    assert texts == {f"doc-{n}": make_record(f"doc-{n}", n + 1).text for n in range(12) if n != 4}
    MemoryStore.repair(filled.location, plan)
    fresh = MemoryStore.open(filled.location)
    assert fresh.verify() == []
    assert state_of(fresh) == {}


def test_texts_that_only_the_damaged_newest_commit_has_are_salvaged(filled: MemoryStore) -> None:
    change(filled, {"new": 70, "doc-2": 222})
    lose(filled, "passages/codes")
    plan = MemoryStore.plan_repair(filled.location)
    texts = {document.id: document.text for document in MemoryStore.salvaged_texts(filled.location, plan)}
    assert plan.reencodable == len(texts)
    assert texts["new"] == make_record("new", 70).text
    assert texts["doc-2"] == make_record("doc-2", 222).text
    if plan.action == "restore":
        assert set(texts) == {"new", "doc-2"}


def test_the_command_asks_with_every_number_and_encodes_again_what_it_is_told_to(
    filled: MemoryStore, mbc: RunMbc, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_history(filled)
    lose(filled, "passages/codes")
    place = str(filled.location)
    asked: list[str] = []
    monkeypatch.setattr("mbc_cli.cli.output.confirm", lambda question, yes: asked.append(question))
    encoded: dict[str, Any] = {}

    class Encoder:
        @classmethod
        def open(cls, store: str, adapter: str | None, device: str) -> Encoder:
            assert len(kept(place)) == 12, "the texts are safe before the repair and while it encodes"
            return cls()

        def encode(self, documents: Any) -> Any:
            encoded.update({document.id: document.text for document in documents})
            return type("Report", (), {"added": len(encoded), "replaced": 0})

    monkeypatch.setattr("mbc_cli.memory.Memory", Encoder)
    planned = mbc("memory", "repair", "--dry-run", "--json", "--store", place)
    assert json.loads(planned.out)["reencodable"] == 12
    assert {"returning", "forgotten_again", "reverted", "lost_documents"} <= json.loads(planned.out).keys()
    done = mbc("memory", "repair", "--reencode", "--json", "--store", place)
    assert (done.code, json.loads(done.out)["reencoded"]) == (0, 12)
    assert "keep 0 documents" in asked[0]
    assert "lose 12 documents" in asked[0]
    assert "12 of the lost are encoded again from their texts" in asked[0]
    assert encoded == {f"doc-{n}": make_record(f"doc-{n}", n + 1).text for n in range(12)}
    assert not Path(f"{place}.salvaged.jsonl").exists()


def kept(place: str) -> list[str]:
    return Path(f"{place}.salvaged.jsonl").read_text().splitlines()


def test_texts_that_could_not_be_encoded_again_stay_in_a_file_that_encode_reads(
    filled: MemoryStore, mbc: RunMbc
) -> None:
    without_history(filled)
    lose(filled, "passages/codes")
    place = str(filled.location)
    done = mbc(
        "memory", "repair", "--reencode", "--yes", "--store", place, "--adapter", f"{place}/no-adapter"
    )
    assert done.code != 0
    assert f"{place}.salvaged.jsonl" in done.err
    lines = [json.loads(line) for line in kept(place)]
    assert {line["id"]: line["text"] for line in lines} == {
        f"doc-{n}": make_record(f"doc-{n}", n + 1).text for n in range(12)
    }
    assert SMALL.keep_text
