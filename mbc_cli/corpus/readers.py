"""Documents, questions and ids from files, folders and stdin, one at a time, bad input left out by name.

A folder stands for every file in it (hidden ones aside) whose name tells a format, in the order of their
paths. Reading holds one record at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.choices import Format, OnBadTime
from mbc_cli.corpus.delimited import check_delimiter
from mbc_cli.corpus.documents import Document, Question
from mbc_cli.corpus.formats import FORMAT_OF_SUFFIX, LocatedRecord, Source, format_of, read_source
from mbc_cli.corpus.office_files import MIME_TYPES, is_installed, not_installed
from mbc_cli.corpus.records import FieldNames, document_from, identifier_from, question_from
from mbc_cli.corpus.streams import STDIN, OnRead, open_stream
from mbc_cli.errors import UnreadableError, UsageError

Item = TypeVar("Item")
Identified = TypeVar("Identified", Document, Question)
KEPT_WITHOUT_TIME = "a time that cannot be read: the document is kept without one"
_COMES_AGAIN = "an id comes again, and its later record counts"


def read_documents(
    sources: Sequence[str],
    bad: BadInputs,
    *,
    names: FieldNames | None = None,
    format: Format | None = None,
    delimiter: str | None = None,
    on_bad_time: OnBadTime = "skip",
    on_read: OnRead | None = None,
) -> Iterator[Document]:
    """Yield the documents of ``sources``: files, folders, or ``-`` for stdin.

    An id may come again: whoever stores the documents in their order keeps the later one.

    Args:
        bad: where records that cannot be used are counted; it decides whether the first one is fatal.
        names: what the corpus calls a document's fields.
        format: read every source so; by default a file's name decides, and for stdin its first line.
        delimiter: what parts the columns of CSV; by default the header tells.
        on_bad_time: what becomes of a document whose time cannot be read.
        on_read: called with how many bytes of the files were read, as they lie there.

    Raises:
        UsageError: a source does not exist, or its format is unknown (before anything is read).
        MbcError: bad input, if ``bad`` says so.
    """
    field_names = names or FieldNames()
    place = ""

    def kept(reason: str) -> None:
        bad.remark(f"{place}: {reason}", KEPT_WITHOUT_TIME)

    def make(where: str, record: object) -> Document:
        nonlocal place
        place = where
        return document_from(
            record,
            field_names,
            lambda what: bad.remark(where, what),
            kept if on_bad_time == "keep" else None,
        )

    records = read_records(sources, bad, format, delimiter, field_names.text, on_read=on_read)
    return _made(records, make, bad)


def read_questions(
    sources: Sequence[str],
    bad: BadInputs,
    *,
    format: Format | None = None,
    delimiter: str | None = None,
) -> Iterator[Question]:
    """Yield the questions of ``sources``; arguments and errors as for :func:`read_documents`.

    A record has ``question`` and ``answers`` and may have ``id`` and ``document_ids``.
    """
    records = read_records(sources, bad, format, delimiter, "question")
    return _made(records, lambda place, record: question_from(record, default_id=place), bad)


def read_ids(
    source: str, bad: BadInputs, *, format: Format | None = None, delimiter: str | None = None
) -> Iterator[str]:
    """Yield the ids of a file: one a line, or the field ``id`` of records; arguments as above."""
    if format is None and format_of(Path(source)) not in ("text", "markdown", None):
        format = format_of(Path(source))
    if source != STDIN and not Path(source).exists():
        raise UsageError(f"there is no file {source}")
    records = _records([(source, format)], bad, check_delimiter(delimiter), "id")
    return _made(records, lambda _, record: identifier_from(record), bad)


def read_records(
    sources: Sequence[str],
    bad: BadInputs,
    format: Format | None,
    delimiter: str | None,
    column: str,
    *,
    blank_lines: bool = False,
    null: bool = False,
    on_read: OnRead | None = None,
) -> Iterator[LocatedRecord]:
    """Yield the records of ``sources`` with their places.

    Args:
        column: one that a table must have.
        blank_lines: yield them as well, as texts without a word, so that line n is record n.
        null: lines end with a byte 0 instead of a line break.
    """
    delimiter = check_delimiter(delimiter)
    # Before the first record: a wrong name must not cost a long run.
    files = find_files(sources, format, bad.add)
    return _records(files, bad, delimiter, column, blank_lines=blank_lines, null=null, on_read=on_read)


def latest(items: Iterable[Identified], bad: BadInputs) -> list[Identified]:
    """The items in their order; of those with equal ids the last one, at its place."""
    found: dict[str, Identified] = {}
    for item in items:
        if found.pop(item.id, None) is not None:
            bad.remark(repr(item.id), _COMES_AGAIN)
        found[item.id] = item
    return list(found.values())


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
        MissingPackageError: a source that is named is of a format that an extra reads.
    """
    if list(sources).count(STDIN) > 1:
        raise UsageError("stdin (-) is named twice", "it can be read once")
    files: list[tuple[str, Format | None]] = []
    for source in sources:
        path = Path(source)
        if not source:  # as of an unset variable; Path would take it for the current folder
            raise UsageError("the name of a file or folder is empty")
        if source == STDIN:
            if format in MIME_TYPES and not is_installed():
                raise not_installed(f"{format} from stdin")
            files.append((source, format))
        elif path.is_dir():
            unreadable: list[OSError] = []
            found = [file for file in _walk(path, unreadable.append) if _is_read(file, format)]
            special = [file for file in found if file.exists() and not file.is_file()]
            found = [file for file in found if file not in special]
            if not found and unreadable:
                raise UsageError(f"{unreadable[0].filename} cannot be read: {unreadable[0].strerror}")
            if not found:
                raise UsageError(f"{source} holds no files to read; accepted: {_accepted()}")
            for file in special:  # one that nobody writes to would be waited for without end
                on_unreadable(file.as_posix(), "is no regular file but a pipe, socket or device")
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
            if known in MIME_TYPES and not is_installed():
                raise not_installed(source)
            files.append((path.as_posix(), known))
        elif path.exists():  # a named pipe, such as <(command) makes
            files.append((source, format))
        else:
            raise UsageError(f"there is no file or folder {source}")
    return files


