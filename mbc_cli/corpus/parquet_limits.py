"""What a Parquet file would take in memory, found out before it is taken.

The footer can lie, so the headers of the pages are read: pyarrow unpacks a page into as many bytes as its
header says. It is a struct in Thrift's compact protocol (parquet.thrift of the Parquet format).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from mbc_cli.corpus.bad_input import BadRecord

UNPACKED_BYTES = 256 * 2**20  # of the largest pages of all columns together
REPEATED_VALUES = 2**22  # in the lists of a row group: a few bytes can stand for all of them
_HEADER_BYTES = (2**9, 2**16)  # most are short, and a few hold statistics
_DICTIONARY_PAGE = 2
_BOOLEANS, _BYTE, _NUMBERS, _DOUBLE, _BINARY, _LISTS, _STRUCT = (1, 2), 3, (4, 5, 6), 7, 8, (9, 10), 12


class _Page(NamedTuple):
    kind: int
    unpacked: int
    packed: int


def unpacked_bytes(stream: Any, group: Any, schema: Any) -> int:
    """The bytes that the largest pages of a row group unpack to, over all columns.

    Args:
        stream: the file.
        group, schema: the row group's metadata and the file's Parquet schema, as pyarrow has them.

    Raises:
        BadRecord: they are more than ``UNPACKED_BYTES``, lists hold more than ``REPEATED_VALUES``, or the
            headers of the pages cannot be read.
    """
    total = repeated = 0
    for number in range(group.num_columns):
        column, leaf = group.column(number), schema.column(number)
        largest = {True: 0, False: 0}
        for page in _pages(stream, column):
            is_dictionary = page.kind == _DICTIONARY_PAGE
            largest[is_dictionary] = max(largest[is_dictionary], page.unpacked)
        width = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0  # which a null takes, too
        total += sum(largest.values()) + width
        if leaf.max_repetition_level:
            repeated += column.num_values
            total += column.num_values * width
            if "DELTA_BYTE_ARRAY" in column.encodings:  # each value can repeat a long beginning of the last
                total += column.num_values * sum(largest.values())
    if total > UNPACKED_BYTES:
        raise BadRecord(f"its pages unpack to {total >> 20:,} MiB; accepted: {UNPACKED_BYTES >> 20} MiB")
    if repeated > REPEATED_VALUES:
        raise BadRecord(f"its lists hold {repeated:,} values; accepted: {REPEATED_VALUES:,}")
    return total


def _pages(stream: Any, column: Any) -> Iterator[_Page]:
    start = column.data_page_offset
    if column.dictionary_page_offset:
        start = min(start, column.dictionary_page_offset)
    end = start + column.total_compressed_size
    while start < end:
        page, length = _page(stream, start)
        yield page
        start += length + page.packed


def _page(stream: Any, start: int) -> tuple[_Page, int]:
    """The page whose header begins at ``start``, and the bytes of the header."""
    for size in _HEADER_BYTES:
        stream.seek(start)
        with suppress(IndexError, KeyError):
            fields, length = _struct(stream.read(size), 0, 0)
            page = _Page(fields[1], fields[2], fields[3])
            if min(page) >= 0:
                return page, length
    raise BadRecord("the header of a page cannot be read")


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, int], int]:
    """The whole numbers of the struct at ``at`` by field, and where it ends; other fields are passed over."""
    numbers: dict[int, int] = {}
    field = 0
    while kind := data[at] & 15:
        step = data[at] >> 4
        at += 1
        if step:
            field += step
        else:
            field, at = _number(data, at)
        if kind in _NUMBERS:
            numbers[field], at = _number(data, at)
        else:
            at = _after(data, at, kind, depth + 1)
    return numbers, at + 1


def _after(data: bytes, at: int, kind: int, depth: int) -> int:
    """Where the value of ``kind`` at ``at`` ends."""
    if depth > 8:
        raise IndexError
    if kind in _BOOLEANS:  # in a struct; the value is in the kind
        return at
    if kind == _BYTE:
        return at + 1
    if kind in _NUMBERS:
        return _number(data, at)[1]
    if kind == _DOUBLE:
        return at + 8
    if kind == _BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind in _LISTS:
        length, item = data[at] >> 4, data[at] & 15
        at += 1
        if length == 15:
            length, at = _varint(data, at)
        for _ in range(length):
            at = at + 1 if item in _BOOLEANS else _after(data, at, item, depth + 1)
        return at
    if kind == _STRUCT:
        return _struct(data, at, depth)[1]
    raise IndexError


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
