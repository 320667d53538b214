"""File formats: each turns one stream into records with their places. Names tell a format, else the content.

The format of a stream without a name is decided by its first line that is not blank, however its bytes
arrive (docs/input.md has the rule).
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.delimited import delimiter_of, read_delimited
from mbc_cli.corpus.foreign_exports import MAX_EXPORT_BYTES, read_export
from mbc_cli.corpus.json_text import EQUAL_KEYS, JsonParser, is_json_object, parse_values
from mbc_cli.corpus.lines import Lines
from mbc_cli.corpus.markdown import read_markdown
from mbc_cli.corpus.office_files import MAX_FILE_BYTES, MIME_TYPES, is_installed, read_office_file
from mbc_cli.corpus.records import PlainText, UsualFields
from mbc_cli.corpus.streams import MAX_RECORD_BYTES, BrokenStream, ByteStream, decode, read_all
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.errors import install_hint

FORMAT_OF_SUFFIX: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".html": "html",
    ".htm": "html",
    ".pdf": "pdf",
    ".docx": "docx",
}
COMPRESSED_SUFFIXES = {".gz", ".zst", ".zstd"}
_ARRAY_OF_OBJECTS = re.compile(rb"\[(\{|\]|$)")
_SPOILT_OBJECT = re.compile(r'\s*\{\s*"')

# A record with its place in the input, such as "corpus.jsonl:17".
LocatedRecord = tuple[str, object]


@dataclass(slots=True)
class Source:
    """An opened stream.

    ``column`` is the field that tells a table's header from a line of text. With ``blank_lines`` they are
    records without text; with ``null`` lines end where a byte 0 is, and nowhere else.
    """

    name: str
    stream: ByteStream
    bad: BadInputs
    column: str = "text"
    delimiter: str | None = None
    blank_lines: bool = False
    null: bool = False
    lines: Lines = field(init=False)

    def __post_init__(self) -> None:
        self.lines = Lines(self.stream, null=self.null)


def format_of(path: Path) -> Format | None:
    """Return the format a file's name stands for (a compressed file's inner name), None if unknown."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return FORMAT_OF_SUFFIX.get(suffixes[-1]) if suffixes else None


def read_source(source: Source, format: Format | None) -> Iterator[LocatedRecord]:
    """Yield the records of a stream of this format; None decides it by the content."""
    reader = _READERS[format] if format is not None else _reader_for(source)
    return reader(source)


def _reader_for(source: Source) -> Callable[[Source], Iterator[LocatedRecord]]:
    """What reads a stream without a name; nothing is taken from it but blank lines."""
    try:
        if source.stream.peek(4)[:4] == b"PAR1":
            return _read_parquet
    except (OSError, BrokenStream):
        return _read_jsonl  # which says so
    if source.delimiter is not None:
        return _read_csv
    start = source.lines.start()
    if _ARRAY_OF_OBJECTS.match(start):
        return _read_json
    line = source.lines.first_line().decode("utf-8", "replace").strip()
    if line.startswith("{"):
        if line == "{":
            return _read_json
        # A line that breaks off is bad JSON Lines, and "{name}, who are you?" is text.
        return _read_jsonl if is_json_object(line) or _SPOILT_OBJECT.match(line) else _read_mixed
    return _read_mixed if delimiter_of(line, source.column) is None else _read_csv


def _read_jsonl(source: Source) -> Iterator[LocatedRecord]:
    """Yield the value of every line that is not blank."""
    return _read_parsed(source, lambda text: True)


def _read_mixed(source: Source) -> Iterator[LocatedRecord]:
    """Yield every line that is not blank: a JSON object is a record, anything else is text."""
    return _read_parsed(source, lambda text: text.lstrip().startswith("{") and is_json_object(text))


def _read_lines(source: Source) -> Iterator[LocatedRecord]:
    """Yield every line that is not blank as text."""
    return _read_parsed(source, lambda text: False)


def _read_parsed(source: Source, is_json: Callable[[str], bool]) -> Iterator[LocatedRecord]:
    place = source.name
    parser = JsonParser(lambda what: source.bad.remark(place, what))
    if source.blank_lines:
        for number in range(source.lines.number):  # those that were passed over to find the format
            yield f"{source.name}:{number + 1}", PlainText("")
    for place, text in _text_lines(source):
        if not text.strip():
            if source.blank_lines:
                yield place, PlainText("")
            continue
        try:
            yield place, parser.parse(text) if is_json(text) else PlainText(text)
        except BadRecord as reason:
            source.bad.add(place, str(reason))


def _read_json(source: Source) -> Iterator[LocatedRecord]:
    """Yield the items of an array, or objects that follow each other, on lines of their own or not."""
    if is_json_object(source.lines.first_line().decode("utf-8", "replace")):
        yield from _read_jsonl(source)
        return
    number = 0
    characters = codecs.iterdecode(source.lines.chunks(), "utf-8", "surrogateescape")
    values = parse_values(characters, lambda what: source.bad.remark(source.name, what))
    try:
        for number, value in enumerate(values, start=1):
            place = f"{source.name} item {number}"
            if isinstance(value, BadRecord):
                source.bad.add(place, str(value))
            else:
                yield place, value
    except (BadRecord, BrokenStream) as reason:
        source.bad.add(f"{source.name} item {number + 1}", f"{reason}; what came before was read")