def files_passed_over(sources: Sequence[str], format: Format | None = None) -> list[str]:
    """Return the files in the folders among ``sources`` that are not read: their names tell no format."""
    folders = [Path(source) for source in sources if source != STDIN and Path(source).is_dir()]
    return [file.as_posix() for folder in folders for file in _walk(folder) if not _is_read(file, format)]


def _records(
    files: Sequence[tuple[str, Format | None]],
    bad: BadInputs,
    delimiter: str | None,
    column: str,
    *,
    blank_lines: bool = False,
    null: bool = False,
    on_read: OnRead | None = None,
) -> Iterator[LocatedRecord]:
    for source, format in files:
        name = "stdin" if source == STDIN else source
        try:
            with open_stream(source, on_read) as stream:
                read = Source(name, stream, bad, column, delimiter, blank_lines, null)
                yield from read_source(read, format)
        except UnreadableError as failure:
            bad.add(name, failure.message)


def _made(
    records: Iterator[LocatedRecord], make: Callable[[str, object], Item], bad: BadInputs
) -> Iterator[Item]:
    for place, record in records:
        try:
            item = make(place, record)
        except BadRecord as reason:
            bad.add(place, str(reason))
        else:
            yield item


def _is_read(file: Path, format: Format | None) -> bool:
    """Whether a file within a folder is read; one of JSON, which may be settings as well, if asked for."""
    known = format_of(file)
    return known is not None and (known != "json" or format == "json")


def _walk(folder: Path, on_error: Callable[[OSError], None] | None = None) -> Iterator[Path]:
    for directory, folders, files in os.walk(folder, onerror=on_error):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory) / name


def _accepted() -> str:
    return ", ".join(FORMAT_OF_SUFFIX) + ", each also with .gz or .zst"
