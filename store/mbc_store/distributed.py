"""A commit whose rows many processes write, each whole chunks, through forks of one session.

Where two forks write one chunk, one of them is lost without a word. So each chunk is written by one process:
the one that has its first row. What falls into chunks that the rows fill in part only, at the head and the
tail of a block, comes back to whoever commits, who writes it with the index and the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol

import icechunk
import numpy as np

from mbc_store.changes import Appended, columns_of, complete_changes, mean_error, plan_changes
from mbc_store.codes import count_codes
from mbc_store.columns import Columns, Recent
from mbc_store.format import ArraySpec, Lengths, StoreConfig, array_specs
from mbc_store.location import Location
from mbc_store.records import Counts, DocumentRecord
from mbc_store.repository import Repository

PASSAGES_PER_PART = 8192


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive documents of a block: what one process writes.

    Attributes:
        before, after: lengths of the store before and after the block.
        documents, rows: the numbers that its documents and their passages get.
        needed: one past the last document that fills its chunks; those past ``documents`` are of other parts.
    """

    before: Lengths
    after: Lengths
    documents: range
    rows: range
    needed: int

    @property
    def records(self) -> slice:
        """Places in the block of the documents that it takes to write the part."""
        return slice(self.documents.start - self.before.documents, self.needed - self.before.documents)

    def numbers(self, path: str) -> range:
        """Its numbers of the rows of an array."""
        return self.rows if path.startswith("passages/") else self.documents

    def whole_chunks(self, path: str, spec: ArraySpec) -> range:
        """Indices of the chunks that the block fills and that begin in this part."""
        block, own = _whole_chunks(path, spec, self.before, self.after), self.numbers(path)
        rows = spec.rows_per_chunk
        return range(max(block.start, -(-own.start // rows)), min(block.stop, -(-own.stop // rows)))


@dataclass(frozen=True, slots=True)
class WrittenPart:
    """What a process gives back.

    Attributes:
        session: the fork, with what was written through it.
        rest: rows for chunks that the block fills in part: path, first row, values.
        code_counts: of the part's own documents, as ``count_codes`` counts.
    """

    session: icechunk.session.ForkSession
    rest: list[tuple[str, int, np.ndarray]]
    code_counts: np.ndarray


class Block(Protocol):
    """The documents of one commit, held by others."""

    def passages(self, ids: Sequence[str]) -> Sequence[tuple[float | None, int]]:
        """Quantisation error, where known, and number of passages of each document that is to be stored."""

    def write(self, session: icechunk.session.ForkSession, parts: Sequence[Part]) -> Iterable[WrittenPart]:
        """Have ``write_part`` called for each part, each with a copy of ``session`` of its own.

        The records are those of the ids that ``passages`` was called with, in that order.
        """


def commit_block(
    repository: Repository,
    recent: dict[str, Recent],
    message: str,
    digests: dict[str, int],
    block: Block,
    passages_per_part: int = PASSAGES_PER_PART,
) -> tuple[Counts, int]:
    """Store the documents of ``digests`` (by id) in one commit, in the order of these.

    Args:
        recent: as for ``Transaction``.
        block: asked once more where another writer came first.
        passages_per_part: a part ends with the document that reaches it.

    Returns:
        What changed, and the number of passages that were stored.
    """
    counts, stored = Counts(), 0
    columns: Columns | None = None

    def change(session: icechunk.Session) -> dict[str, Any] | None:
        nonlocal counts, stored, columns
        columns = Columns(session, repository.location, recent.pop(session.snapshot_id, None))
        planned = plan_changes(columns, digests)
        counts, stored = planned.counts, 0
        if not counts.changes:
            return None
        errors = block.passages(planned.written)
        passages = np.array([count for _, count in errors], dtype=np.int64)
        written = list(
            block.write(
                session.fork(), parts_of(columns.lengths, passages, columns.config, passages_per_part)
            )
        )
        session.merge(*(part.session for part in written))
        for rest in _joined(written):
            columns.append_many(rest)
        stored = int(passages.sum())
        totals = sum(part.code_counts for part in written)
        return complete_changes(
            columns, planned, Appended(stored, np.asarray(totals), mean_error(errors)), "encode"
        )

    snapshot_id, metadata = repository.commit(message, change)
    if metadata is not None and columns is not None:
        recent.clear()
        recent[snapshot_id] = columns.recent()
    return counts, stored


def parts_of(
    before: Lengths, passages: np.ndarray, config: StoreConfig, passages_per_part: int = PASSAGES_PER_PART
) -> list[Part]:
    """Cut documents of so many ``passages`` each into parts that can be written at the same time."""
    ends = np.cumsum(passages)
    documents, rows = len(passages), int(ends[-1])
    after = replace(before, rows=before.rows + rows, documents=before.documents + documents)
    cuts = [0]
    while cuts[-1] < documents:
        enough = (ends[cuts[-1] - 1] if cuts[-1] else 0) + passages_per_part
        cuts.append(min(int(np.searchsorted(ends, enough)) + 1, documents))
    parts = []
    for first, stop in pairwise(cuts):
        start = int(ends[first - 1]) if first else 0
        part = Part(
            before,
            after,
            range(before.documents + first, before.documents + stop),
            range(before.rows + start, before.rows + int(ends[stop - 1])),
            before.documents + stop,
        )
        parts.append(replace(part, needed=_needed(part, ends, config)))
    return parts


def write_part(
    session: icechunk.session.ForkSession, location: Location, part: Part, records: Sequence[DocumentRecord]
) -> WrittenPart:
    """Write the whole chunks of ``part`` through ``session``, which is to be used for nothing else.

    Args:
        records: of the documents from the part's first one to the last that is ``needed``.
    """
    columns = Columns(session, location)
    columns.set_header(part.after)  # arrays that have grown; the header itself is not written
    start = Lengths(part.rows.start, part.documents.start, 0)
    rest: list[tuple[str, int, np.ndarray]] = []
    values = columns_of(records, start, columns.config)
    for path, rows in values.items():
        spec, own = columns.growing[path], part.numbers(path)
        for index in part.whole_chunks(path, spec):
            place = index * spec.rows_per_chunk - own.start
            columns.write_whole(path, index, rows[place : place + spec.rows_per_chunk])
        for piece in _rest(path, spec, part):
            rest.append((path, piece.start, rows[piece.start - own.start : piece.stop - own.start]))
    columns.flush(header=False)
    codes = values["passages/codes"][: len(part.rows)]
    return WrittenPart(session, rest, count_codes(codes, columns.config))


def _whole_chunks(path: str, spec: ArraySpec, before: Lengths, after: Lengths) -> range:
    """Indices of the chunks of an array that a block fills."""
    lengths = [(one.rows if path.startswith("passages/") else one.documents) for one in (before, after)]
    return range(-(-lengths[0] // spec.rows_per_chunk), lengths[1] // spec.rows_per_chunk)


def _rest(path: str, spec: ArraySpec, part: Part) -> Iterator[range]:
    """The part's own rows in chunks that the block does not fill."""
    own, whole = part.numbers(path), _whole_chunks(path, spec, part.before, part.after)
    if not whole:
        yield own
        return
    head = range(own.start, min(own.stop, whole.start * spec.rows_per_chunk))
    tail = range(max(own.start, whole.stop * spec.rows_per_chunk), own.stop)
    yield from (piece for piece in (head, tail) if piece)


def _needed(part: Part, ends: np.ndarray, config: StoreConfig) -> int:
    """One past the last document that fills the part's chunks. ``ends``: rows of the block up to each."""
    needed = part.needed
    for path, spec in array_specs(config).items():
        if chunks := part.whole_chunks(path, spec):
            stop = chunks.stop * spec.rows_per_chunk
            if path.startswith("passages/"):
                place = int(np.searchsorted(ends, stop - part.before.rows))
                stop = part.before.documents + place + 1
            needed = max(needed, stop)
    return needed


def _joined(parts: Sequence[WrittenPart]) -> list[list[tuple[str, int, np.ndarray]]]:
    """What came back, as few appends in the order of the rows: rows that follow each other are one."""
    appends: dict[str, list[tuple[int, np.ndarray]]] = {}
    for part in parts:
        for path, first, values in part.rest:
            appends.setdefault(path, []).append((first, values))
    batches: list[list[tuple[str, int, np.ndarray]]] = [[], []]
    for path, pieces in appends.items():
        pieces.sort(key=lambda piece: piece[0])
        runs: list[tuple[int, list[np.ndarray]]] = []
        for first, values in pieces:
            if runs and runs[-1][0] + sum(map(len, runs[-1][1])) == first:
                runs[-1][1].append(values)
            else:
                runs.append((first, [values]))
        for batch, (first, arrays) in zip(batches, runs, strict=False):  # head and tail, or one of them
            batch.append((path, first, np.concatenate(arrays)))
    return batches
