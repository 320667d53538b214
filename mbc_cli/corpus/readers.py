"""Documents and questions from files, folders and stdin, one at a time, bad input left out by name.

A folder stands for every file in it (hidden ones aside) whose name says JSONL, CSV, TSV, Parquet or text,
in the order of their paths. Reading holds one record at a time, and eight bytes for every id read so far.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.documents import Document, Question
from mbc_cli.corpus.formats import (
    FORMAT_OF_SUFFIX,
    READERS,
    Format,
    Placed,
    format_of,
    guess_stream_format,
)
from mbc_cli.corpus.records import FieldNames, document_from, question_from
from mbc_cli.corpus.streams import STDIN, open_stream
from mbc_cli.errors import UnreadableError, UsageError

Item = TypeVar("Item", Document, Question)


def read_documents(
    sources: Sequence[str],
    bad: BadInputs,
    *,
    names: FieldNames | None = None,
    format: Format | None = None,
) -> Iterator[Document]:
    """Yield the documents of ``sources``: files, folders, or ``-`` for stdin.

    Args:
        bad: where records that cannot be used are counted; it decides whether the first one is fatal.
        names: what the corpus calls a document's fields.
        format: read every source so; by default a file's name decides, and stdin is JSONL where a line
            begins with ``{`` and one document per line elsewhere.

    Raises:
        UsageError: a source does not exist, or its format is unknown (before anything is read).
        MbcError: bad input, if ``bad`` says so.
    """
    field_names = names or FieldNames()
    records = _read(sources, bad, format)
    return _unique(records, lambda _, record: document_from(record, field_names), bad)


def read_questions(
    sources: Sequence[str], bad: BadInputs, *, format: Format | None = None
) -> Iterator[Question]:
    """Yield the questions of ``sources``; arguments and errors as for :func:`read_documents`.

    A record has ``question`` and ``answers`` and may have ``id`` and ``document_ids``.
    """
    return _unique(_read(sources, bad, format), _question, bad)


def _question(place: str, record: object) -> Question:
    return question_from(record, default_id=place)


def find_files(
    sources: Sequence[str],
    format: Format | None = None,
    on_unreadable: Callable[[str, str], object] = lambda place, reason: None,
) -> list[tuple[str, Format | None]]:
    """Return the files that ``sources`` stand for, each with its format; None is for its content to tell.

    Args:
        on_unreadable: gets each folder within the sources that cannot be read, and the reason.

    Raises:
        UsageError: a source does not exist, holds no readable files, or has a name of unknown format.
    """
    if list(sources).count(STDIN) > 1:
        raise UsageError("stdin (-) is named twice", "it can be read once")
    files: list[tuple[str, Format | None]] = []
    for source in sources:
        path = Path(source)
        if not source:  # as of an unset variable; Path would take it for the current folder
            raise UsageError("the name of a file or folder is empty")
        if source == STDIN:
            files.append((source, format))
        elif path.is_dir():
            unreadable: list[OSError] = []
            found = [file for file in _walk(path, unreadable.append) if format_of(file) is not None]
            if not found and unreadable:
                raise UsageError(f"{unreadable[0].filename} cannot be read: {unreadable[0].strerror}")
            if not found:
                raise UsageError(f"{source} holds no files to read; accepted: {_accepted()}")
            for failure in unreadable:
                on_unreadable(failure.filename, f"cannot be read: {failure.strerror}")
            files += [(file.as_posix(), format or format_of(file)) for file in found]
        elif path.is_file():
            known = format or format_of(path)
            if known is None:
                raise UsageError(
                    f"{source}: the name does not tell the format; accepted: {_accepted()}",
                    "name the format with --format",
                )
            files.append((path.as_posix(), known))
        elif path.exists():  # a named pipe, such as <(command) makes
            files.append((source, format))
        else:
            raise UsageError(f"there is no file or folder {source}")
    return files


def files_passed_over(sources: Sequence[str]) -> list[str]:
    """Return the files in the folders among ``sources`` that are not read: their names tell no format."""
    folders = [Path(source) for source in sources if source != STDIN and Path(source).is_dir()]
    return [file.as_posix() for folder in folders for file in _walk(folder) if format_of(file) is None]


def _read(sources: Sequence[str], bad: BadInputs, format: Format | None) -> Iterator[Placed]:
    # Before the first record: a wrong name must not cost a long run.
    files = find_files(sources, format, bad.add)
    return _records(files, bad)


def _records(files: Sequence[tuple[str, Format | None]], bad: BadInputs) -> Iterator[Placed]:
    for source, known in files:
        name = "stdin" if source == STDIN else source
        try:
            with open_stream(source) as stream:
                chosen = known or guess_stream_format(stream)
                yield from READERS[chosen](name, stream, bad)
        except UnreadableError as failure:
            bad.add(name, failure.message)


def _unique(records: Iterator[Placed], make: Callable[[str, object], Item], bad: BadInputs) -> Iterator[Item]:
    seen: set[int] = set()
    for place, record in records:
        try:
            item = make(place, record)
        except BadRecord as reason:
            bad.add(place, str(reason))
            continue
        digest = hash(item.id)  # 64 bits: one chance in thirty million of a clash among a million ids
        if digest in seen:
            bad.add(place, f"duplicate id {item.id!r}: the input has it before, and the first one counts")
            continue
        seen.add(digest)
        yield item


def _walk(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    for directory, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory) / name


def _accepted() -> str:
    return ", ".join(FORMAT_OF_SUFFIX) + ", each also with .gz or .zst"
