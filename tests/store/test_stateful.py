"""Any sequence of operations leaves a store equal to a plain dictionary."""

from __future__ import annotations

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from mbc_store import MemoryStore, StoreError
from mbc_store.codes import count_codes

from tests.support.store import SMALL, make_record, state_of

ids = st.sampled_from(["a", "b", "c", "dd", "é", "f/../g", "\u2028z", "h" * 300])
digests = st.integers(0, 2**64 - 1)


class StoreMachine(RuleBasedStateMachine):
    """The store under test, a dictionary, and remembered snapshots with the dictionary of their time."""

    snapshots = Bundle("snapshots")
    opened = Bundle("opened")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.exports = 0

    @initialize()
    def create(self) -> None:
        self.store = MemoryStore.create(self.folder / "store", SMALL)
        self.expected: dict[str, int] = {}

    @rule(upserts=st.lists(st.tuples(ids, digests), max_size=6), forgets=st.lists(ids, max_size=3))
    def change(self, upserts: list[tuple[str, int]], forgets: list[str]) -> None:
        with self.store.transaction("change") as transaction:
            transaction.upsert([make_record(i, d) for i, d in upserts])
            transaction.forget(forgets)
        final = dict(upserts) | dict.fromkeys(forgets)
        before = self.expected
        self.expected = {i: d for i, d in (before | final).items() if d is not None}
        counts = transaction.counts
        assert counts.added == len(self.expected.keys() - before.keys())
        assert counts.forgotten == len(before.keys() - self.expected.keys())
        assert counts.replaced == sum(before[i] != d for i, d in self.expected.items() if i in before)
        assert counts.unchanged == sum(before.get(i) == d for i, d in final.items() if d is not None)

    @rule(target=snapshots)
    def remember(self) -> tuple[str, dict[str, int]]:
        return self.store.history()[0].id, self.expected

    @rule(target=opened)
    def open_snapshot(self) -> tuple[object, dict[str, int]]:
        return self.store.snapshot(), self.expected

    @rule(view=consumes(opened))
    def an_open_snapshot_still_shows_its_time(self, view: tuple) -> None:
        snapshot, expected = view
        with snapshot:
            assert {r.id: r.digest for r in snapshot.iter_records()} == expected
            assert snapshot.digests(["a", "b", "zz"]) == {i: expected[i] for i in ("a", "b") if i in expected}

    @rule(moment=consumes(snapshots))
    def roll_back(self, moment: tuple[str, dict[str, int]]) -> None:
        snapshot_id, expected = moment
        try:
            self.store.rollback(snapshot_id)
        except StoreError:
            return  # collected since
        self.expected = expected

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @rule(hours=st.sampled_from([0, 1]))
    def collect(self, hours: int) -> None:
        self.store.gc(older_than=timedelta(hours=hours))

    @rule()
    def export_and_import(self) -> None:
        self.exports += 1
        target = self.folder / f"export-{self.exports}"
        self.store.export_to(target)
        other = MemoryStore.create(self.folder / f"import-{self.exports}", SMALL)
        other.import_from(target)
        assert state_of(other) == self.expected

    @rule()
    def reopen(self) -> None:
        self.store = MemoryStore.open(self.folder / "store", fingerprint="test")

    @invariant()
    def the_store_equals_the_dictionary(self) -> None:
        if not hasattr(self, "store"):
            return
        with self.store.snapshot() as snapshot:
            records = list(snapshot.iter_records())
            assert {r.id: r.digest for r in records} == self.expected
            assert snapshot.document_count == len(self.expected)
            codes = np.concatenate([r.codes for r in records]) if records else np.zeros((0, 3, 2), np.uint16)
            assert np.array_equal(snapshot.code_counts(), count_codes(codes, SMALL))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            assert state_of(self.store) == self.expected
        shutil.rmtree(self.folder)


TestStore = StoreMachine.TestCase
TestStore.settings = settings(
    max_examples=12,
    stateful_step_count=14,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
