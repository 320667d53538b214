"""History that is damaged costs itself only; what needs it not goes on, and repair cuts it off."""

from __future__ import annotations

import errno
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from mbc_store import MemoryStore
from mbc_store.errors import StoreWarning
from mbc_store.icechunk_files import FIRST_SNAPSHOT, SnapshotFile

from tests.support.store import make_record, make_records, state_of


@pytest.fixture
def grown(store: MemoryStore) -> MemoryStore:
    """Five commits after the creation; 15 documents, of which the last commit forgets one."""
    for first in (0, 4, 8, 12):
        with store.transaction("load") as transaction:
            transaction.upsert(make_records(first, 4))
    with store.transaction("forget") as transaction:
        transaction.forget(["doc-1"])
    return store


def folder(store: MemoryStore) -> Path:
    return store.location.repository_path


def lose_snapshot(store: MemoryStore, snapshot_id: str) -> None:
    (folder(store) / "snapshots" / snapshot_id).unlink()


def empty_snapshot(store: MemoryStore, snapshot_id: str) -> None:
    (folder(store) / "snapshots" / snapshot_id).write_bytes(b"")


def lose_manifests(store: MemoryStore, snapshot_id: str) -> None:
    """Those that only this commit needs, and maybe earlier ones."""
    later = [commit.id for commit in store.history()]
    later = later[: later.index(snapshot_id)]
    look_up = store.repository.icechunk.lookup_snapshot
    needed = {manifest.id for other in later for manifest in look_up(other).manifests}
    for manifest in look_up(snapshot_id).manifests:
        if manifest.id not in needed:
            (folder(store) / "manifests" / manifest.id).unlink()


def damage_manifests(store: MemoryStore, snapshot_id: str) -> None:
    """Of the right size, with other contents."""
    before = {path: path.read_bytes() for path in (folder(store) / "manifests").iterdir()}
    lose_manifests(store, snapshot_id)
    for path, content in before.items():
        if not path.exists():
            path.write_bytes(b"\0" * len(content))


Damage = Callable[[MemoryStore, str], None]
DAMAGES = [lose_snapshot, empty_snapshot, lose_manifests, damage_manifests]


def damaged(store: MemoryStore, damage: Damage) -> MemoryStore:
    damage(store, store.history()[2].id)
    return MemoryStore.open(store.location)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_in_the_history_is_named_and_repair_cuts_it_off(grown: MemoryStore, damage: Damage) -> None:
    kept = [commit.id for commit in grown.history()[:2]]
    lost = grown.history()[2].id
    store = damaged(grown, damage)
    (problem,) = store.verify()
    assert problem.kind == "history"
    assert lost in problem.message
    assert kept[1] in problem.message
    plan = MemoryStore.plan_repair(store.location)
    assert (plan.action, plan.documents, plan.lost_documents) == ("cut", 15, 0)
    MemoryStore.repair(store.location, plan)
    repaired = MemoryStore.open(store.location)
    assert [commit.id for commit in repaired.history()] == kept
    assert len(state_of(repaired)) == 15
    assert MemoryStore.plan_repair(store.location).action == "none"
    repaired.gc(older_than=timedelta(0))
    assert len(state_of(MemoryStore.open(store.location))) == 15


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore::mbc_store.StoreWarning")
def test_what_does_not_need_the_history_works_meanwhile(grown: MemoryStore, damage: Damage) -> None:
    head_time = grown.history()[0].time
    store = damaged(grown, damage)
    assert store.info().documents == 15
    assert len(store.history()) >= 2
    assert MemoryStore.open(store.location, at=head_time.isoformat()).snapshot().document_count == 15
    with store.transaction("more") as transaction:
        transaction.upsert([make_record("more", 99)])
        transaction.forget(["doc-2"])
    store.tag("now")
    store.compact()
    assert {problem.kind for problem in store.verify()} == {"history"}
    store.gc()
    assert len(state_of(MemoryStore.open(store.location))) == 15


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.filterwarnings("ignore::mbc_store.StoreWarning")
def test_a_damaged_history_can_be_purged(grown: MemoryStore, damage: Damage) -> None:
    store = damaged(grown, damage)
    store.compact(purge=True)
    store = MemoryStore.open(store.location)
    assert len(store.history()) == 1
    assert len(state_of(store)) == 15
    assert not any(b"doc-1\0" in path.read_bytes() for path in folder(store).rglob("*") if path.is_file())


