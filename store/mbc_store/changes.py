"""What a commit does to the arrays, in three steps: what changes, the rows that come, and all that follows.

The rows may be written by others in between (distributed.py); everything else is small.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from mbc_store.codes import count_codes, passages_in
from mbc_store.columns import Columns
from mbc_store.format import NO_TIMESTAMP, Lengths, StoreConfig
from mbc_store.id_index import IdIndex
from mbc_store.posting_lists import PostingLists
from mbc_store.records import Counts, DocumentRecord, encode_metadata

Changes = dict[str, DocumentRecord | None]
"""By id: the record to store, or None to forget."""


@dataclass(frozen=True, slots=True)
class Planned:
    """What a commit changes.

    Attributes:
        counts: in documents.
        written: ids whose records are appended, in the order in which they are.
        forgotten: ids of stored documents that are forgotten.
        dead: numbers of stored documents that are forgotten or replaced.
    """

    counts: Counts
    written: tuple[str, ...]
    forgotten: tuple[str, ...]
    dead: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Appended:
    """What the records that a commit appends come to.

    Attributes:
        passages: of all of them.
        code_counts: their codes, as ``count_codes`` counts.
        error: ``quantization_error`` and ``measured_passages`` of the commit's metadata, where known.
    """

    passages: int
    code_counts: np.ndarray
    error: Mapping[str, float]


def apply_changes(columns: Columns, changes: Changes, operation: str) -> tuple[dict[str, Any] | None, int]:
    """Write ``changes`` into ``columns`` and flush them.

    Returns:
        The commit's metadata, or None where nothing changes, and the number of unchanged documents.
    """
    planned = plan_changes(columns, {i: None if r is None else r.digest for i, r in changes.items()})
    if not planned.counts.changes:
        return None, planned.counts.unchanged
    records = [record for i in planned.written if (record := changes[i]) is not None]
    appended = Appended(0, np.zeros(columns.config.counts_shape, dtype=np.int64), {})
    if records:
        values = columns_of(records, columns.lengths, columns.config)
        columns.append_many([(path, columns.rows_of(path), rows) for path, rows in values.items()])
        codes = values["passages/codes"]
        error = mean_error((r.quantization_error, len(r.codes)) for r in records)
        appended = Appended(len(codes), count_codes(codes, columns.config), error)
    return complete_changes(columns, planned, appended, operation), planned.counts.unchanged


def plan_changes(columns: Columns, digests: Mapping[str, int | None]) -> Planned:
    """What changes where documents of ``digests``, by id, are to be stored, and those of None forgotten."""
    found = IdIndex(columns).find(list(digests))
    wanted = [i for i in found if digests[i] is not None]
    numbers = np.array([found[i] for i in wanted], dtype=np.int64)
    stored = dict(zip(wanted, columns.take("documents/digest", numbers).tolist(), strict=True))
    given = [i for i, digest in digests.items() if digest is not None]
    written = [i for i in given if i not in stored or stored[i] != digests[i]]
    replaced = [i for i in written if i in found]
    forgotten = [i for i, digest in digests.items() if digest is None and i in found]
    counts = Counts(len(written) - len(replaced), len(replaced), len(given) - len(written), len(forgotten))
    dead = tuple(found[i] for i in [*forgotten, *replaced])
    return Planned(counts, tuple(written), tuple(forgotten), dead)


def complete_changes(
    columns: Columns, planned: Planned, appended: Appended, operation: str
) -> dict[str, Any]:
    """Bring counts, header and index up to the rows that were appended, and flush; the commit's metadata."""
    lengths, config = columns.lengths, columns.config
    # A repair that goes back to an earlier commit must know them, replaced versions included.
    versions = IdIndex(columns).versions(planned.forgotten)
    totals = columns.read_counts() + appended.code_counts
    if planned.dead:
        rows = _rows_of(columns, np.sort(np.array(planned.dead, dtype=np.int64)))
        totals -= count_codes(columns.take("passages/codes", rows), config)
        columns.fill("passages/alive", rows, False)
    columns.write_counts(totals)
    columns.set_header(
        replace(
            lengths,
            rows=lengths.rows + appended.passages,
            documents=lengths.documents + len(planned.written),
            alive=lengths.alive + planned.counts.added - planned.counts.forgotten,
        )
    )
    columns.set_header(columns.lengths, IdIndex(columns).update())
    columns.set_posting_runs(PostingLists(columns).update())
    columns.flush()
    return {
        "operation": operation,
        "counts": asdict(planned.counts),
        "documents": columns.lengths.alive,
        "passages": passages_in(totals, config),
        **appended.error,
        **({"forgotten": ranges(versions)} if planned.forgotten else {}),
    }


def mean_error(errors: Iterable[tuple[float | None, int]]) -> dict[str, float]:
    """Mean quantisation error over the passages of the records that have one.

    Args:
        errors: of each record, with the number of its passages.
    """
    known = [(error, count) for error, count in errors if error is not None]
    if not known:
        return {}
    passages = sum(count for _, count in known)
    return {
        "quantization_error": sum(error * count for error, count in known) / passages,
        "measured_passages": passages,
    }


def ranges(numbers: list[int]) -> list[list[int]]:
    """Sorted numbers as [first, one past the last] of those that follow each other."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number:
            found[-1][1] = number + 1
        else:
            found.append([number, number + 1])
    return found


def _rows_of(columns: Columns, documents: np.ndarray) -> np.ndarray:
    """All rows of ``documents`` (sorted)."""
    lengths = columns.lengths
    following = np.minimum(documents + 1, lengths.documents - 1)
    first, last = np.split(columns.take("documents/first_row", np.concatenate([documents, following])), 2)
    last = np.where(documents + 1 == lengths.documents, lengths.rows, last)
    return np.concatenate([np.arange(a, b) for a, b in zip(first.tolist(), last.tolist(), strict=True)])


def columns_of(
    records: Sequence[DocumentRecord], lengths: Lengths, config: StoreConfig
) -> dict[str, np.ndarray]:
    """The values that ``records`` append to each array of a store of these lengths."""
    passages = np.array([len(record.codes) for record in records])
    numbers = np.arange(lengths.documents, lengths.documents + len(records))
    spans = np.concatenate([record.spans for record in records])
    columns = {
        "passages/codes": np.concatenate([record.codes for record in records]),
        "passages/alive": np.ones(passages.sum(), dtype=bool),
        "passages/location": np.column_stack([np.repeat(numbers, passages), spans]),
        "documents/id": _texts([record.id for record in records]),
        "documents/digest": np.array([record.digest for record in records], dtype=np.uint64),
        "documents/first_row": lengths.rows + np.cumsum(passages) - passages,
        "documents/timestamp": np.array([time_of(record) for record in records], dtype=np.int64),
        "documents/title": _texts([record.title or "" for record in records]),
        "documents/metadata": _texts([encode_metadata(record.metadata) for record in records]),
    }
    if config.keep_text:
        columns["documents/text"] = _texts([record.text or "" for record in records])
    return columns


def time_of(record: DocumentRecord) -> int:
    return NO_TIMESTAMP if record.timestamp is None else record.timestamp


def _texts(values: list[str]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array
