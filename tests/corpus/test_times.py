"""Times however they are written: one moment for each way of writing it, and no guesses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbc_cli.corpus.times import format_timestamp, parse_timestamp

MAY_DAY = 1_777_593_600_000_000


@pytest.mark.parametrize(
    "written",
    [
        "2026-05-01",
        "2026-05-01T00:00:00Z",
        "2026-05-01T02:00:00+02:00",
        "20260501",
        20260501,
        20260501.0,
        Decimal(20260501),
        "20260501000000",
        20260501000000,
        "2026-05",
        202605,
        "2026-05-01t00:00",
        "2026-05-01 00:00:00 UTC",
        "2026-05-01T00:00:00.000000999Z",
        "2026/05/01",
        "2026.5.1",
        "2026/05/01 (Fri) 00:00",
        "Fri, 01 May 2026 00:00:00 GMT",
        "1 May 2026 02:00:00 +0200",
        "Thu, 30 Apr 2026 19:00 EST",
        "May 1, 2026",
        "1 May 2026",
        "Friday, May 1, 2026 0:00",
        "  2026-05-01 ",
        1_777_593_600,
        1_777_593_600.0,
        "1777593600",
        1_777_593_600_000,
        "1777593600000",
        1_777_593_600_000_000,
        "1.7775936e9",
        date(2026, 5, 1),
        datetime(2026, 5, 1, tzinfo=UTC),
    ],
)
def test_one_moment_reads_the_same_however_it_is_written(written: Any) -> None:
    assert parse_timestamp(written) == MAY_DAY


@pytest.mark.parametrize("written", [None, "", "  "])
def test_no_time_is_none(written: Any) -> None:
    assert parse_timestamp(written) is None


@pytest.mark.parametrize(
    "written",
    [
        "yesterday",
        True,
        [],
        1e18,
        1e30,
        float("nan"),
        float("inf"),
        "9" * 400,
        pytest.param(10**5000, id="of 5000 digits"),
        "NaT",
        "N/A",
        "10:00",
        "260501",
        "01/05/2026",
        "May 32, 2026",
        "Ma 1, 2026",
        "2026-13",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-02:00",
        "1 May 2026 " * 10_000,
    ],
)
def test_what_is_no_time_is_a_value_error(written: Any) -> None:
    with pytest.raises(ValueError, match=r"is .*, which is no time; accepted: ISO 8601"):
        parse_timestamp(written)


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_formatted_times_read_back_exactly(microseconds: int) -> None:
    assert parse_timestamp(format_timestamp(microseconds)) == microseconds


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        (2021, "2021-01-01T00:00:00Z"),
        ("2021", "2021-01-01T00:00:00Z"),
        (157_766_400_000, "1975-01-01T00:00:00Z"),  # milliseconds, though seconds would be a year too
        (-86_400, "1969-12-31T00:00:00Z"),
        (86_400_000, "1972-09-27T00:00:00Z"),  # no calendar has a month 00
        (1_777_593_600.25, "2026-05-01T00:00:00.250000Z"),
        ("0500-01-01", "0500-01-01T00:00:00Z"),
    ],
)
def test_numbers_are_read_by_their_size(written: Any, moment: str) -> None:
    assert format_timestamp(parse_timestamp(written) or 0) == moment


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates() | st.datetimes())
def test_anything_is_a_time_or_a_value_error(written: Any) -> None:
    try:
        moment = parse_timestamp(written)
    except ValueError:
        return
    assert moment is None or parse_timestamp(format_timestamp(moment)) == moment
