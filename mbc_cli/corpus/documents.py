"""The corpus's vocabulary: documents, the passages they are cut into, and questions about them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

JSON: TypeAlias = "bool | int | float | str | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True)
class Document:
    """One text of the stream.

    ``timestamp`` is in microseconds since the Unix epoch, UTC. ``id`` names the document for good:
    encoding another text under the same id replaces it.
    """

    id: str
    text: str
    title: str | None = None
    timestamp: int | None = None
    metadata: Mapping[str, JSON] = field(default_factory=dict)


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
