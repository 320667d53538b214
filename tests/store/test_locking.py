"""Who waits is told for whom; readers wait for no writer; creators that start together all get the store."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mbc_store import MemoryStore
from mbc_store.errors import FingerprintMismatch, StoreExists, StoreInUse, StoreWarning
from mbc_store.locking import writer_lock

from tests.support.run_mbc import RunMbc
from tests.support.store import SMALL, make_record, make_records, state_of

HOLD = """
import sys
from pathlib import Path
from mbc_store.locking import writer_lock
with writer_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_writer(root: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the writer lock while the block runs, or until it reads a line."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with holder:
        try:
            yield holder
        finally:
            assert holder.stdin is not None
            holder.stdin.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/locks")
def test_who_waits_for_the_lock_is_told_who_holds_it(store: MemoryStore) -> None:
    root = store.location.path
    assert root is not None
    with (
        another_writer(root) as holder,
        pytest.warns(StoreWarning, match=f"waiting for process {holder.pid} .*writing to"),
        pytest.raises(StoreInUse, match=f"process {holder.pid}"),
        writer_lock(root, timeout=1.1),
    ):
        raise AssertionError("it is not free")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc/locks")
def test_a_command_that_waits_says_so_and_then_does_its_work(
    store: MemoryStore, mbc: RunMbc, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 3))
    root = store.location.path
    assert root is not None
    with another_writer(root) as holder:
        told = []

        def end_it(held: Path) -> str:
            told.append(held.name)
            assert holder.stdin is not None
            holder.stdin.close()
            return f"process {holder.pid}"

        monkeypatch.setattr("mbc_store.locking._holder", end_it)
        done = mbc("memory", "forget", "doc-1", "--yes", "--store", root)
    assert (done.code, told) == (0, ["writer.lock"])
    assert f"warning: waiting for process {holder.pid}" in done.err
    assert sorted(state_of(MemoryStore.open(root))) == ["doc-0", "doc-2"]


def test_readers_of_any_snapshot_wait_for_no_writer(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 3))
    store.tag("three")
    with store.transaction("more") as transaction:
        transaction.upsert([make_record("x", 9)])
    root = store.location.path
    assert root is not None

    def waits(path: Path) -> str:
        raise AssertionError(f"a reader waits for {path}")

    monkeypatch.setattr("mbc_store.locking._holder", waits)
    with another_writer(root):
        assert len(state_of(MemoryStore.open(root))) == 4
        for at in ("three", store.history()[1].id):
            with MemoryStore.open(root, at=at).snapshot() as snapshot:
                assert snapshot.document_count == 3
        assert MemoryStore.open(root).diff("three").added == ("x",)


CREATE = """
import sys
from mbc_store import MemoryStore
from tests.support.store import SMALL, make_record
sys.stdin.readline()
store = MemoryStore.open_or_create(sys.argv[1], SMALL)
with store.transaction("load") as transaction:
    transaction.upsert([make_record(sys.argv[2], int(sys.argv[2]))])
"""


def test_processes_that_start_together_on_a_store_that_is_not_there_yet_all_succeed(tmp_path: Path) -> None:
    root = tmp_path / "new"
    workers = [
        subprocess.Popen([sys.executable, "-c", CREATE, str(root), str(n)], stdin=subprocess.PIPE, text=True)
        for n in range(1, 5)
    ]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()
    assert [worker.wait() for worker in workers] == [0] * 4
    assert state_of(MemoryStore.open(root)) == {str(n): n for n in range(1, 5)}


def test_open_or_create_refuses_what_is_no_store_and_what_another_adapter_made(
    store: MemoryStore, tmp_path: Path
) -> None:
    (tmp_path / "letter").write_text("dear")
    with pytest.raises(StoreExists, match="is not empty and not a store"):
        MemoryStore.open_or_create(tmp_path, SMALL)
    root = store.location.path
    assert root is not None
    assert MemoryStore.open_or_create(root, SMALL).config == SMALL
    other = type(SMALL)(slots=3, num_quantizers=2, codebook_size=32, fingerprint="other")
    with pytest.raises(FingerprintMismatch):
        MemoryStore.open_or_create(root, other)
