"""A clock that goes back, stands still or is off stops no writer, and is never called damage."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import icechunk
import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.errors import StoreWarning
from mbc_store.icechunk_files import SnapshotFile

from tests.support.run_mbc import RunMbc
from tests.support.store import make_record, make_records, state_of


def set_back(store: MemoryStore, seconds: int) -> datetime:
    """Make the newest commit one of the future, as if the clock had been set back since."""
    moment = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=seconds)
    file = SnapshotFile(store.location.repository_path / "snapshots" / store.history()[0].id)
    file.stamp(moment)
    file.write()
    return moment


@pytest.fixture
def ahead(store: MemoryStore) -> MemoryStore:
    """Its newest commit is an hour ahead."""
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 5))
    set_back(store, 3600)
    return MemoryStore.open(store.location)


@pytest.mark.filterwarnings("ignore::mbc_store.StoreWarning")
def test_commits_go_on_right_after_the_newest_one(ahead: MemoryStore) -> None:
    moment = ahead.history()[0].time
    for number in range(3):
        with ahead.transaction("more") as transaction:
            transaction.upsert([make_record(f"more-{number}", 100 + number)])
    times = [commit.time for commit in ahead.history()]
    assert times[:4] == [moment + timedelta(microseconds=n) for n in (3, 2, 1, 0)]
    assert len(state_of(MemoryStore.open(ahead.location))) == 8
    assert len({commit.id for commit in ahead.history()}) == 5
    ids = [commit.id for commit in ahead.history()]
    look_up = MemoryStore.open(ahead.location).repository.icechunk.lookup_snapshot
    assert [look_up(one).parent_id for one in ids[:-1]] == ids[1:]
    assert ahead.repository.branches() == {"main"}


@pytest.mark.filterwarnings("ignore::mbc_store.StoreWarning")
def test_everything_that_writes_works_while_the_clock_is_behind(ahead: MemoryStore) -> None:
    with ahead.transaction("forget") as transaction:
        transaction.forget(["doc-1"])
    ahead.tag("kept")
    ahead.compact()
    ahead.gc(older_than=timedelta(0))
    before = ahead.history()[0].id
    with ahead.transaction("more") as transaction:
        transaction.upsert([make_record("more", 99)])
    ahead.rollback(before)
    assert sorted(state_of(MemoryStore.open(ahead.location))) == ["doc-0", "doc-2", "doc-3", "doc-4"]
    ahead.compact(purge=True)
    assert len(ahead.history()) == 1
    assert not any(
        b"doc-1" in p.read_bytes() for p in ahead.location.repository_path.rglob("*") if p.is_file()
    )
    assert MemoryStore.plan_repair(ahead.location).action == "none"


def test_that_the_clock_is_behind_is_said_once(ahead: MemoryStore) -> None:
    def write() -> None:
        for number in range(3):
            with ahead.transaction("more") as transaction:
                transaction.upsert([make_record(f"more-{number}", 100 + number)])

    with pytest.warns(StoreWarning) as told:
        write()
    assert len(told) == 1
    assert "the clock is 3" in str(told[0].message)


def test_the_command_line_shows_it_and_does_its_work(ahead: MemoryStore, mbc: RunMbc) -> None:
    done = mbc("memory", "forget", "doc-1", "--yes", "--store", str(ahead.location))
    assert done.code == 0
    assert done.err.count("warning: the clock is") == 1
    assert "damaged" not in done.err


def test_when_the_clock_has_caught_up_commits_have_its_time_again(
    store: MemoryStore, recwarn: pytest.WarningsRecorder
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 2))
    set_back(store, -5)
    store = MemoryStore.open(store.location)
    with store.transaction("more") as transaction:
        transaction.upsert([make_record("more", 9)])
    assert abs((store.history()[0].time - datetime.now(UTC)).total_seconds()) < 60
    assert not recwarn


def test_a_commit_whose_time_differs_from_that_of_the_disk_is_kept_and_told(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Icechunk writes the snapshot, and then refuses it for the time of its file."""
    flush = icechunk.Session.flush

    def refuse(session: icechunk.Session, message: str, metadata: dict[str, Any]) -> str:
        flush(session, message, metadata)
        raise icechunk.IcechunkError(
            "snapshot timestamp is invalid, please verify if the machine clock has drifted"
        )

    monkeypatch.setattr(icechunk.Session, "flush", refuse)
    with (
        pytest.warns(StoreWarning, match="differs by more than 10 minutes"),
        store.transaction("load") as change,
    ):
        change.upsert(make_records(0, 3))
    assert len(state_of(MemoryStore.open(store.location))) == 3
    assert store.history()[0].message == "load"


def test_what_the_clock_did_to_a_remote_store_is_no_damage() -> None:
    from mbc_store.errors import translated

    with pytest.raises(StoreError) as told, translated("s3://bucket/store"):
        raise icechunk.IcechunkError("invalid snapshot timestamp ordering. parent: `2026`, child: `2025`")
    assert told.value.kind == "store-clock"
