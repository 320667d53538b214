"""Times however they are written: one parser for documents, ``--since``, ``--until`` and the API."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from numbers import Real

from mbc_cli.errors import UsageError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
ACCEPTED = (
    "ISO 8601 such as '2026', '2026-05-01' or '2026-05-01T12:00:00Z', an RFC 2822 date, 'May 1, 2026', "
    "20260501, or seconds, milliseconds or microseconds since 1970"
)
# Per unit, the size from which on a number is of the next smaller one. Seconds below reach the year 5138,
# and milliseconds from there on begin in 1973.
_UNITS = ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1))
_LONGEST = 64  # characters of a text that can be a time

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")
_SHORTEST_SECONDS = 9  # digits; shorter text is more likely a date cut short, such as 260501
# Digits in calendar order: a year, a month, a day, or down to the second (as web archives name copies).
_DIGITS = re.compile(r"([12]\d{3})(?:(\d\d)(?:(\d\d)(?:(\d\d)(\d\d)(\d\d))?)?)?")
_CLOCK = r"(?P<clock>\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?)"
_ZONE = r"(?: ?(?P<zone>Z|UTC|GMT|[+-]\d\d:?\d\d))?"
_NUMERIC = re.compile(
    rf"(?P<year>\d{{4}})([-/.])(?P<month>\d\d?)(?:\2(?P<day>\d\d?))?(?: \([A-Z]+\))?(?:[T ]{_CLOCK}{_ZONE})?",
    re.IGNORECASE,
)
_NAME = r"(?P<name>[A-Za-z]{3,9})\.?"
_NAMED = [
    re.compile(rf"(?:[A-Za-z]+,? )?{date_order},? (?P<year>\d{{4}})(?:,? {_CLOCK}{_ZONE})?")
    for date_order in (rf"{_NAME} (?P<day>\d\d?)", rf"(?P<day>\d\d?) {_NAME}")
]
_RFC_2822 = re.compile(r"(?:[A-Za-z]{3}, )?\d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? [A-Za-z]{1,4}")
_MONTHS = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
]


def parse_timestamp(value: object) -> int | None:
    """Return microseconds since the Unix epoch, UTC.

    A part of a date is its first moment, and a time without a zone is UTC. Numbers, and text that holds
    one, are read by their size: dates without hyphens (2026, 202605, 20260501, 20260501123000), else
    seconds below 1e11, milliseconds below 1e14, microseconds below 1e17. None and blank text are no time.

    Raises:
        ValueError: the value is no time, could be several, or lies outside the years 1 to 9999.
    """
    if value is None:
        return None
    try:
        if isinstance(value, datetime | date):
            moment = datetime.fromisoformat(value.isoformat()[:_LONGEST])
        elif isinstance(value, Real | Decimal) and not isinstance(value, bool):
            moment = _from_number(value if isinstance(value, int) else float(value))
        elif isinstance(value, str):
            text = " ".join(value[: 4 * _LONGEST].split())
            if not text:
                return None
            moment = _from_text(text)
        else:
            raise ValueError
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"is {_shown(value)}, which is no time; accepted: {ACCEPTED}") from None
    return (moment - EPOCH) // MICROSECOND


def time_bound(name: str, value: str | date | None) -> int | None:
    """Return the microseconds since the Unix epoch, UTC, of a time that is text or a date.

    Args:
        name: what the caller calls it, for the message.

    Raises:
        UsageError: it is something else, or text that is no time.
    """
    if value is not None and not isinstance(value, str | date):
        raise UsageError(
            f"{name} is of type {type(value).__name__}; accepted: a datetime, or text ({ACCEPTED})"
        )
    try:
        return parse_timestamp(value)
    except ValueError as failure:
        raise UsageError(f"{name} {failure}") from None


def format_timestamp(microseconds: int) -> str:
    """Return ``microseconds`` since the epoch as ISO 8601 text in UTC, such as '2026-05-01T00:00:00Z'."""
    return (EPOCH + timedelta(microseconds=microseconds)).isoformat().replace("+00:00", "Z")


def _from_number(value: float) -> datetime:
    if abs(value) < 1e17 and value == int(value) and (written := _from_digits(str(int(value)))):
        return written
    for limit, microseconds in _UNITS:
        if abs(value) < limit:
            return EPOCH + timedelta(microseconds=round(value * microseconds))
    raise ValueError  # also where it is not a number at all


def _from_digits(text: str) -> datetime | None:
    if not (found := _DIGITS.fullmatch(text)):
        return None
    parts = [int(part) for part in found.groups() if part]
    if len(parts) == 2 and not 1800 <= parts[0] < 2200:
        return None
    try:
        return datetime(*[*parts, 1, 1][: max(3, len(parts))])  # type: ignore[arg-type]
    except ValueError:
        return None


def _from_text(text: str) -> datetime:
    if len(text) > _LONGEST:
        raise ValueError
    if _NUMBER.fullmatch(text):
        if written := _from_digits(text):
            return written
        if len(text.lstrip("+-").partition(".")[0]) < _SHORTEST_SECONDS and "e" not in text.lower():
            return datetime.fromisoformat(text)  # years outside 1000 to 2999
        return _from_number(float(text))
    if _RFC_2822.fullmatch(text):
        return parsedate_to_datetime(text)
    if found := _NUMERIC.fullmatch(text):
        return _assembled(found, int(found["month"]))
    for pattern in _NAMED:
        if found := pattern.fullmatch(text):
            return _assembled(found, _month(found["name"]))
    return datetime.fromisoformat(text)


def _assembled(found: re.Match[str], month: int) -> datetime:
    hour, _, rest = (found["clock"] or "0:00").partition(":")
    zone = (found["zone"] or "").upper().replace("UTC", "Z").replace("GMT", "Z")
    day = int(found["day"] or 1)
    return datetime.fromisoformat(f"{found['year']}-{month:02}-{day:02}T{hour:>02}:{rest}{zone}")


def _month(name: str) -> int:
    matching = [number for number, month in enumerate(_MONTHS, 1) if month.startswith(name.lower())]
    if len(matching) != 1:
        raise ValueError
    return matching[0]


def _shown(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # a number of thousands of digits
        shown = "a very large number"
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"
