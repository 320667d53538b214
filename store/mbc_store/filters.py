"""Which documents match a time range and metadata."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from difflib import get_close_matches

import numpy as np

from mbc_store.columns import Columns
from mbc_store.conditions import Condition, Where, conditions, keys_of
from mbc_store.errors import StoreWarning
from mbc_store.format import NO_TIMESTAMP
from mbc_store.records import decode_metadata

DOCUMENTS_PER_READ = 65536
_KEYS = 10_000  # of metadata, remembered to tell misspelt ones


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
    where: Where | None,
) -> np.ndarray:
    """(documents,) bool over all documents ever written; see ``Snapshot.row_mask`` for the meaning."""
    wanted = conditions(where)
    columns.check_extent()
    total = columns.lengths.documents
    chosen = np.ones(total, dtype=bool)
    verdicts: dict[str, bool] = {}
    known: dict[str, None] = {}
    for start in range(0, total, DOCUMENTS_PER_READ):
        rows = slice(start, min(start + DOCUMENTS_PER_READ, total))
        if since is not None or until is not None:
            (timestamps,) = columns.read_many([("documents/timestamp", rows)])
            chosen[rows] &= timestamps != NO_TIMESTAMP
            if since is not None:
                chosen[rows] &= timestamps >= microseconds(since)
            if until is not None:
                chosen[rows] &= timestamps < microseconds(until)
        if wanted:
            (texts,) = columns.read_many([("documents/metadata", rows)])
            # Metadata repeats (sources, namespaces), so each distinct text is parsed once.
            for text in {*texts.tolist()} - verdicts.keys():
                metadata = decode_metadata(text)
                verdicts[text] = all(condition.holds(metadata) for condition in wanted)
                if len(known) < _KEYS:
                    known |= dict.fromkeys(keys_of(metadata))
            chosen[rows] &= np.fromiter((verdicts[text] for text in texts.tolist()), bool, len(texts))
            if len(verdicts) > 1_000_000:
                verdicts.clear()
    _name_unknown(wanted, known)
    return chosen


def _name_unknown(wanted: Sequence[Condition], known: Mapping[str, None]) -> None:
    """Warn of keys that no document has: a misspelt one finds nothing, or everything, without a word."""
    for key in dict.fromkeys(condition.key for condition in wanted):
        if known and key not in known:
            close = get_close_matches(key, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known)[:10])}"
            warnings.warn(f"no document has the metadata key {key!r}: {hint}", StoreWarning, stacklevel=3)
