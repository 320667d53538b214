"""File formats: each turns one stream into numbered records."""

from __future__ import annotations

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.records import MAX_VALUES, Record, parse_json
from mbc_cli.corpus.streams import MAX_RECORD_BYTES, BrokenStream, ByteStream, Lines, decode, read_all

Format = Literal["jsonl", "csv", "tsv", "parquet", "text", "lines"]

FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "text",
}
COMPRESSED_SUFFIXES = {".gz", ".zst", ".zstd"}
_SAMPLE_BYTES = 2**16
_OBJECT_LINE = re.compile(rb"^\s*\{", re.MULTILINE)

# A record with its place in the input, such as "corpus.jsonl:17".
Placed = tuple[str, Record | object]


def format_of(path: Path) -> Format | None:
    """Return the format a file's name stands for (a compressed file's inner name), None if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None


def guess_format(start: bytes) -> Format:
    """Return the format of a stream without a name: JSONL if a line opens an object, else a text per line."""
    if start.startswith(b"PAR1"):
        return "parquet"
    return "jsonl" if _OBJECT_LINE.search(start) else "lines"


def guess_stream_format(stream: ByteStream) -> Format:
    """Return the format of a stream without a name, from its first bytes; nothing is taken from it."""
    try:
        return guess_format(stream.peek(_SAMPLE_BYTES))
    except (OSError, BrokenStream):  # compressed data broken in their first block: the reader will say so
        return "jsonl"


def read_jsonl(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[Placed]:
    """Yield the value of every line that is not blank."""
    for place, text in _text_lines(name, stream, bad):
        if text.strip():
            try:
                value = parse_json(text, MAX_VALUES)
            except BadRecord as reason:
                bad.add(place, str(reason))
            else:
                yield place, value


def read_lines(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[Placed]:
    """Yield a record for every line that is not blank; its id is a digest of its text."""
    for place, text in _text_lines(name, stream, bad):
        if text := text.strip():
            digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8).hexdigest()
            yield place, {"id": f"line-{digest}", "text": text}


def read_text(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[Placed]:
    """Yield the whole stream as one record, whose id is the file's name."""
    try:
        text = decode(read_all(stream)).removeprefix("\ufeff")
    except (BadRecord, BrokenStream) as reason:
        bad.add(name, str(reason))
    else:
        yield name, {"id": name, "text": text}


def read_csv(name: str, stream: ByteStream, bad: BadInputs, *, delimiter: str = ",") -> Iterator[Placed]:
    """Yield a record for every row after the header; the place is the line the row ends at."""
    # The module's limit is for all of the process; lines are limited as they are read.
    csv.field_size_limit(MAX_RECORD_BYTES)
    lines = _CsvLines(Lines(stream))
    rows = csv.reader(lines, delimiter=delimiter, strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as failure:
            bad.add(f"{name}:{lines.number}", f"malformed CSV: {failure}")
            continue
        except (BadRecord, BrokenStream) as reason:
            bad.add(f"{name}:{lines.number}", str(reason))
            continue
        place = f"{name}:{lines.number}"
        if not row:
            continue
        if header is None:
            header = row
            if repeated := sorted(column for column, count in Counter(header).items() if count > 1):
                bad.add(place, f"the header names {repeated[0]!r:.80} twice")
                return
        elif len(row) != len(header):
            bad.add(place, f"the row has {len(row)} fields, the header {len(header)}")
        else:
            yield place, dict(zip(header, row, strict=True))


def read_tsv(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[Placed]:
    """Yield a record for every row of tab-separated values after the header."""
    return read_csv(name, stream, bad, delimiter="\t")


def read_parquet(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[Placed]:
    """Yield a record for every row; a row group or a row that takes too much memory is left out by name."""
    import pyarrow as pa

    from mbc_cli.corpus.parquet_rows import group_rows, open_rows

    if not stream.seekable():
        bad.add(name, "Parquet cannot be read from a pipe or a compressed file; give the plain file")
        return
    row = 0
    try:
        file = open_rows(stream)
        for number in range(file.num_row_groups):
            first = row
            try:
                for record in group_rows(file, number, stream):
                    row += 1
                    place = f"{name} row {row}"
                    if isinstance(record, str):
                        bad.add(place, record)
                    else:
                        yield place, record
            except BadRecord as reason:
                row = first + file.metadata.row_group(number).num_rows
                bad.add(f"{name} rows {first + 1} to {row}", str(reason))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as failure:  # column names may be any bytes
        bad.add(name, f"not readable as Parquet after row {row}: {' '.join(str(failure).split())[:300]}")


READERS: dict[Format, Callable[[str, ByteStream, BadInputs], Iterator[Placed]]] = {
    "jsonl": read_jsonl,
    "csv": read_csv,
    "tsv": read_tsv,
    "parquet": read_parquet,
    "text": read_text,
    "lines": read_lines,
}


def _text_lines(name: str, stream: ByteStream, bad: BadInputs) -> Iterator[tuple[str, str]]:
    lines = Lines(stream)
    while True:
        try:
            content = next(lines)
            yield f"{name}:{lines.number}", decode(content)
        except StopIteration:
            return
        except (BadRecord, BrokenStream) as reason:
            bad.add(f"{name}:{lines.number}", str(reason))


class _CsvLines(Iterator[str]):
    """Lines as the csv module wants them: text, with ends. It may raise and be asked to go on."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    @property
    def number(self) -> int:
        return self._lines.number

    def __next__(self) -> str:
        return decode(next(self._lines)) + "\n"
