"""Requests and responses of ``/v1/memory/...``; OpenAPI describes them from here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Self

from mbc_store import Commit, StoredDocument, StoreInfo
from mbc_store.format import StoreConfig
from pydantic import BaseModel, ConfigDict, Field

from mbc_cli.corpus.times import format_timestamp
from mbc_cli.inference.answer import Answer, Source
from mbc_cli.inference.encode import EncodeReport
from mbc_cli.server.choice import Choice
from mbc_cli.server.service import ShownDocument

MOST_QUESTIONS = 64  # of one request
MOST_PASSAGES = 100
MOST_LISTED = 1000

Scalar = str | int | float | bool | None
Question = Annotated[str, Field(min_length=1)]
WHERE = (
    "Conditions on metadata that must all hold: a mapping, or texts such as 'year>=2021' (docs/filters.md)."
)
AT = "The memory as it was then: a snapshot, a tag or a time."


class Reading(BaseModel):
    """What is read for a question."""

    model_config = ConfigDict(extra="forbid")

    top_k: int | None = Field(None, ge=1, le=MOST_PASSAGES, description="Passages read; else the adapter's.")
    since: str | None = Field(None, description="Only documents of this time or later.")
    until: str | None = Field(None, description="Only documents before this time.")
    where: dict[str, Scalar] | list[str] | None = Field(None, description=WHERE)
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least probability that the memory speaks to the question."
    )
    require_memory: bool = Field(False, description="No answer where the memory does not speak to it.")
    fallback: bool | None = Field(None, description="Whether the LLM answers then; else the adapter's habit.")
    prefer_newer: bool = Field(False, description="Of passages about equally good, the newest first.")
    at: str | None = Field(None, description=AT)

    def choice(self) -> Choice:
        """As the service takes it. Raises UsageError where a time or a condition is none."""
        return Choice.of(**{name: getattr(self, name) for name in Reading.model_fields})


class Ask(Reading):
    """Questions, one or several."""

    question: Question | Annotated[list[Question], Field(min_length=1, max_length=MOST_QUESTIONS)]

    @property
    def questions(self) -> list[str]:
        """The questions as a list."""
        return [self.question] if isinstance(self.question, str) else self.question


class SourceForm(BaseModel):
    """A passage; ``start`` and ``end`` are character offsets into its document.

    Of ``telegram``, what the codes hold in words, square brackets enclose what was lost.
    """

    model_config = ConfigDict(from_attributes=True)

    document_id: str
    passage: int
    start: int
    end: int
    score: float
    title: str | None
    text: str | None
    telegram: str | None


class MemoryPart(BaseModel):
    """Where an answer is from: the passages read, and how sure the adapter is where it is calibrated."""

    model_config = ConfigDict(from_attributes=True)

    sources: list[SourceForm]
    from_memory: bool
    abstained: bool
    score: float | None
    relevance: float | None
    confidence: float | None


class AnswerForm(MemoryPart):
    """An answer; null where it is not in memory and nobody was to answer by himself."""

    question: str
    answer: str | None

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """The form of ``answer``."""
        text = None if answer.abstained else answer.text
        return cls(**MemoryPart.model_validate(answer).model_dump(), question=answer.question, answer=text)


class Answers(BaseModel):
    """An answer for each question, in their order."""

    answers: list[AnswerForm]


class Found(BaseModel):
    """The passages for one question, best first."""

    question: str
    sources: list[SourceForm]

    @classmethod
    def of(cls, question: str, sources: tuple[Source, ...]) -> Self:
        """The form of what was found."""
        return cls(question=question, sources=[SourceForm.model_validate(each) for each in sources])


class FoundAll(BaseModel):
    """What was found for each question, in their order."""

    results: list[Found]


class NewDocument(BaseModel):
    """A document to remember; other fields become metadata, as in files that ``mbc encode`` reads."""

    model_config = ConfigDict(extra="allow")

    id: str | int = Field(description="Its name for good: another text under the same id replaces it.")
    text: str
    title: str | None = None
    timestamp: str | int | float | None = Field(None, description="A time as people write it, or a number.")
    metadata: dict[str, Any] | None = None


class NewDocuments(BaseModel):
    """Several documents."""

    model_config = ConfigDict(extra="forbid")

    documents: list[NewDocument] = Field(min_length=1)


class Added(BaseModel):
    """What became of documents that were sent."""

    ids: list[str]
    added: int
    replaced: int
    unchanged: int
    duplicates: int = Field(description="Ids that came twice; the later one counts.")
    passages: int
    seconds: float

    @classmethod
    def of(cls, ids: list[str], report: EncodeReport) -> Self:
        """The form of ``report``."""
        return cls(ids=ids, **{name: value for name, value in asdict(report).items() if name != "commits"})


class DocumentSummary(BaseModel):
    """A document without its text."""

    id: str
    title: str | None
    time: str | None = Field(description="ISO 8601, UTC.")
    metadata: dict[str, Any]
    passages: int

    @classmethod
    def of(cls, document: StoredDocument) -> Self:
        """The form of ``document``."""
        return cls(
            id=document.id,
            title=document.title,
            time=_time(document.timestamp),
            metadata=dict(document.metadata),
            passages=document.passage_count,
        )


class DocumentPage(BaseModel):
    """Some documents, oldest first. ``next_offset`` is where the following ones begin, or null."""

    documents: list[DocumentSummary]
    next_offset: int | None
    in_memory: int = Field(description="Documents in the memory, whatever was asked for.")


class PieceForm(BaseModel):
    """A stretch of a passage's text that the codes kept, or lost."""

    text: str
    kept: bool


