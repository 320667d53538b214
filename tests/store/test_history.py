"""Reading the past, naming it, comparing it and going back to it."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest
from mbc_store import MemoryStore, StoreError
from mbc_store.errors import StoreNotFound, StoreWarning
from mbc_store.icechunk_files import write_reference

from tests.support.store import make_record, make_records, state_of


@pytest.fixture
def growing(store: MemoryStore) -> MemoryStore:
    """Three commits after the creation: a, then b, then a replaced and b forgotten."""
    for changes in ([("a", 1)], [("b", 2)], [("a", 3), ("b", None)]):
        with store.transaction(f"change {changes[0][0]}") as transaction:
            for identifier, seed in changes:
                if seed is None:
                    transaction.forget([identifier])
                else:
                    transaction.upsert([make_record(identifier, seed, quantization_error=seed / 10)])
        time.sleep(0.002)
    return store


def test_history_tells_what_each_commit_did(growing: MemoryStore) -> None:
    commits = growing.history()
    assert [c.operation for c in commits] == ["encode", "encode", "encode", "create"]
    assert [(c.counts.added, c.counts.replaced, c.counts.forgotten) for c in commits[:3]] == [
        (0, 1, 1),
        (1, 0, 0),
        (1, 0, 0),
    ]
    assert [c.documents for c in commits] == [1, 2, 1, 0]
    assert [c.quantization_error for c in commits] == pytest.approx([0.3, 0.2, 0.1, None])
    assert commits == sorted(commits, key=lambda c: c.time, reverse=True)


def test_the_mean_error_weighs_passages(store: MemoryStore) -> None:
    with store.transaction("two") as transaction:
        transaction.upsert([make_record("a", 1, passages=3, quantization_error=0.1)])
        transaction.upsert([make_record("b", 2, passages=1, quantization_error=0.5), make_record("c", 3)])
    assert store.history()[0].quantization_error == pytest.approx((3 * 0.1 + 0.5) / 4)


def test_every_way_of_naming_a_moment_reads_the_same(growing: MemoryStore) -> None:
    commit = growing.history()[1]
    growing.tag("v1", commit.id)
    naive = commit.time.replace(tzinfo=None)
    for at in ("v1", commit.id, commit.id[:8], commit.time, commit.time.isoformat(), naive.isoformat()):
        assert state_of(MemoryStore.open(growing.location, at=at)) == {"a": 1, "b": 2}, at
        with growing.snapshot(at=at) as snapshot:
            assert snapshot.id == commit.id
    assert state_of(growing) == {"a": 3}


def test_a_moment_that_is_not_there_is_named(growing: MemoryStore) -> None:
    with pytest.raises(StoreNotFound, match="no tag or snapshot 'v9'"):
        growing.snapshot(at="v9")
    with pytest.raises(StoreNotFound, match="its history begins"):
        growing.snapshot(at=datetime(2001, 1, 1, tzinfo=UTC))
    with growing.snapshot(at=datetime.now(UTC) + timedelta(days=1)) as snapshot:
        assert snapshot.id == growing.history()[0].id


def test_tags_are_listed_deleted_and_checked(growing: MemoryStore) -> None:
    head = growing.history()[0].id
    assert growing.tag("release-1.0") == head
    assert growing.tags() == {"release-1.0": head}
    assert growing.history()[0].tags == ("release-1.0",)
    for name in ("release-1.0", "../x", "", "a/b", ".hidden", "x" * 101):
        with pytest.raises(StoreError, match="tag"):
            growing.tag(name)
    growing.delete_tag("release-1.0")
    assert growing.tags() == {}
    with pytest.raises(StoreNotFound):
        growing.delete_tag("release-1.0")
    with pytest.raises(StoreError, match="used before"):
        growing.tag("release-1.0")


def test_diff_names_added_removed_and_changed(growing: MemoryStore) -> None:
    create, first, second, third = (c.id for c in reversed(growing.history()))
    difference = growing.diff(second, third)
    assert (difference.added, difference.removed, difference.changed) == ((), ("b",), ("a",))
    difference = growing.diff(create)
    assert (difference.added, difference.removed, difference.changed) == (("a",), (), ())
    difference = growing.diff(third, first)
    assert (difference.added, difference.removed, difference.changed) == ((), (), ("a",))


def test_diff_sees_through_compaction(store: MemoryStore) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 20))
    before = store.history()[0].id
    with store.transaction("change") as transaction:
        transaction.forget(["doc-3"])
        transaction.upsert([make_record("doc-7", 70), make_record("new", 5)])
    store.compact()
    difference = store.diff(before)
    assert (difference.added, difference.removed, difference.changed) == (("new",), ("doc-3",), ("doc-7",))


def test_rollback_goes_back_and_can_be_undone(growing: MemoryStore) -> None:
    second = growing.history()[1].id
    rollback = growing.rollback(second)
    assert rollback.undone == 1
    assert state_of(growing) == {"a": 1, "b": 2}
    assert growing.history()[0].id == second
    with growing.transaction("after") as transaction:
        transaction.upsert([make_record("c", 4)])
    assert state_of(growing) == {"a": 1, "b": 2, "c": 4}
    assert rollback.tag is not None
    growing.rollback(rollback.tag)
    assert state_of(growing) == {"a": 3}


def test_rolling_back_to_the_present_changes_nothing(growing: MemoryStore) -> None:
    before = growing.history()
    assert growing.rollback(before[0].id).tag is None
    assert growing.history() == before


@pytest.mark.parametrize(
    "name", ["2020-01-01", "20200101", "2020-W05", "2020", "2020-05", "0123456789ABCDEFGHJK"]
)
def test_a_tag_cannot_look_like_a_date_or_a_snapshot(store: MemoryStore, name: str) -> None:
    with pytest.raises(StoreError, match="would be taken for a snapshot or a date"):
        store.tag(name)
    assert store.tags() == {}


@pytest.mark.parametrize("name", ["1.0", "v2", "on-2020-01-01", "release-2020", "before_cleanup", "BACKUP"])
def test_a_tag_may_hold_digits_and_dates_beside_words(store: MemoryStore, name: str) -> None:
    store.tag(name)
    assert list(store.tags()) == [name]


def test_a_tag_that_looks_like_a_date_and_is_there_is_taken_with_a_word_about_it(store: MemoryStore) -> None:
    first = store.history()[0].id
    with store.transaction("load") as transaction:
        transaction.upsert([make_record("a", 1)])
    write_reference(store.location.repository_path, "tag.2020-01-01", first)
    with pytest.warns(StoreWarning, match="2020-01-01 is a tag"):
        assert MemoryStore.open(store.location, at="2020-01-01").snapshot().id == first
    with pytest.raises(StoreNotFound, match="held nothing at 2020-01-01T00:00:00"):
        MemoryStore.open(store.location, at="2020-01-01T00:00Z")
