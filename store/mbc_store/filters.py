"""Which documents match a time range and metadata."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from mbc_store.columns import Columns
from mbc_store.format import NO_TIMESTAMP
from mbc_store.records import decode_metadata

DOCUMENTS_PER_READ = 65536


def microseconds(moment: datetime | int) -> int:
    """Microseconds since 1970 UTC; a datetime without zone is taken as UTC."""
    if isinstance(moment, datetime):
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        delta = aware - datetime(1970, 1, 1, tzinfo=UTC)
        return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds
    return int(moment)


def matching_documents(
    columns: Columns,
    since: datetime | int | None,
    until: datetime | int | None,
    where: Mapping[str, str] | None,
) -> np.ndarray:
    """(documents,) bool over all documents ever written; see ``Snapshot.row_mask`` for the meaning."""
    total = columns.lengths.documents
    chosen = np.ones(total, dtype=bool)
    verdicts: dict[str, bool] = {}
    for start in range(0, total, DOCUMENTS_PER_READ):
        rows = slice(start, min(start + DOCUMENTS_PER_READ, total))
        if since is not None or until is not None:
            (timestamps,) = columns.read_many([("documents/timestamp", rows)])
            chosen[rows] &= timestamps != NO_TIMESTAMP
            if since is not None:
                chosen[rows] &= timestamps >= microseconds(since)
            if until is not None:
                chosen[rows] &= timestamps < microseconds(until)
        if where:
            (texts,) = columns.read_many([("documents/metadata", rows)])
            # Metadata repeats (sources, namespaces), so each distinct text is parsed once.
            for text in {*texts.tolist()} - verdicts.keys():
                verdicts[text] = _matches(decode_metadata(text), where)
            chosen[rows] &= np.fromiter((verdicts[text] for text in texts.tolist()), bool, len(texts))
            if len(verdicts) > 1_000_000:
                verdicts.clear()
    return chosen


def _matches(metadata: Mapping[str, Any], where: Mapping[str, str]) -> bool:
    return all(_equal(_value(metadata, key), wanted) for key, wanted in where.items())


def _value(metadata: Mapping[str, Any], key: str) -> Any:
    if key in metadata:
        return metadata[key]
    head, dot, rest = key.partition(".")
    inner = metadata.get(head)
    return _value(inner, rest) if dot and isinstance(inner, Mapping) else None


def _equal(value: Any, wanted: str) -> bool:
    if value is None:
        return False
    if isinstance(value, list):
        return any(_equal(item, wanted) for item in value)
    return _text(value) == _text(wanted)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
