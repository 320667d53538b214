"""Tables as text: CSV and its kin, with a header that names the columns."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator

from mbc_cli.corpus.bad_input import BadInputs, BadRecord
from mbc_cli.corpus.lines import Lines
from mbc_cli.corpus.streams import MAX_RECORD_BYTES, BrokenStream, decode
from mbc_cli.errors import UsageError

DELIMITERS = (",", ";", "\t", "|")
_SPELLED = {"tab": "\t", "\\t": "\t"}
_DECLARATION = re.compile(r"sep=(.)", re.IGNORECASE)


def check_delimiter(delimiter: str | None) -> str | None:
    """Return the character that ``delimiter`` stands for.

    Raises:
        UsageError: it is not one character, or has another meaning in CSV.
    """
    character = _SPELLED.get(delimiter, delimiter) if delimiter is not None else None
    if character is not None and (len(character) != 1 or character in '"\r\n' or not character.isascii()):
        raise UsageError(f"--delimiter received {delimiter!r}; accepted: one ASCII character, or tab")
    return character


def delimiter_of(line: str, column: str) -> str | None:
    """The delimiter with which ``line`` is two or more names of columns, ``column`` among them, if any.

    It may also be the line that spreadsheets write before the header for each other: ``sep=;``.
    """
    if declared := _DECLARATION.fullmatch(line):
        return declared[1]
    for delimiter in DELIMITERS:
        names = _names(next(csv.reader([line], delimiter=delimiter), []))
        if len(names) > 1 and column in names:
            return delimiter
    return None


def read_delimited(
    name: str, lines: Lines, bad: BadInputs, *, delimiter: str | None, column: str
) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield a record for every row after the header, with the line it ends at.

    Args:
        delimiter: None takes the one with which the header names ``column``, a comma if there is none.
    """
    # The module's limit is for all of the process; lines are limited as they are read.
    csv.field_size_limit(MAX_RECORD_BYTES)
    line = lines.first_line().decode("utf-8", "replace")
    found = delimiter_of(line, column) or ","
    if _DECLARATION.fullmatch(line):
        next(lines)
    elif delimiter is None and found != ",":
        bad.remark(name, f"columns are parted by {found!r}, as the header has it; --delimiter settles it")
    rows = csv.reader(_CsvLines(lines), delimiter=delimiter or found, strict=True)
    header: list[str] = []
    while True:
        first = lines.number + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as failure:
            bad.add(
                f"{name}:{lines.number}", f"malformed CSV: {failure}, in the row that begins in line {first}"
            )
            continue
        except (BadRecord, BrokenStream) as reason:
            bad.add(f"{name}:{lines.number}", str(reason))
            continue
        place = f"{name}:{lines.number}"
        if not row:
            continue
        if not header:
            header = _names(row)
            if repeated := sorted(name for name, count in Counter(header).items() if name and count > 1):
                bad.add(place, f"the header names {repeated[0]!r:.80} twice")
                return
            for _ in range(header.count("")):
                bad.remark(place, "a column without a name is left out")
        elif len(row) < len(header) or any(row[len(header) :]):
            bad.add(place, f"the row has {len(row)} fields, the header {len(header)}")
        else:
            yield place, {column: value for column, value in zip(header, row, strict=False) if column}


def _names(header: list[str]) -> list[str]:
    return [column.strip() for column in header]


class _CsvLines(Iterator[str]):
    """Lines as the csv module wants them: text, with ends. It may raise and be asked to go on."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __next__(self) -> str:
        return decode(next(self._lines)) + "\n"
