"""What goes into a store and what comes out of it: plain values and numpy arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np

from mbc_store.errors import InvalidRecord, StoreCorrupt
from mbc_store.format import FIRST_TIMESTAMP, LAST_TIMESTAMP, StoreConfig
from mbc_store.identifiers import id_problem


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """One encoded document.

    Attributes:
        id: non-empty text, unique in the store.
        codes: (passages, T, L) unsigned integers below K; at least one passage.
        spans: (passages, 2) int64, first and one-past-last character of each passage in the text.
        digest: 0 <= digest < 2**64, equal for equal content; an upsert with an equal digest is a no-op.
        text: the document's text; dropped by a store made with ``keep_text=False``.
        title: an empty title is no title.
        timestamp: microseconds since the Unix epoch, UTC.
        metadata: JSON object.
        quantization_error: mean squared distance between the context vectors and their codes.
    """

    id: str
    codes: np.ndarray
    spans: np.ndarray
    digest: int
    text: str | None = None
    title: str | None = None
    timestamp: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    quantization_error: float | None = None


@dataclass(frozen=True, slots=True)
class StoredPassage:
    """Where one row of codes came from; ``text`` is the passage's own part of the document."""

    document_id: str
    index: int
    start: int
    end: int
    title: str | None
    text: str | None
    timestamp: int | None
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """One document as the store holds it; ``rows`` are the rows of its passages."""

    id: str
    title: str | None
    text: str | None
    timestamp: int | None
    metadata: Mapping[str, Any]
    digest: int
    rows: range

    @property
    def passage_count(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Counts:
    """What a transaction changed, in documents."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    forgotten: int = 0

    @property
    def changes(self) -> int:
        return self.added + self.replaced + self.forgotten


@dataclass(frozen=True, slots=True)
class Commit:
    """One entry of a store's history.

    ``quantization_error`` is the mean over the passages encoded by this commit, None where unknown.
    """

    id: str
    time: datetime
    message: str
    operation: str
    counts: Counts
    documents: int
    passages: int
    quantization_error: float | None
    tags: tuple[str, ...] = ()

    def drift(self, config: StoreConfig) -> float | None:
        """How many times worse the codebooks fitted this commit than the documents they were trained on.

        None where either error is unknown.
        """
        if self.quantization_error is None or not config.quantization_error:
            return None
        return self.quantization_error / config.quantization_error


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """Size and state of a store; see ``MemoryStore.info``.

    ``array_bytes`` are the compressed bytes of each array at the current snapshot; ``disk_bytes`` is
    everything on disk, history included (None on object storage). ``code_entropy_bits`` is the Shannon
    entropy of the codes of one passage, summed over slots and levels.
    """

    location: str
    snapshot: str
    documents: int
    passages: int
    dead_passages: int
    slots: int
    num_quantizers: int
    codebook_size: int
    fingerprint: str
    adapter: str | None
    base_model: str | None
    keep_text: bool
    vector_width: int | None
    array_bytes: Mapping[str, int]
    disk_bytes: int | None
    code_entropy_bits: float
    codes_used: float
    commits: int
    tags: Mapping[str, str]

    @property
    def float32_bytes(self) -> int | None:
        """Bytes of the living passages' vectors in float32, where their width is known."""
        return None if self.vector_width is None else self.passages * self.slots * self.vector_width * 4

    @property
    def code_bytes(self) -> int:
        return self.array_bytes.get("passages/codes", 0)

    @property
    def current_bytes(self) -> int:
        return sum(self.array_bytes.values())


def encode_metadata(metadata: Mapping[str, Any]) -> str:
    """Canonical JSON of ``metadata``; the empty object is the empty text."""
    if not metadata:
        return ""
    return json.dumps(
        dict(metadata), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    )


def decode_metadata(text: str) -> dict[str, Any]:
    """Inverse of ``encode_metadata``.

    Raises:
        StoreCorrupt: not what that writes.
    """
    try:
        metadata = json.loads(text or "{}")
    except (ValueError, RecursionError):
        metadata = None
    if not isinstance(metadata, dict):
        raise StoreCorrupt(
            f"the metadata of a document is not a JSON object: {text[:60]!r}",
            "run `mbc memory verify`, then `mbc memory repair`",
        )
    return metadata


def check_record(record: DocumentRecord, config: StoreConfig) -> DocumentRecord:
    """``record`` with arrays of the stored dtypes.

    Raises:
        InvalidRecord: naming the document, the value received and what is accepted.
    """

    def refuse(problem: str) -> InvalidRecord:
        return InvalidRecord(f"document {record.id!r:.100}: {problem}")

    if problem := id_problem(record.id):
        raise refuse(f"the id {problem}")
    slots, levels, codes = config.code_shape
    array = np.asarray(record.codes)
    if array.ndim != 3 or array.shape[0] < 1 or array.shape[1:] != (slots, levels):
        raise refuse(f"codes have shape {array.shape}, this store takes (passages >= 1, {slots}, {levels})")
    if not np.issubdtype(array.dtype, np.integer):
        raise refuse(f"codes are {array.dtype}, expected integers")
    if array.min() < 0 or array.max() >= codes:
        raise refuse(f"codes span {array.min()} to {array.max()}, this store takes 0 to {codes - 1}")
    spans = np.asarray(record.spans)
    if spans.shape != (array.shape[0], 2):
        raise refuse(f"spans have shape {spans.shape}, expected ({array.shape[0]}, 2)")
    if (spans[:, 0] < 0).any() or (spans[:, 1] < spans[:, 0]).any():
        raise refuse("spans must satisfy 0 <= start <= end")
    if not 0 <= record.digest < 2**64:
        raise refuse(f"digest {record.digest} is not an unsigned 64-bit integer")
    if record.timestamp is not None and not FIRST_TIMESTAMP <= record.timestamp <= LAST_TIMESTAMP:
        raise refuse(
            f"timestamp {record.timestamp} is outside the years 1 to 9999; it counts microseconds since 1970"
        )
    try:
        encode_metadata(record.metadata).encode()
        for text in (record.id, record.title, record.text):
            str.encode(text or "")
    except UnicodeEncodeError as error:
        raise refuse("text, title, id or metadata hold characters that UTF-8 cannot store") from error
    except (TypeError, ValueError) as error:
        raise refuse(f"title and text are texts and metadata is a JSON object: {error}") from error
    return DocumentRecord(
        record.id,
        array.astype(config.code_type),
        spans.astype(np.int64),
        record.digest,
        record.text,
        record.title or None,
        record.timestamp,
        record.metadata,
        record.quantization_error,
    )
