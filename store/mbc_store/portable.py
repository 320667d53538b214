"""A store as two plain files: ``documents.jsonl`` (readable by `mbc encode`) and ``codes.parquet``."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from mbc_store.errors import InvalidRecord, StoreError, StoreExists, StoreNotFound
from mbc_store.filters import microseconds
from mbc_store.format import FORMAT, StoreConfig
from mbc_store.location import Location
from mbc_store.records import DocumentRecord, check_record
from mbc_store.snapshot import Snapshot

HEADER, DOCUMENTS, CODES = "store.json", "documents.jsonl", "codes.parquet"
EXPORT_VERSION = 1
BATCH = 1024
_EPOCH = datetime(1970, 1, 1)


def export_snapshot(snapshot: Snapshot, folder: Path) -> int:
    """Write the living documents of ``snapshot`` into a new ``folder``; their number.

    The folder appears when it is complete.

    Raises:
        StoreExists: ``folder`` exists.
        StoreError: it cannot be written; nothing of it is left.
    """
    folder = Path(folder)
    with _export_errors(folder):
        if folder.exists():
            raise StoreExists(f"{folder} exists already", "choose a new folder")
        Location.parse(folder).refuse_inside_store()
        partial = folder.with_name(f".{uuid.uuid4().hex}.unfinished")
        try:
            partial.mkdir(parents=True)
            count = _write(snapshot, partial)
            partial.rename(folder)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    return count


@contextmanager
def _export_errors(folder: Path) -> Iterator[None]:
    """Say of ``folder``, which the user named, what the system says of the files that are to become it."""
    try:
        yield
    except OSError as error:
        # PyArrow's own texts name the file.
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StoreError(
            f"the export {folder} cannot be written: {reason}",
            "choose a folder that can be written, with room",
        ) from error


def _write(snapshot: Snapshot, folder: Path) -> int:
    import pyarrow as pa
    from pyarrow import parquet as pq

    config = snapshot.config
    fields = config.slots * config.num_quantizers
    schema = pa.schema(
        [
            pa.field("document_id", pa.string(), nullable=False),
            pa.field("passage", pa.int32(), nullable=False),
            pa.field("codes", pa.list_(pa.from_numpy_dtype(config.code_type), fields), nullable=False),
        ]
    )
    header = {
        "format": f"{FORMAT}-export",
        "version": EXPORT_VERSION,
        "config": config.header(),
        "snapshot": snapshot.id,
        "documents": snapshot.document_count,
        "passages": snapshot.passage_count,
    }
    (folder / HEADER).write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
    count = 0
    with (
        (folder / DOCUMENTS).open("w", encoding="utf-8") as lines,
        pq.ParquetWriter(folder / CODES, schema, compression="zstd") as codes,
    ):
        for records in _batches(snapshot.iter_records(BATCH)):
            for record in records:
                lines.write(json.dumps(_to_json(record), ensure_ascii=False) + "\n")
            flat = np.concatenate([record.codes.reshape(len(record.codes), fields) for record in records])
            ids = [record.id for record in records for _ in range(len(record.codes))]
            passages = np.concatenate([np.arange(len(record.codes), dtype=np.int32) for record in records])
            values = pa.FixedSizeListArray.from_arrays(pa.array(flat.ravel()), fields)
            codes.write_table(
                pa.Table.from_arrays([pa.array(ids), pa.array(passages), values], schema=schema)
            )
            count += len(records)
    return count


def _to_json(record: DocumentRecord) -> dict[str, Any]:
    line: dict[str, Any] = {"id": record.id}
    for name, value in (("title", record.title), ("text", record.text)):
        if value is not None:
            line[name] = value
    if record.timestamp is not None:
        line["timestamp"] = (_EPOCH + timedelta(microseconds=record.timestamp)).isoformat() + "Z"
    if record.metadata:
        line["metadata"] = dict(record.metadata)
    # A hexadecimal digest: JSON readers in other languages round large integers.
    return line | {"digest": f"{record.digest:016x}", "spans": record.spans.tolist()}


def read_header(folder: Path) -> StoreConfig:
    """The configuration of an exported store.

    Raises:
        StoreNotFound: no export there.
        StoreError: another version, or damaged.
    """
    path = Path(folder) / HEADER
    if not path.is_file():
        raise StoreNotFound(f"{folder} holds no exported store: {HEADER} is missing", "check the path")
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
        if header["format"] != f"{FORMAT}-export" or header["version"] != EXPORT_VERSION:
            raise StoreError(f"{path}: unknown format {header['format']!r} version {header['version']!r}")
        return StoreConfig.from_header(header["config"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def check_export(folder: Path) -> StoreConfig:
    """The configuration of an exported store, all of whose documents can be imported.

    Raises:
        StoreError: one cannot; names file and line.
    """
    config = read_header(folder)
    for record in read_export(folder):
        check_record(record, config)
    return config


def read_export(folder: Path) -> Iterator[DocumentRecord]:
    """Records of an exported store, in bounded memory.

    Raises:
        StoreError: the two files disagree or hold something else; names file and line.
    """
    folder = Path(folder)
    config = read_header(folder)
    rows = _code_rows(folder / CODES, config)
    with (folder / DOCUMENTS).open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = _from_json(json.loads(line), rows)
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
                problem = f"{type(error).__name__}: {error}"
                raise StoreError(f"{folder / DOCUMENTS}, line {number}: {problem}") from error
            yield record
    if next(rows, None) is not None:
        raise StoreError(f"{folder / CODES} holds more documents than {folder / DOCUMENTS}")


def _from_json(line: dict[str, Any], rows: Iterator[tuple[str, np.ndarray]]) -> DocumentRecord:
    spans = np.asarray(line["spans"], dtype=np.int64).reshape(-1, 2)
    passages = list(islice(rows, len(spans)))
    if len(passages) != len(spans) or any(identifier != line["id"] for identifier, _ in passages):
        raise InvalidRecord(f"{CODES} holds no matching codes for document {line['id']!r}")
    time = line.get("timestamp")
    return DocumentRecord(
        id=line["id"],
        codes=np.stack([codes for _, codes in passages]),
        spans=spans,
        digest=int(line["digest"], 16),
        text=line.get("text"),
        title=line.get("title"),
        timestamp=None if time is None else microseconds(datetime.fromisoformat(time)),
        metadata=line.get("metadata", {}),
    )


def _code_rows(path: Path, config: StoreConfig) -> Iterator[tuple[str, np.ndarray]]:
    """(document id, codes (T, L)) of each row."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    fields = config.slots * config.num_quantizers
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=["document_id", "codes"]):
                flat = batch.column("codes").flatten().to_numpy(zero_copy_only=False)
                codes = flat.reshape(-1, config.slots, config.num_quantizers)
                if len(codes) * fields != len(flat) or len(codes) != batch.num_rows:
                    raise StoreError(f"{path}: rows do not hold {fields} codes each")
                yield from zip(batch.column("document_id").to_pylist(), codes, strict=True)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise StoreError(f"{path} cannot be read: {error}", "export the store again") from error


def _batches(records: Iterable[DocumentRecord]) -> Iterator[list[DocumentRecord]]:
    iterator = iter(records)
    while batch := list(islice(iterator, BATCH)):
        yield batch
