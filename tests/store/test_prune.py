"""A history is thinned out: what stays can be read as before, what goes frees its space."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mbc_store import MemoryStore
from mbc_store.errors import StoreCorrupt, StoreError
from mbc_store.expiry import chosen
from mbc_store.icechunk_files import SnapshotFile, snapshots
from mbc_store.records import Commit, Counts

from tests.cli.conftest import mbc
from tests.support.run_mbc import RunMbc
from tests.support.store.operations import SMALL, make_records, state_of

__all__ = ["mbc"]

DAYS = (0, 0, 1, 3, 3, 3, 4)  # of seven commits, oldest first
Grow = Callable[[], MemoryStore]


@pytest.fixture
def store(tmp_path: Path) -> MemoryStore:
    """A creation and seven commits of three documents each, dated over the days since 2026-03-02."""
    made = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    for n in range(len(DAYS)):
        with made.transaction() as transaction:
            transaction.upsert(make_records(3 * n, 3))
    ids = [commit.id for commit in reversed(made.history())]
    for n, (identifier, day) in enumerate(zip(ids, (0, *DAYS), strict=True)):
        file = SnapshotFile(snapshots(tmp_path / "s.mbc") / identifier)
        file.stamp(datetime(2026, 3, 2, 6, tzinfo=UTC) + timedelta(days=day, minutes=n))
        file.write()
    return MemoryStore.open(tmp_path / "s.mbc")


def documents(store: MemoryStore) -> list[int]:
    """How many each commit holds, oldest first."""
    return [commit.documents for commit in reversed(store.history())]


@pytest.mark.parametrize(
    ("last", "daily", "left"),
    [
        (3, 0, [15, 18, 21]),
        (0, 2, [18, 21]),
        (0, 3, [9, 18, 21]),
        (2, 4, [6, 9, 18, 21]),
        (1, 0, [21]),
        (99, 0, [0, 3, 6, 9, 12, 15, 18, 21]),
    ],
)
def test_the_last_commits_and_the_newest_of_the_last_days_stay_and_can_be_read(
    store: MemoryStore, last: int, daily: int, left: list[int]
) -> None:
    before = state_of(store)
    gone = {commit.id for commit in store.pruned(keep_last=last, keep_daily=daily)}
    done = store.prune(keep_last=last, keep_daily=daily)
    assert done.commits_expired == len(gone) == 8 - len(left)
    again = MemoryStore.open(store.location)
    assert documents(again) == left
    assert not gone & {commit.id for commit in again.history()}
    assert state_of(again) == before
    for commit in again.history():
        with again.snapshot(commit.id) as snapshot:
            assert snapshot.document_count == commit.documents
            assert sum(1 for _ in snapshot.iter_records()) == commit.documents
    assert not any((snapshots(store.location.repository_path.parent) / each).exists() for each in gone)


def test_tags_stay_wherever_they_are_and_what_only_they_led_to_goes(store: MemoryStore) -> None:
    history = store.history()
    store.tag("early", history[5].id)
    store.rollback(history[3].id)
    aside = store.tags()
    store.prune(keep_last=1)
    again = MemoryStore.open(store.location)
    assert again.tags() == aside
    assert documents(again) == [6, 12]
    for name, count in (("early", 6), (next(tag for tag in aside if tag != "early"), 21)):
        with again.snapshot(name) as snapshot:
            assert sum(1 for _ in snapshot.iter_records()) == count
    assert again.verify() == []


def test_readers_are_not_disturbed_and_writing_goes_on(store: MemoryStore) -> None:
    old = store.history()[4]
    with store.snapshot(old.id) as reader:
        store.prune(keep_last=2)
        assert sum(1 for _ in reader.iter_records()) == old.documents
    with store.transaction() as transaction:
        transaction.upsert(make_records(90, 2))
    assert documents(store) == [18, 21, 23]
    assert store.gc(older_than=timedelta(0)).commits_expired == 2
    assert store.verify() == []


def test_a_second_time_nothing_is_left_to_go(store: MemoryStore) -> None:
    store.prune(keep_last=2, keep_daily=3)
    assert store.pruned(keep_last=2, keep_daily=3) == []
    assert store.prune(keep_last=2, keep_daily=3).commits_expired == 0


def test_a_damaged_history_is_not_thinned_out(store: MemoryStore) -> None:
    lost = store.history()[3].id
    (snapshots(store.location.repository_path.parent) / lost).unlink()
    with pytest.raises(StoreCorrupt):
        MemoryStore.open(store.location).prune(keep_last=2)


@pytest.mark.parametrize(("last", "daily"), [(0, 0), (-1, 3), (3, -1)])
def test_numbers_that_keep_nothing_are_refused(store: MemoryStore, last: int, daily: int) -> None:
    with pytest.raises(StoreError, match="keep_last"):
        store.prune(keep_last=last, keep_daily=daily)


def test_days_are_those_of_utc_and_only_days_with_commits_count() -> None:
    times = [
        "2026-05-09T00:30+02:00",
        "2026-05-08T12:00+00:00",
        "2026-05-01T23:59-05:00",
        "2026-04-30T08:00Z",
    ]
    commits = [
        Commit(str(n), datetime.fromisoformat(time).astimezone(UTC), "m", "encode", Counts(), n, n, None, ())
        for n, time in enumerate(times)
    ]
    assert [commit.id for commit in chosen(commits, 0, 2)] == ["0", "2"]
    assert [commit.id for commit in chosen(commits, 2, 3)] == ["0", "1", "2", "3"]


def test_the_command_says_what_would_go_asks_and_does_it(mbc: RunMbc, store: MemoryStore) -> None:
    where = ("--store", str(store.location))
    planned = json.loads(mbc("memory", "prune", "--keep-daily", "2", "--dry-run", "--json", *where).out)
    assert (planned["commits_expiring"], len(planned["snapshots"])) == (6, 6)
    assert mbc("memory", "prune", "--keep-daily", "2", *where).code == 2  # no terminal to ask on
    assert mbc("memory", "prune", "--yes", *where).code == 2  # nothing says what is kept
    assert len(store.history()) == 8
    done = json.loads(mbc("memory", "prune", "--keep-daily", "2", "--yes", "--json", *where).out)
    assert done["commits_expired"] == 6
    assert documents(MemoryStore.open(store.location)) == [18, 21]
