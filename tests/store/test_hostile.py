"""A store may come from anybody: nothing leads out of it, and nothing in it takes memory by a mere claim."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import google_crc32c
import icechunk
import numpy as np
import pytest
import zarr
import zstandard
from mbc_store import MemoryStore, StoreError
from mbc_store.chunks import decode_chunk
from mbc_store.columns import Columns
from mbc_store.durable import prepare
from mbc_store.errors import DamagedChunk, StoreCorrupt, StoreUnsafe
from mbc_store.format import array_specs
from mbc_store.waiting import wait
from zarr.core.buffer import default_buffer_prototype

from tests.support.store import SMALL, make_records, state_of


@pytest.fixture
def filled(store: MemoryStore) -> MemoryStore:
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 9))
    return store


def root_of(store: MemoryStore) -> Path:
    assert store.location.path is not None
    return store.location.path


LINKS = [
    "icechunk",
    "icechunk/chunks",
    "icechunk/refs",
    "icechunk/refs/branch.main",
    "icechunk/refs/branch.main/ref.json",
    "icechunk/refs/branch.main/ref.json#1",
    "icechunk/snapshots/00000000000000000000",
    "locks",
    "locks/expiring",
    "locks/readers",
    "locks/writer.lock",
]


@pytest.mark.parametrize("place", LINKS)
def test_no_link_is_followed_and_what_it_names_stays_as_it_is(
    filled: MemoryStore, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine#1").write_text("mine")
    (outside / "letter").write_text("mine")
    link = root_of(filled) / place
    if link.is_dir() and not link.is_symlink():
        link.rename(tmp_path / "taken")
    link.unlink(missing_ok=True)
    link.symlink_to(outside if "." not in link.name or link.is_dir() else outside / "letter")
    attempts: list[Callable[[], Any]] = [
        lambda: MemoryStore.open(root_of(filled)),
        lambda: MemoryStore.exists(root_of(filled)),
        lambda: MemoryStore.create(root_of(filled), SMALL),
        lambda: MemoryStore.plan_repair(root_of(filled)),
    ]
    for attempt in attempts:
        with pytest.raises(StoreUnsafe, match="symbolic link"):
            attempt()
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"mine#1": "mine", "letter": "mine"}


def test_a_pipe_in_a_store_is_refused_before_anybody_reads_it(filled: MemoryStore) -> None:
    os.mkfifo(root_of(filled) / "icechunk" / "manifests" / "PIPE")
    with pytest.raises(StoreUnsafe, match="neither a file nor a folder"):
        MemoryStore.open(root_of(filled))


def test_a_store_reached_through_a_link_of_the_users_is_opened(filled: MemoryStore, tmp_path: Path) -> None:
    (tmp_path / "mine").symlink_to(root_of(filled))
    assert len(state_of(MemoryStore.open(tmp_path / "mine"))) == 9


def test_partial_files_are_new_and_their_names_cannot_be_guessed(tmp_path: Path) -> None:
    first, second = prepare(tmp_path / "ref.json", "1"), prepare(tmp_path / "ref.json", "2")
    assert first != second
    assert len(first.name) > 30
    assert first.name.partition("#")[2].isdigit()  # what Icechunk leaves out of its listings


STRAYS = [
    ".DS_Store",
    "icechunk/.DS_Store",
    "icechunk/refs/.DS_Store",
    "icechunk/refs/._branch.main",
    "icechunk/refs/branch.main/._ref.json",
    "icechunk/snapshots/._x",
    "icechunk/chunks/Thumbs.db",
    "locks/.DS_Store",
    "locks/readers/.DS_Store",
]


@pytest.mark.parametrize("stray", STRAYS)
def test_files_that_a_file_manager_leaves_do_no_harm(filled: MemoryStore, stray: str) -> None:
    filled.tag("kept")
    path = root_of(filled) / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("not the store's")
    with filled.transaction("forget") as transaction:
        transaction.forget(["doc-3"])
    assert [commit.operation for commit in filled.history()] == ["encode", "encode", "create"]
    assert filled.info().tags == filled.tags() != {}
    filled.tag("also")
    filled.gc(older_than=timedelta(0))
    assert filled.verify() == []
    assert MemoryStore.plan_repair(root_of(filled)).action == "none"
    filled.compact(purge=True)
    assert len(state_of(MemoryStore.open(root_of(filled)))) == 8
    files = [file.read_bytes() for file in root_of(filled).rglob("*") if file.is_file()]
    assert b"not the store's" in files


def forged(body: bytes) -> bytes:
    return body + google_crc32c.value(body).to_bytes(4, "little")


def bomb(claimed: int, content: bytes = b"") -> bytes:
    """A zstd frame whose header claims ``claimed`` bytes."""
    frame = bytearray(zstandard.ZstdCompressor().compress(content or b"\0" * 70_000))
    assert zstandard.get_frame_parameters(bytes(frame)).content_size == 70_000
    return b"\x28\xb5\x2f\xfd" + bytes([0b11100000]) + claimed.to_bytes(8, "little") + bytes(frame[9:])


@pytest.mark.parametrize("path", ["documents/id", "documents/text", "passages/alive"])
def test_a_chunk_that_claims_much_is_refused_by_its_claim(path: str) -> None:
    with pytest.raises(DamagedChunk, match="it claims 1,000,000,000,000 bytes"):
        decode_chunk(forged(bomb(10**12)), array_specs(SMALL)[path])


def test_a_count_of_texts_that_are_not_there_is_refused() -> None:
    spec = array_specs(SMALL)["documents/title"]
    for count in (0, 1, spec.rows_per_chunk + 1, 2**31):
        body = zstandard.compress(count.to_bytes(4, "little") + b"\0" * 4 * spec.rows_per_chunk)
        with pytest.raises(DamagedChunk, match="holds other than 4096 texts"):
            decode_chunk(forged(body), spec)


def put(store: MemoryStore, key: str, data: bytes) -> None:
    """Commit ``data`` under a storage key."""

    def change(session: icechunk.Session) -> dict[str, Any]:
        wait(session.store.set(key, default_buffer_prototype().buffer.from_bytes(data)))
        return {"operation": "tamper"}

    store.repository.commit("tamper", change)


def test_a_store_full_of_large_texts_is_listed_within_bounds(tmp_path: Path) -> None:
    """Many chunks, each as large as is allowed, in a process that may not take more than 1 GiB."""
    store = MemoryStore.create(tmp_path / "s", SMALL)
    with store.transaction("load") as transaction:
        transaction.upsert(make_records(0, 3))
    spec = array_specs(SMALL)["documents/title"]
    texts = [b"x" * (spec.text_bytes - 20 * spec.rows_per_chunk)] + [b""] * (spec.rows_per_chunk - 1)
    body = b"".join([len(texts).to_bytes(4, "little"), *(len(t).to_bytes(4, "little") + t for t in texts)])
    put(store, "documents/title/c/0", forged(zstandard.compress(body)))
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
from mbc_store import MemoryStore
with MemoryStore.open(sys.argv[1]).snapshot() as snapshot:
    print(len(snapshot.documents(limit=2)[0].title))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "s")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == len(texts[0])
    assert resource.getrlimit(resource.RLIMIT_DATA)[0] == resource.RLIM_INFINITY


def test_a_chunk_of_more_bytes_than_its_array_packs_is_not_read(filled: MemoryStore) -> None:
    put(filled, "passages/alive/c/0", b"\0" * 400_000)
    with filled.snapshot() as snapshot, pytest.raises(StoreCorrupt, match="chunk 0 of passages/alive claims"):
        snapshot.alive()


DEEP = "[" * 100_000
HEADERS: list[dict[str, Any]] = [
    {"config": SMALL.header() | change}
    for change in (
        {"fingerprint": ["x"]},
        {"fingerprint": 3},
        {"vector_width": "wide"},
        {"slots": 3.0},
        {"slots": True},
        {"slots": 10**7},
        {"codes": 2**40},
        {"levels": "2"},
        {"keep_text": "yes"},
        {"adapter": {"a": 1}},
        {"quantization_error": "small"},
        {"quantization_error": True},
    )
] + [
    {"config": ["slots"]},
    {"config": "3"},
    {"lengths": [1, 2, 3]},
    {"lengths": {"rows": 20.0, "documents": 9, "alive": 9}},
    {"lengths": {"rows": 20, "documents": 9, "alive": True}},
    {"lengths": {"rows": 20, "documents": 9, "alive": "9"}},
    {"index_runs": 3},
    {"index_runs": ["run-0-9"]},
    {"index_runs": [{"name": "../../x", "level": 0, "start": 0, "stop": 9}]},
    {"index_runs": [{"name": "run-0-9", "level": 0, "start": 0, "stop": 10**12}]},
    {"index_runs": [{"name": "run-0-9", "level": 0, "start": "0", "stop": 9}]},
    {"format": ["mbc-store"]},
]


@pytest.mark.parametrize("header", HEADERS, ids=lambda header: json.dumps(header)[:60])
def test_a_header_of_other_types_is_damage_told_in_one_line(
    filled: MemoryStore, header: dict[str, Any]
) -> None:
    def tamper(session: icechunk.Session) -> dict[str, Any]:
        zarr.open_group(session.store, mode="r+").update_attributes(header)
        return {"operation": "tamper"}

    filled.repository.commit("tamper", tamper)
    with pytest.raises(StoreCorrupt) as told:
        MemoryStore.open(filled.location)
    assert "\n" not in str(told.value)
    assert {problem.kind for problem in filled.verify()} == {"unreadable"}


@pytest.mark.parametrize("metadata", ["not JSON", "[1]", "3", "null", DEEP, '{"n": ' + "9" * 5000 + "}"])
def test_metadata_that_is_no_object_is_damage_told_in_one_line(filled: MemoryStore, metadata: str) -> None:
    def tamper(session: icechunk.Session) -> dict[str, Any]:
        columns = Columns(session, filled.location)
        columns.append_many([("documents/metadata", 0, np.array([metadata], object))])
        columns.flush()
        return {"operation": "tamper"}

    filled.repository.commit("tamper", tamper)
    with filled.snapshot() as snapshot:
        with pytest.raises(StoreCorrupt, match="not a JSON object"):
            snapshot.documents()
        with pytest.raises(StoreCorrupt, match="not a JSON object"):
            snapshot.matching_ids(where={"a": "b"})
    assert {problem.kind for problem in filled.verify()} == {"unreadable"}


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("passages/codes", np.full((1, 3, 2), 40)),
        ("passages/location", np.array([[0, 9, 3]])),
        ("passages/location", np.array([[0, -1, 3]])),
        ("documents/first_row", np.array([-1])),
        ("documents/first_row", np.array([2**60])),
        ("documents/timestamp", np.array([2**62])),
    ],
)
def test_values_that_nobody_writes_are_damage_and_never_another_error(
    filled: MemoryStore, path: str, values: np.ndarray
) -> None:
    def tamper(session: icechunk.Session) -> dict[str, Any]:
        columns = Columns(session, filled.location)
        columns.append_many([(path, 0, values)])
        columns.flush()
        return {"operation": "tamper"}

    filled.repository.commit("tamper", tamper)
    with filled.snapshot() as snapshot, pytest.raises(StoreCorrupt, match="values that nobody writes"):
        list(snapshot.iter_records())
    assert filled.verify() != []


@pytest.mark.parametrize("metadata", [{"counts": 3}, {"counts": {"added": "x"}}, {"counts": {"other": 1}}])
def test_a_commit_that_describes_itself_strangely_is_told_in_one_line(
    filled: MemoryStore, metadata: dict[str, Any]
) -> None:
    def tamper(session: icechunk.Session) -> dict[str, Any]:
        zarr.open_group(session.store, mode="r+").update_attributes({"more": 1})
        return {"operation": "tamper"} | metadata

    filled.repository.commit("tamper", tamper)
    with pytest.raises(StoreError, match="says of itself what no commit says"):
        filled.history()