def _read_csv(source: Source, usual: str | None = None) -> Iterator[LocatedRecord]:
    delimiter = source.delimiter or usual
    return read_delimited(source.name, source.lines, source.bad, delimiter=delimiter, column=source.column)


def _read_tsv(source: Source) -> Iterator[LocatedRecord]:
    return _read_csv(source, "\t")


def _read_parquet(source: Source) -> Iterator[LocatedRecord]:
    """Yield a record for every row; a row group or a row that takes too much memory is left out by name."""
    import pyarrow as pa

    from mbc_cli.corpus.parquet_rows import group_rows, open_rows

    name, bad = source.name, source.bad
    if not source.stream.seekable():
        bad.add(name, "Parquet cannot be read from a pipe or a compressed file; give the plain file")
        return
    row = 0
    try:
        file = open_rows(source.stream)
        if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
            bad.remark(name, EQUAL_KEYS)
        for number in range(file.num_row_groups):
            first = row
            try:
                for record in group_rows(file, number, source.stream):
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


def _read_text(source: Source) -> Iterator[LocatedRecord]:
    """Yield the whole stream as one text, whose name is the file's."""
    for text in _whole_text(source, MAX_RECORD_BYTES):
        yield source.name, PlainText(text, source.name)


def _read_markdown(source: Source) -> Iterator[LocatedRecord]:
    """Yield the whole stream as one document, with what its front matter says."""
    for text in _whole_text(source, MAX_RECORD_BYTES):
        yield source.name, _file_record(source, read_markdown(text))


def _read_office(source: Source, format: Format) -> Iterator[LocatedRecord]:
    """Yield the whole stream as one document; it is not text."""
    try:
        if not is_installed():
            raise BadRecord(f"a package is missing to read it: {install_hint('documents')}")
        found = read_office_file(read_all(source.stream, MAX_FILE_BYTES), format)
    except (BadRecord, BrokenStream) as reason:
        source.bad.add(source.name, str(reason))
    else:
        yield source.name, _file_record(source, found)


def _file_record(source: Source, found: Mapping[str, Any]) -> UsualFields:
    """The record of a file, with the first of its times that can be read."""
    time = written = None
    for written in found["times"]:
        try:
            time = parse_timestamp(written)
            break
        except ValueError:
            source.bad.remark(source.name, "a file's own date that cannot be read is left out")
    fields = {name: found[name] for name in ("text", "title", "metadata")}
    return UsualFields({"id": source.name, "timestamp": written if time is not None else None, **fields})


def _read_foreign(source: Source, format: Format) -> Iterator[LocatedRecord]:
    """Yield the records of another memory's export, which is one JSON value."""
    for text in _whole_text(source, MAX_EXPORT_BYTES):
        try:
            content = JsonParser(lambda what: source.bad.remark(source.name, what)).parse(text, None)
            for number, record in enumerate(read_export(content, format), start=1):
                place = f"{source.name} item {number}"
                if isinstance(record, BadRecord):
                    source.bad.add(place, str(record))
                else:
                    yield place, record
        except BadRecord as reason:
            source.bad.add(source.name, str(reason))


def _whole_text(source: Source, most_bytes: int) -> Iterator[str]:
    """Yield the whole stream as text; nothing where it is none, which is counted."""
    content = bytearray()
    try:
        for chunk in source.lines.chunks():
            content += chunk
            if len(content) > most_bytes:
                raise BadRecord(f"it is longer than {most_bytes // 2**20} MiB")
        text = decode(bytes(content))
    except (BadRecord, BrokenStream) as reason:
        source.bad.add(source.name, str(reason))
    else:
        yield text


_READERS: dict[Format, Callable[[Source], Iterator[LocatedRecord]]] = {
    "jsonl": _read_jsonl,
    "json": _read_json,
    "csv": _read_csv,
    "tsv": _read_tsv,
    "parquet": _read_parquet,
    "text": _read_text,
    "lines": _read_lines,
    "markdown": _read_markdown,
    **{format: partial(_read_office, format=format) for format in MIME_TYPES},
    "mem0": partial(_read_foreign, format="mem0"),
    "chroma": partial(_read_foreign, format="chroma"),
    "langchain": partial(_read_foreign, format="langchain"),
}


def _text_lines(source: Source) -> Iterator[tuple[str, str]]:
    """Yield the lines with their places; those that cannot be used are counted."""
    while True:
        try:
            content = next(source.lines)
            yield f"{source.name}:{source.lines.number}", decode(content)
        except StopIteration:
            return
        except (BadRecord, BrokenStream) as reason:
            source.bad.add(f"{source.name}:{source.lines.number}", str(reason))
