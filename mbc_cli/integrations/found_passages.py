"""What frameworks are given of a memory: passages with a score and flat metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mbc_store import Where

from mbc_cli.corpus.times import format_timestamp
from mbc_cli.inference.memory_filter import Time
from mbc_cli.memory import Memory


@dataclass(frozen=True, slots=True)
class FoundPassage:
    """A passage; ``text`` is its telegram where the memory keeps no texts, else what was encoded.

    ``id`` names the passage: its document's id, and its number in it after "#".
    """

    id: str
    text: str
    score: float
    metadata: dict[str, Any]


def find_passages(
    memory: Memory,
    query: str,
    *,
    top_k: int,
    since: Time | None,
    until: Time | None,
    where: Where | None,
    prefer_newer: bool,
) -> list[FoundPassage]:
    """The passages that speak most to ``query``, best first; arguments as for :meth:`Memory.search`.

    Their metadata are those of their documents, and above them ``document_id``, ``passage``, ``start``,
    ``end``, ``score``, ``title``, ``time`` (ISO 8601) and ``telegram``, as far as there are any.

    Raises:
        MbcError: the query is empty or too long, or the adapter cannot rank passages.
    """
    (sources,) = memory.search(
        [query], top_k=top_k, since=since, until=until, where=where, prefer_newer=prefer_newer
    )
    found = []
    with memory.store.snapshot() as snapshot:
        for source in sources:
            document = snapshot.document(source.document_id)  # None if it was forgotten since
            timestamp = None if document is None else document.timestamp
            own = {
                "document_id": source.document_id,
                "passage": source.passage,
                "start": source.start,
                "end": source.end,
                "score": source.score,
                "title": source.title,
                "time": None if timestamp is None else format_timestamp(timestamp),
                "telegram": source.telegram,
            }
            metadata = {} if document is None else dict(document.metadata)
            metadata |= {name: value for name, value in own.items() if value is not None}
            text = source.telegram if source.text is None else source.text
            name = f"{source.document_id}#{source.passage}"
            found.append(FoundPassage(name, text or "", source.score, metadata))
    return found