def test_history_that_is_cut_short_by_damage_is_shown_with_a_word_about_it(grown: MemoryStore) -> None:
    ids = [commit.id for commit in grown.history()]
    store = damaged(grown, lose_snapshot)
    with pytest.warns(StoreWarning, match=rf"before {ids[1]} cannot be read.*repair"):
        assert [commit.id for commit in store.history()] == ids[:2]


def test_a_tag_of_a_damaged_commit_goes_with_it_and_others_stay(grown: MemoryStore) -> None:
    ids = [commit.id for commit in grown.history()]
    grown.tag("lost", ids[2])
    grown.tag("below", ids[3])
    store = damaged(grown, lose_snapshot)
    MemoryStore.repair(store.location, MemoryStore.plan_repair(store.location))
    repaired = MemoryStore.open(store.location)
    assert repaired.tags() == {"below": ids[3]}
    with MemoryStore.open(store.location, at="below").snapshot() as snapshot:
        assert snapshot.document_count == 8
    assert repaired.verify() == []


@pytest.mark.parametrize("content", [None, b"", b"ICE\xf0\x9f\xa7\x8aCHUNK" + b"\0" * 60])
def test_the_first_snapshot_of_all_is_put_back(grown: MemoryStore, content: bytes | None) -> None:
    path = folder(grown) / "snapshots" / FIRST_SNAPSHOT
    path.unlink() if content is None else path.write_bytes(content)
    store = MemoryStore.open(grown.location)
    assert [problem.kind for problem in store.verify()] == ["history"]
    MemoryStore.repair(store.location, MemoryStore.plan_repair(store.location))
    store = MemoryStore.open(grown.location)
    assert store.verify() == []
    assert len(store.history()) == 6
    store.compact(purge=True)
    assert len(state_of(MemoryStore.open(grown.location))) == 15


def test_history_that_runs_in_a_circle_is_damage(grown: MemoryStore) -> None:
    ids = [commit.id for commit in grown.history()]
    file = SnapshotFile(folder(grown) / "snapshots" / ids[3])
    file.follow(ids[1])
    file.write()
    store = MemoryStore.open(grown.location)
    assert [problem.kind for problem in store.verify()] == ["history"]
    MemoryStore.repair(store.location, MemoryStore.plan_repair(store.location))
    assert MemoryStore.open(grown.location).verify() == []


def test_on_a_full_disk_garbage_goes_first_to_make_room_for_letting_history_go(
    grown: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    garbage = folder(grown) / "chunks" / "0123456789ABCDEFGHJ0"
    garbage.parent.mkdir(exist_ok=True)
    garbage.write_bytes(b"of a commit that failed")
    write = SnapshotFile.write

    def write_if_there_is_room(file: SnapshotFile, path: Path | None = None) -> None:
        if garbage.exists():
            raise OSError(errno.ENOSPC, "no space left on device")
        write(file, path)

    monkeypatch.setattr(SnapshotFile, "write", write_if_there_is_room)
    collected = grown.gc(older_than=timedelta(0))
    assert collected.commits_expired == 5
    assert collected.objects_deleted > 1
    assert len(state_of(MemoryStore.open(grown.location))) == 15


def test_letting_history_go_keeps_the_newest_and_tagged_commits_at_every_moment(
    grown: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file that expiry replaces is one step; between any two the store is whole."""
    ids = [commit.id for commit in grown.history()]
    grown.tag("old", ids[4])
    grown.tag("middle", ids[2])
    states: list[int] = []
    write = SnapshotFile.write

    def write_and_look(file: SnapshotFile, path: Path | None = None) -> None:
        write(file, path)
        states.append(len(state_of(MemoryStore.open(grown.location))))

    monkeypatch.setattr(SnapshotFile, "write", write_and_look)
    assert grown.gc(older_than=timedelta(0)).commits_expired == 3
    assert states == [15] * len(states) != []
    store = MemoryStore.open(grown.location)
    assert store.tags() == {"middle": ids[2], "old": ids[4]}
    assert [commit.id for commit in store.history()] == ids[:1]
    for tag, count in (("middle", 12), ("old", 4)):
        assert len(state_of(MemoryStore.open(grown.location, at=tag))) == count
