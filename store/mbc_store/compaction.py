"""Rewriting a store without its dead rows, and without what can no longer be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import icechunk
import numpy as np
import zarr

from mbc_store.codes import count_codes
from mbc_store.columns import Columns
from mbc_store.errors import StoreCorrupt
from mbc_store.format import NO_TIMESTAMP, Lengths, create_arrays, new_attributes
from mbc_store.id_index import IdIndex
from mbc_store.posting_lists import PostingLists
from mbc_store.records import Counts, StoredDocument, decode_metadata
from mbc_store.waiting import wait

DOCUMENTS_PER_BLOCK = 4096


@dataclass(slots=True)
class Block:
    """Living documents read from consecutive document numbers, column by column."""

    columns: dict[str, np.ndarray]
    passages: np.ndarray


@dataclass(slots=True)
class Salvage:
    """How to read a damaged snapshot, and what came of it.

    Attributes:
        ancestors: earlier snapshots with the same document numbers, newest first: what cannot be read is
            taken from there.
        forgotten: numbers of documents that later commits forgot: they are left out.
        recovered: numbers of documents that were.
        stripped: numbers of documents that lost their text, title, time or metadata.
        lost: numbers of documents that are gone, or were dead already.
    """

    ancestors: list[Columns] = field(default_factory=list)
    forgotten: frozenset[int] = frozenset()
    recovered: list[int] = field(default_factory=list)
    stripped: list[int] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)


def read_blocks(source: Columns, salvage: Salvage | None = None) -> Iterator[Block]:
    """Living documents in blocks of bounded size.

    Args:
        salvage: if given, unreadable documents are recovered or skipped, and noted there.

    Raises:
        StoreCorrupt: something cannot be read and ``salvage`` is None.
    """
    for start in range(0, source.lengths.documents, DOCUMENTS_PER_BLOCK):
        stop = min(start + DOCUMENTS_PER_BLOCK, source.lengths.documents)
        if salvage is None:
            yield _read(source, start, stop, set())
        else:
            yield from _salvage(source, start, stop, salvage)


def _salvage(source: Columns, start: int, stop: int, salvage: Salvage) -> Iterator[Block]:
    """Read what can be read, halving the range until a single document is at fault."""
    if not salvage.forgotten.intersection(range(start, stop)):
        try:
            yield _read(source, start, stop, set())
            return
        except StoreCorrupt:
            pass
    elif stop - start == 1:
        return
    if stop - start > 1:
        middle = (start + stop) // 2
        yield from _salvage(source, start, middle, salvage)
        yield from _salvage(source, middle, stop, salvage)
        return
    ancestors = [a for a in salvage.ancestors if _alive_in_both(source, a, start)]
    details = {p for p, spec in source.growing.items() if spec.optional and p.startswith("documents/")}
    for columns, blank in [
        *((ancestor, set[str]()) for ancestor in ancestors),
        *((columns, details) for columns in (source, *ancestors)),
    ]:
        try:
            block = _read(columns, start, stop, blank)
        except StoreCorrupt:
            continue
        found = [start] * len(block.passages)
        salvage.recovered += found if columns is not source else []
        salvage.stripped += found if blank else []
        yield block
        return
    salvage.lost.append(start)


def read_texts(source: Columns, numbers: Iterable[int]) -> Iterator[StoredDocument]:
    """Living documents whose text can be read, whether or not their codes can."""
    details = ["documents/title", "documents/timestamp", "documents/metadata"]
    for number in numbers if source.config.keep_text else ():
        try:
            (row,) = source.read("documents/first_row", number, number + 1).tolist()
            if not source.read("passages/alive", row, row + 1)[0]:
                continue
            text, name, digest = (
                source.read(f"documents/{part}", number, number + 1)[0] for part in ("text", "id", "digest")
            )
        except StoreCorrupt:
            continue
        try:
            title, time, metadata = (source.read(path, number, number + 1)[0] for path in details)
            known = decode_metadata(metadata)
        except StoreCorrupt:
            title, time, known = "", NO_TIMESTAMP, {}
        if text and name:
            moment = None if time == NO_TIMESTAMP else int(time)
            yield StoredDocument(name, title or None, text, moment, known, int(digest), range(0))


def _alive_in_both(source: Columns, ancestor: Columns, document: int) -> bool:
    """False also where that cannot be read: a forgotten document must not come back by a repair."""
    if document >= ancestor.lengths.documents:
        return False
    try:
        row = int(ancestor.read("documents/first_row", document, document + 1)[0])
        return all(bool(columns.read("passages/alive", row, row + 1)[0]) for columns in (source, ancestor))
    except StoreCorrupt:
        return False


def _read(source: Columns, start: int, stop: int, blank: set[str]) -> Block:
    """Documents ``start`` to ``stop``; the paths in ``blank`` are filled instead of read."""
    lengths = source.lengths
    bounds = source.read("documents/first_row", start, min(stop + 1, lengths.documents))
    bounds = np.append(bounds, lengths.rows) if stop == lengths.documents else bounds
    if (np.diff(bounds) < 1).any() or bounds[0] < 0 or bounds[-1] > lengths.rows:
        raise StoreCorrupt(f"documents {start} to {stop - 1} have no valid rows")
    first, last = int(bounds[0]), int(bounds[-1])
    paths = [p for p in source.growing if p not in blank and p != "documents/first_row"]
    parts = source.read_many(
        [(p, slice(first, last) if p.startswith("passages/") else slice(start, stop)) for p in paths]
    )
    columns = dict(zip(paths, parts, strict=True))
    if (columns["passages/location"][:, 0] != np.repeat(np.arange(start, stop), np.diff(bounds))).any():
        raise StoreCorrupt(f"rows {first} to {last - 1} belong to other documents than {start} to {stop - 1}")
    for path in blank:
        spec = source.specs[path]
        columns[path] = np.full(stop - start, spec.fill, dtype=spec.numpy_dtype)
    alive_rows = columns["passages/alive"]
    alive = alive_rows[bounds[:-1] - first]
    chosen = {p: v[alive_rows] if p.startswith("passages/") else v[alive] for p, v in columns.items()}
    return Block(chosen, np.diff(bounds)[alive])


def compact(source: Columns, session: icechunk.Session, salvage: Salvage | None = None) -> dict[str, Any]:
    """Write the living documents of ``source`` into ``session`` as if they had just been added.

    ``source`` must read another session than the one written. Memory is bounded by one block; counts and
    index are made anew.

    Returns:
        The commit's metadata.
    """
    target = _emptied(source, session)
    totals = np.zeros(source.config.counts_shape, dtype=np.int64)
    for block in read_blocks(source, salvage):
        if block.passages.size == 0:
            continue
        lengths = target.lengths
        numbers = np.arange(lengths.documents, lengths.documents + len(block.passages))
        block.columns["documents/first_row"] = (
            lengths.rows + np.cumsum(block.passages) - block.passages
        ).astype(np.int64)
        block.columns["passages/location"][:, 0] = np.repeat(numbers, block.passages)
        target.append_many([(p, target.rows_of(p), values) for p, values in block.columns.items()])
        totals += count_codes(block.columns["passages/codes"], source.config)
        target.set_header(
            Lengths(
                lengths.rows + int(block.passages.sum()),
                lengths.documents + len(numbers),
                lengths.alive + len(numbers),
            )
        )
        target.flush()
    target.write_counts(totals)
    target.set_header(target.lengths, IdIndex(target).rebuild())
    if source.posting_runs is not None:
        target.set_posting_runs(PostingLists(target).build())
    target.flush()
    return {
        "operation": "compact",
        "counts": asdict(Counts()),
        "documents": target.lengths.alive,
        "passages": target.lengths.rows,
    }


def _emptied(source: Columns, session: icechunk.Session) -> Columns:
    """The arrays of an empty store in ``session``, whatever was there."""
    group = zarr.open_group(session.store, mode="a")
    for name, folder in (("index_runs", "index"), ("posting_runs", "postings")):
        runs: Any = group.attrs.get(name, [])
        for run in runs:
            wait(session.store.delete_dir(f"{folder}/{run['name']}"))
    create_arrays(group, source.config)
    group.attrs.put(new_attributes(source.config))
    return Columns(session, "the rewritten store")
