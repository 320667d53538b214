"""Arrow's values as Python's, for every type and whatever it holds."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from mbc_cli.corpus.times import EPOCH

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}


def value_of(scalar: Any) -> Any:
    """Return a value, maps as pairs; dates, times and durations that Python has no room for become text.

    Raises:
        UnicodeDecodeError: it holds text in no valid UTF-8.
    """
    if not scalar.is_valid:
        return None
    if isinstance(scalar, pa.StructScalar):
        return {field.name: value_of(scalar[number]) for number, field in enumerate(scalar.type)}
    if isinstance(scalar, pa.MapScalar):
        return [[value_of(part) for part in entry.values()] for entry in scalar.values]
    if isinstance(scalar, pa.DictionaryScalar | pa.RunEndEncodedScalar):
        return value_of(scalar.value)
    if hasattr(scalar, "values"):  # the kinds of lists
        return [value_of(item) for item in scalar.values]
    try:
        if isinstance(scalar, pa.TimestampScalar):
            return _moment(scalar)
        if isinstance(scalar, pa.DurationScalar):
            return timedelta(microseconds=_microseconds(scalar))
        if isinstance(scalar, pa.Time64Scalar):
            return scalar.cast(pa.time64("us"), safe=False).as_py()
        return scalar.as_py()
    except UnicodeDecodeError:
        raise
    except Exception:  # a date outside the years 1 to 9999, an extension that pyarrow does not know, ...
        if isinstance(scalar, pa.ExtensionScalar):
            return value_of(scalar.value)
        return f"{getattr(scalar, 'value', 'a value')} ({scalar.type})"


def _moment(scalar: Any) -> datetime:
    microseconds = _microseconds(scalar)
    try:
        moment: datetime = pa.scalar(microseconds, pa.timestamp("us", scalar.type.tz)).as_py()
        return moment
    except Exception:  # a zone that is not known, or that leaves the years 1 to 9999
        return EPOCH + timedelta(microseconds=microseconds)


def _microseconds(scalar: Any) -> int:
    return int(scalar.value) * 1_000_000 // _PER_SECOND[scalar.type.unit]
