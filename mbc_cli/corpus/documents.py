"""The corpus's vocabulary: documents, the passages they are cut into, and questions about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from mbc_cli.corpus.times import time_bound
from mbc_cli.errors import UsageError
from mbc_cli.identifiers import id_problem

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True, init=False)
class Document:
    """One text of the stream. ``id`` names it for good: encoding another text under the same id replaces it.

    Attributes:
        timestamp: microseconds since the Unix epoch, UTC, or None.
        metadata: a JSON object.
    """

    id: str
    text: str
    title: str | None
    timestamp: int | None
    metadata: Mapping[str, JSON]

    def __init__(
        self,
        id: str,
        text: str,
        title: str | None = None,
        timestamp: str | date | int | None = None,
        metadata: Mapping[str, JSON] | None = None,
    ) -> None:
        """``timestamp`` is text such as 2026-05-01 or a datetime, UTC without a zone; an int is what is kept.

        Raises:
            UsageError: a value is of another type, or ``timestamp`` is no time.
        """
        if problem := id_problem(id):
            raise UsageError(f"a document's id {problem} (received {id!r:.100})")
        for name, value in (("text", text), ("title", title)):
            if not isinstance(value, str) and (name != "title" or value is not None):
                raise UsageError(f"a document's {name} is of type {type(value).__name__}; accepted: text")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise UsageError(
                f"a document's metadata is of type {type(metadata).__name__}; accepted: a mapping"
            )
        if not isinstance(timestamp, int):
            timestamp = time_bound("a document's timestamp", timestamp)
        object.__setattr__(self, "id", id)
        object.__setattr__(self, "text", text)
        object.__setattr__(self, "title", title)
        object.__setattr__(self, "timestamp", timestamp)
        object.__setattr__(self, "metadata", {} if metadata is None else metadata)

    @property
    def characters(self) -> int:
        """Of text and metadata together."""
        return len(self.text) + len(repr(self.metadata))


@dataclass(frozen=True, slots=True)
class Passage:
    """A window of a document; ``start`` and ``end`` are character offsets into ``Document.text``."""

    document_id: str
    index: int
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question, its accepted answers, and the documents that hold the answer, where known."""

    id: str
    question: str
    answers: tuple[str, ...]
    document_ids: tuple[str, ...] = ()


def document_digest(document: Document) -> int:
    """Return a stable unsigned 64-bit digest of everything but the id.

    Equal digests mean that encoding the document again would change nothing.
    """
    content = [document.text, document.title, document.timestamp, dict(document.metadata)]
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.blake2b(canonical.encode("ascii"), digest_size=8).digest(), "big")
