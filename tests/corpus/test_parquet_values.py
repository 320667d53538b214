"""Arrow's values: every type, at its extremes, is read or becomes text; none is an error."""

from __future__ import annotations

import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow as pa
import pytest
from pyarrow import parquet

from mbc_cli.corpus.parquet_values import value_of
from tests.corpus.test_readers import read

FAR = 2**63 - 1


def moments(unit: str, zone: str | None = None) -> pa.Array:
    return pa.array([1, FAR, -FAR, None], pa.int64()).cast(pa.timestamp(unit)).cast(pa.timestamp(unit, zone))


COLUMNS: dict[str, tuple[pa.Array, list[Any]]] = {
    "seconds": (
        moments("s"),
        [datetime(1970, 1, 1, 0, 0, 1), f"{FAR} (timestamp[s])", f"-{FAR} (timestamp[s])", None],
    ),
    "nanoseconds": (
        moments("ns"),
        [
            datetime(1970, 1, 1),
            datetime(2262, 4, 11, 23, 47, 16, 854_775),
            datetime(1677, 9, 21, 0, 12, 43, 145_224),
            None,
        ],
    ),
    "a zone that is not known": (
        moments("us", "Nowhere/At_all"),
        [
            datetime(1970, 1, 1, 0, 0, 0, 1, UTC),
            f"{FAR} (timestamp[us, tz=Nowhere/At_all])",
            f"-{FAR} (timestamp[us, tz=Nowhere/At_all])",
            None,
        ],
    ),
    "a sentinel in an eastern zone": (
        pa.array([253_402_300_799], pa.int64()).cast(pa.timestamp("s", "Asia/Tokyo")),
        [datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)],
    ),
    "days": (
        pa.array([1, 2**31 - 1], pa.int32()).cast(pa.date32()),
        [date(1970, 1, 2), f"{2**31 - 1} (date32[day])"],
    ),
    "durations": (
        pa.array([1, FAR], pa.int64()).cast(pa.duration("s")),
        [timedelta(seconds=1), f"{FAR} (duration[s])"],
    ),
    "durations of nanoseconds": (
        pa.array([1_999], pa.int64()).cast(pa.duration("ns")),
        [timedelta(microseconds=1)],
    ),
    "times of nanoseconds": (pa.array([1_999], pa.int64()).cast(pa.time64("ns")), [time(0, 0, 0, 1)]),
    "lists of moments": (
        pa.array([[1, FAR], None], pa.list_(pa.int64())).cast(pa.list_(pa.timestamp("s"))),
        [[datetime(1970, 1, 1, 0, 0, 1), f"{FAR} (timestamp[s])"], None],
    ),
    "a dictionary of moments": (
        moments("s").slice(1, 1).dictionary_encode(),
        [f"{FAR} (timestamp[s])"],
    ),
    "large lists": (pa.array([[b"x"], []], pa.large_list(pa.binary())), [[b"x"], []]),
    "views of lists": (pa.array([[1], [None]], pa.list_view(pa.int8())), [[1], [None]]),
    "maps": (pa.array([[("a", 1), ("a", None)]], pa.map_(pa.string(), pa.int8())), [[["a", 1], ["a", None]]]),
    "structs": (pa.array([{"a": [True]}, None]), [{"a": [True]}, None]),
    "half floats": (pa.array([1.5, None], pa.float16()), [1.5, None]),
    "decimals": (pa.array([Decimal(10) ** 70], pa.decimal256(76, 0)), [Decimal(10) ** 70]),
    "views of bytes": (pa.array([b"\xff"], pa.binary_view()), [b"\xff"]),
    "nulls": (pa.nulls(2), [None, None]),
    "intervals": (pa.array([(1, 2, FAR)], pa.month_day_nano_interval()), [(1, 2, FAR)]),
    "UUIDs": (
        pa.ExtensionArray.from_storage(pa.uuid(), pa.array([bytes(16)], pa.binary(16))),
        [UUID(int=0)],
    ),
    "an unknown extension": (
        pa.ExtensionArray.from_storage(pa.opaque(pa.int64(), "kind", "vendor"), pa.array([7])),
        [7],
    ),
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_every_type_has_a_value(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        sys.modules, "pandas", None
    )  # with it pyarrow reads nanoseconds, and it may be missing
    array, values = COLUMNS[kind]
    assert [value_of(scalar) for scalar in array] == values


def test_text_that_is_no_utf8_is_the_one_error() -> None:
    spoilt = pa.array([b"\xff"]).view(pa.string())
    with pytest.raises(UnicodeDecodeError):
        value_of(spoilt[0])


def test_a_file_without_rows_holds_no_documents(tmp_path: Path) -> None:
    nothing = pa.array([], pa.string())
    parquet.write_table(pa.table({"id": nothing, "text": nothing}), tmp_path / "d.parquet")
    assert read(tmp_path / "d.parquet") == ([], [])