class PassageForm(BaseModel):
    """A passage; ``pieces`` are what its codes hold in words, null where codes are no tokens."""

    start: int
    end: int
    pieces: list[PieceForm] | None


class DocumentForm(BaseModel):
    """A document; ``text`` is null where the store keeps none."""

    id: str
    title: str | None
    time: str | None
    metadata: dict[str, Any]
    text: str | None
    passages: list[PassageForm]

    @classmethod
    def of(cls, shown: ShownDocument) -> Self:
        """The form of ``shown``."""
        record = shown.record
        pieces: list[list[PieceForm] | None] = [
            [PieceForm(text=piece.text, kept=piece.kept) for piece in passage] for passage in shown.pieces
        ] or [None] * len(record.spans)
        return cls(
            id=record.id,
            title=record.title,
            time=_time(record.timestamp),
            metadata=dict(record.metadata),
            text=record.text,
            passages=[
                PassageForm(start=start, end=end, pieces=passage)
                for (start, end), passage in zip(record.spans.tolist(), pieces, strict=True)
            ],
        )


class ForgottenForm(BaseModel):
    """Ids of documents that were forgotten, or would be, and those that are not in the memory."""

    model_config = ConfigDict(from_attributes=True)

    ids: list[str]
    missing: list[str]


class CommitForm(BaseModel):
    """One change of the memory."""

    id: str
    time: str
    operation: str
    added: int
    replaced: int
    forgotten: int
    documents: int = Field(description="Documents in the memory after it.")
    passages: int
    quantization_error: float | None
    drift: float | None
    tags: list[str]

    @classmethod
    def of(cls, commit: Commit, config: StoreConfig) -> Self:
        """The form of ``commit``."""
        return cls(
            id=commit.id,
            time=commit.time.isoformat(),
            operation=commit.operation,
            added=commit.counts.added,
            replaced=commit.counts.replaced,
            forgotten=commit.counts.forgotten,
            documents=commit.documents,
            passages=commit.passages,
            quantization_error=commit.quantization_error,
            drift=commit.drift(config),
            tags=list(commit.tags),
        )


class History(BaseModel):
    """Commits, newest first."""

    commits: list[CommitForm]


class Info(BaseModel):
    """What the memory holds and weighs, in bytes."""

    snapshot: str
    documents: int
    passages: int
    forgotten_passages: int = Field(description="Not yet compacted.")
    bytes: int
    bytes_with_history: int | None
    array_bytes: dict[str, int]
    float32_bytes: int | None = Field(description="The same vectors in float32.")
    context_vectors: int
    codebook_size: int
    codes_in_use: float
    code_entropy_bits: float = Field(description="Per passage.")
    texts_kept: bool
    adapter: str
    fingerprint: str
    base_model: str | None
    commits: int
    tags: dict[str, str]
    read_only: bool
    selects: bool = Field(description="Whether the adapter ranks passages, and so can search.")

    @classmethod
    def of(cls, info: StoreInfo, *, adapter: str, read_only: bool, selects: bool) -> Self:
        """The form of ``info``. Where the store is on the server's disk is not told."""
        return cls(
            snapshot=info.snapshot,
            documents=info.documents,
            passages=info.passages,
            forgotten_passages=info.dead_passages,
            bytes=info.current_bytes,
            bytes_with_history=info.disk_bytes,
            array_bytes=dict(info.array_bytes),
            float32_bytes=info.float32_bytes,
            context_vectors=info.slots,
            codebook_size=info.codebook_size,
            codes_in_use=info.codes_used,
            code_entropy_bits=info.code_entropy_bits,
            texts_kept=info.keep_text,
            adapter=adapter,
            fingerprint=info.fingerprint,
            base_model=(info.base_model or "").rpartition("/")[2] or None,
            commits=info.commits,
            tags=dict(info.tags),
            read_only=read_only,
            selects=selects,
        )


def _time(timestamp: int | None) -> str | None:
    return None if timestamp is None else format_timestamp(timestamp)
