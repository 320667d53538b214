"""What an agent may do with a memory, as functions whose signatures and words become the tools' schemas.

Every call reads the newest commit and lets go of it at its end, so that nothing hinders other processes
between two calls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Literal, ParamSpec, TypeVar

from mbc_store import StoreError
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, Field, JsonValue

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import MbcError
from mbc_cli.inference.answer import Source
from mbc_cli.memory import Memory

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

MOST_PASSAGES = 100

Question = Annotated[
    str, Field(description="A question or a topic in plain words; it need not repeat words of the documents.")
]
Since = Annotated[
    str | None,
    Field(description="Read only documents of this time or later, such as 2026-05-01 or 2026-05-01T12:00Z."),
]
Until = Annotated[str | None, Field(description="Read only documents before this time.")]
Where = Annotated[
    list[str] | None,
    Field(
        description="Conditions on the documents' metadata, all of which must hold: KEY=VALUE, or with "
        "!= < <= > >= or ~ (contains), such as 'source=gazette' or 'year>=2021'."
    ),
]
PreferNewer = Annotated[
    bool, Field(description="Of passages that match about equally well, read the newest: for what changes.")
]


class Remembered(BaseModel, frozen=True):
    """What became of a document."""

    id: str
    status: Literal["added", "replaced", "unchanged"]
    passages: int


class Recalled(BaseModel, frozen=True):
    """Passages, best first."""

    passages: list[Source]


class Answered(BaseModel, frozen=True):
    """An answer from memory; ``answer`` is null where the memory does not speak to the question."""

    answer: str | None
    relevance: float | None
    confidence: float | None
    sources: list[Source]


class Forgot(BaseModel, frozen=True):
    """Ids of documents that were forgotten, and those that the memory did not hold."""

    forgotten: list[str]
    missing: list[str]


class MemoryInfo(BaseModel, frozen=True):
    """What the memory holds and weighs."""

    location: str
    documents: int
    passages: int
    adapter: str
    base_model: str | None
    keeps_text: bool
    ranks_passages: bool
    bytes_on_disk: int | None
    bytes_of_codes: int
    snapshot: str


def _told(call: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """``call``, whose failures that a caller can act on are told to the agent in one line."""

    @wraps(call)
    def told(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return call(*arguments, **named)
        except (MbcError, StoreError, ValueError) as failure:
            raise ToolError(str(failure)) from failure

    return told


class MemoryTools:
    """The tools over one memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @_told
    def remember(
        self,
        text: Annotated[
            str, Field(description="What to keep: whole sentences with names and dates, understood alone.")
        ],
        title: Annotated[str | None, Field(description="A title, shown with the source.")] = None,
        id: Annotated[
            str | None,
            Field(
                description="A name for good: remembering another text under it replaces the earlier one. "
                "If left out, one is made from the text."
            ),
        ] = None,
        timestamp: Annotated[
            str | None,
            Field(description="When it was true or said, such as 2026-05-01; if left out, now."),
        ] = None,
        metadata: Annotated[
            dict[str, JsonValue] | None,
            Field(description="Fields to filter by later, such as {'source': 'gazette', 'year': 2026}."),
        ] = None,
    ) -> Remembered:
        """Keep a text in long-term memory, for this and later conversations.

        Use it when the user says something worth knowing later (facts, decisions, preferences) or asks to
        remember it. Once the call returns, the text is stored durably. Returns the document's id.
        """
        if not text.strip():
            raise ToolError("text is blank: give what to remember")
        digest = hashlib.blake2b(f"{title or ''}\0{text}".encode("utf-8", "replace"), digest_size=8)
        name = id if id is not None else f"note-{digest.hexdigest()}"
        document = Document(name, text, title, timestamp or datetime.now(UTC), metadata)
        report = self._memory.encode([document])
        self._memory.release()
        status: Literal["added", "replaced", "unchanged"] = (
            "added" if report.added else "replaced" if report.replaced else "unchanged"
        )
        return Remembered(id=name, status=status, passages=report.passages)

    @_told
    def recall(
        self,
        query: Question,
        limit: Annotated[int, Field(ge=1, le=MOST_PASSAGES, description="Passages at most.")] = 5,
        since: Since = None,
        until: Until = None,
        where: Where = None,
        prefer_newer: PreferNewer = False,
    ) -> Recalled:
        """Find the stored passages that speak most to a question, best first, without answering it.

        Use it to read what is known before you answer yourself. Each passage has its document's id, its
        score, its text where texts are kept, and its telegram: what the memory itself holds of it.
        """
        try:
            (found,) = self._memory.search(
                [query], top_k=limit, since=since, until=until, where=where, prefer_newer=prefer_newer
            )
        finally:
            self._memory.release()
        return Recalled(passages=list(found))

    @_told
    def ask(
        self,
        question: Question,
        since: Since = None,
        until: Until = None,
        where: Where = None,
        prefer_newer: PreferNewer = False,
    ) -> Answered:
        """Answer a question from memory in a few words, by the memory's own small language model.

        The answer is null where nothing in memory speaks to the question. Relevance and confidence are
        probabilities; check a doubtful answer against its sources, which are passages as of recall.
        """
        try:
            (answer,) = self._memory.answer(
                [question],
                since=since,
                until=until,
                where=where,
                prefer_newer=prefer_newer,
                require_memory=True,
            )
        finally:
            self._memory.release()
        text = None if answer.abstained else answer.text
        return Answered(
            answer=text,
            relevance=answer.relevance,
            confidence=answer.confidence,
            sources=list(answer.sources),
        )

    @_told
    def forget(
        self,
        ids: Annotated[
            list[str],
            Field(min_length=1, description="Ids of documents, as remember, recall and ask return them."),
        ],
    ) -> Forgot:
        """Forget documents by their ids: they are never read again.

        Use it when the user asks to forget something, or when it turned out wrong; find the ids by recall
        first. To correct a document, remember the new text under the same id instead.
        """
        done = self._memory.forget(ids)
        self._memory.release()
        return Forgot(forgotten=list(done.ids), missing=list(done.missing))

    @_told
    def memory_info(self) -> MemoryInfo:
        """Say how many documents the memory holds, what it weighs, and which model answers from it."""
        info = self._memory.info()
        return MemoryInfo(
            location=info.location,
            documents=info.documents,
            passages=info.passages,
            adapter=self._memory.adapter_name,
            base_model=info.base_model,
            keeps_text=info.keep_text,
            ranks_passages=self._memory.selects,
            bytes_on_disk=info.disk_bytes,
            bytes_of_codes=info.array_bytes.get("codes", 0),
            snapshot=info.snapshot,
        )
