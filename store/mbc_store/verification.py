"""Checking everything a store promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import icechunk
import numpy as np
from zarr.core.buffer import default_buffer_prototype

from mbc_store.codes import count_codes
from mbc_store.columns import Columns
from mbc_store.compaction import read_blocks
from mbc_store.errors import StoreCorrupt, StoreError, translated
from mbc_store.expiry import lines
from mbc_store.format import ArraySpec, capacity, codec_names
from mbc_store.id_index import IdIndex
from mbc_store.posting_lists import differing_runs
from mbc_store.records import decode_metadata
from mbc_store.repository import BRANCH, Repository
from mbc_store.waiting import wait

Kind = Literal["unreadable", "counts", "index", "duplicate", "layout", "history"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be; ``kind`` decides what repairs it."""

    kind: Kind
    message: str


def check_snapshot(session: icechunk.Session, location: object) -> list[Problem]:
    """Read everything a snapshot holds and compare it with what it should be. Empty if all is well.

    Memory: one block of documents, and eight bytes per document.
    """
    try:
        with translated(location):
            columns = Columns(session, location)
            problems = [*_layout(session, columns)]
            if not problems:
                problems += _contents(columns, location)
            return problems
    except StoreError as error:
        return [Problem("unreadable", error.message)]


def check_history(repository: Repository) -> list[Problem]:
    """Which commits before the newest one cannot be read; of those that can, what lists their contents is
    read, not all of it."""
    found: dict[str, Problem] = {}
    for line in lines(repository, deep=True):
        if line.damage is None or (not line.snapshots and line.reference == f"branch.{BRANCH}"):
            continue
        name = line.reference.partition(".")[2]
        place = f"history ends at {line.snapshots[-1].id}" if line.snapshots else f"the tag {name} is lost"
        problem = Problem("history", f"commit {line.damage} cannot be read: {place}")
        found.setdefault(line.damage, problem)
    return list(found.values())


def _layout(session: icechunk.Session, columns: Columns) -> Iterator[Problem]:
    """Array metadata as the format says, and every chunk that must be there present."""
    lengths = columns.lengths
    if not 0 <= lengths.alive <= lengths.documents <= lengths.rows:
        yield Problem("layout", f"impossible lengths in the header: {lengths}")
        return
    store = session.store

    async def listing() -> tuple[set[str], dict[str, bytes | None]]:
        keys = {key async for key in store.list_prefix("")}
        found = await asyncio.gather(
            *(store.get(f"{p}/zarr.json", default_buffer_prototype()) for p in columns.specs)
        )
        return keys, {
            p: None if b is None else b.to_bytes() for p, b in zip(columns.specs, found, strict=True)
        }

    keys, metadata = wait(listing())
    for path, spec in columns.specs.items():
        rows = columns.config.counts_shape[0]
        if path in columns.growing:
            rows = capacity(columns.rows_of(path))
        if not _metadata_fits(metadata[path], rows, spec):
            yield Problem("layout", f"the metadata of array {path} is missing or not that of the format")
    for path, spec in columns.growing.items():
        if spec.optional:
            continue
        for index in range(-(-columns.rows_of(path) // spec.rows_per_chunk)):
            if f"{path}/c/{index}" + "/0" * len(spec.tail) not in keys:
                yield Problem("unreadable", f"chunk {index} of {path} is missing, and maybe later ones")
                break


def _metadata_fits(data: bytes | None, rows: int, spec: ArraySpec) -> bool:
    try:
        metadata = json.loads(data or b"")
        names = [codec["name"] for codec in metadata["codecs"]]
        chunks = metadata["chunk_grid"]["configuration"]["chunk_shape"]
        dtype = {"str": "string"}.get(spec.dtype, spec.dtype)
        orders = [c["configuration"]["order"] for c in metadata["codecs"] if c["name"] == "transpose"]
        return (
            metadata["shape"] == [rows, *spec.tail]
            and chunks == [spec.rows_per_chunk, *spec.tail]
            and metadata["data_type"] == dtype
            and names == codec_names(spec)
            and orders == ([list(spec.stored_axes)] if spec.by_column else [])
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _contents(columns: Columns, location: object) -> Iterator[Problem]:
    totals = np.zeros(columns.config.counts_shape, dtype=np.int64)
    alive = 0
    index = IdIndex(columns)
    hashes = []
    for block in read_blocks(columns):
        ids = block.columns["documents/id"].tolist()
        alive += len(ids)
        if "" in ids:
            yield Problem("layout", f"{ids.count('')} documents have an empty id")
        found = index.find(ids)
        missing = [identifier for identifier in ids if identifier not in found]
        if missing:
            yield Problem("index", f"the index misses {len(missing)} documents, for example {missing[0]!r}")
        hashes.append(np.array([hash(identifier) for identifier in ids], dtype=np.int64))
        totals += count_codes(block.columns["passages/codes"], columns.config)
        for text in block.columns["documents/metadata"]:
            try:
                decode_metadata(text)
            except StoreCorrupt as error:
                yield Problem("unreadable", error.message)
    for run in differing_runs(columns):
        yield Problem(
            "index", f"the posting lists of rows {run.start} to {run.stop - 1} differ from the codes"
        )
    if alive != columns.lengths.alive:
        yield Problem("counts", f"the header counts {columns.lengths.alive} documents, there are {alive}")
    if (totals != columns.read_counts()).any():
        yield Problem("counts", "the code counts differ from the codes")
    every = np.concatenate(hashes) if hashes else np.empty(0, np.int64)
    repeated = len(every) - len(np.unique(every))
    # Equal 64-bit hashes of different ids are possible but need some 10**9 documents.
    if repeated:
        yield Problem("duplicate", f"{repeated} ids occur more than once")
