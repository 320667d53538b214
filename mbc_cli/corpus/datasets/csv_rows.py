"""Rows of a published CSV file, checked for the columns a dataset needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.readers import KEPT_WITHOUT_TIME, read_records
from mbc_cli.corpus.times import parse_timestamp
from mbc_cli.errors import InputError, UsageError

Row = Mapping[str, str]


def read_rows(
    dataset: str, path: Path, columns: Sequence[str], bad: BadInputs, delimiter: str | None
) -> Iterator[tuple[str, Row]]:
    """Yield the rows with their places; a row with an empty required column is left out.

    Raises:
        UsageError: there is no file.
        MbcError: the file lacks a column.
    """
    if not path.is_file():
        raise UsageError(f"dataset {dataset} is read from its CSV file, and {path} is none", "name the file")
    for place, row in read_records([str(path)], bad, "csv", delimiter, columns[0]):
        assert isinstance(row, dict)
        if missing := [column for column in columns if column not in row]:
            raise InputError(
                f"{path} has no column {missing[0]!r}; the columns are {', '.join(row)}",
                f"dataset {dataset} needs {', '.join(columns)}",
            )
        if empty := [column for column in columns if not row[column].strip()]:
            bad.add(place, f"column {empty[0]!r} is empty")
        else:
            yield place, row


def row_timestamp(row: Row, place: str, bad: BadInputs, *columns: str) -> int | None:
    """The time in the first of ``columns`` that holds one that can be read, in microseconds."""
    for column in columns:
        try:
            if (timestamp := parse_timestamp(row.get(column))) is not None:
                return timestamp
        except ValueError:
            bad.remark(place, KEPT_WITHOUT_TIME)
    return None
