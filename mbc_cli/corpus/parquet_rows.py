"""The rows of a Parquet file, a few at a time, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet, types

from mbc_cli.corpus.parquet_limits import UNPACKED_BYTES, unpacked_bytes
from mbc_cli.corpus.parquet_values import value_of
from mbc_cli.corpus.streams import MAX_RECORD_BYTES

ROWS_AT_ONCE = 256


def open_rows(stream: Any) -> Any:
    """Open a file so that of equal texts one is held: a few bytes can repeat a long one thousands of times.

    Raises:
        pyarrow.ArrowException, OSError: it is no Parquet file.
    """
    plain = parquet.ParquetFile(pa.PythonFile(stream, mode="r"))
    leaves = [plain.schema.column(number) for number in range(len(plain.schema))]
    texts = {leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"}
    for group in map(plain.metadata.row_group, range(plain.num_row_groups)):
        columns = map(group.column, range(group.num_columns))
        texts -= {column.path_in_schema for column in columns if "DELTA_BYTE_ARRAY" in column.encodings}
    return parquet.ParquetFile(
        pa.PythonFile(stream, mode="r"), read_dictionary=list(texts), buffer_size=2**16, pre_buffer=False
    )


def group_rows(file: Any, number: int, stream: Any) -> Iterator[dict[str, Any] | str]:
    """Yield the rows of one row group as mappings; for a row that cannot be used, what is wrong with it.

    Args:
        file: as :func:`open_rows` opens it.
        stream: what it reads.

    Raises:
        BadRecord: the row group takes too much memory. Nothing was yielded then.
    """
    if not file.metadata.row_group(number).num_rows:  # it may have no pages either
        return
    unpacked = unpacked_bytes(stream, file.metadata.row_group(number), file.schema)
    # A value can be as long as a page, and a page can spell many such values in a few bytes.
    rows = max(1, min(ROWS_AT_ONCE, UNPACKED_BYTES // max(unpacked, 1)))
    for batch in file.iter_batches(batch_size=rows, row_groups=[number], use_threads=False):
        names = batch.schema.names
        columns = batch.columns
        small = sum(map(_bytes, columns)) <= MAX_RECORD_BYTES
        for row in range(batch.num_rows):
            if not small and sum(_bytes(column.slice(row, 1)) for column in columns) > MAX_RECORD_BYTES:
                yield f"it is longer than {MAX_RECORD_BYTES // 2**20} MiB"
                continue
            try:
                yield {name: value_of(column[row]) for name, column in zip(names, columns, strict=True)}
            except UnicodeDecodeError:
                yield "invalid UTF-8"


def _bytes(array: Any) -> int:
    """The bytes of what ``array`` stands for, repetitions counted each time."""
    kind = array.type
    if types.is_dictionary(kind):
        lengths = pc.take(pc.binary_length(array.dictionary), array.indices)
        return pc.sum(lengths).as_py() or 0
    if isinstance(kind, pa.BaseExtensionType):
        return _bytes(array.storage)
    if types.is_map(kind):
        start, end = array.offsets[0].as_py(), array.offsets[-1].as_py()
        return sum(_bytes(each.slice(start, end - start)) for each in (array.keys, array.items))
    if types.is_nested(kind):  # lists of all kinds, and structs
        parts = array.flatten()
        return sum(map(_bytes, parts)) if types.is_struct(kind) else _bytes(parts)
    return int(array.nbytes)
