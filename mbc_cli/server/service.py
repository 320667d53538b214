"""What can be done with the memory, as plain calls that wait; addresses and forms are elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any

from mbc_store import Commit, DocumentRecord, MemoryStore, StoredDocument, StoreInfo

from mbc_cli.corpus.bad_input import BadRecord
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.records import FieldNames, document_from
from mbc_cli.errors import InputError
from mbc_cli.inference.answer import Answer, Source
from mbc_cli.inference.encode import EncodeReport
from mbc_cli.inference.telegrams import Piece, TelegramWords
from mbc_cli.memory import Memory
from mbc_cli.server.choice import Choice
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.limits import TokenCounter
from mbc_cli.stored_documents import Forgotten

COMMIT_EVERY = 64  # documents; between commits questions get their turn
_SEARCHED = 5  # passages of a search that names no number


@dataclass(frozen=True, slots=True)
class ShownDocument:
    """A document with what its codes hold in words, passage by passage; nothing where they are no tokens."""

    record: DocumentRecord
    pieces: Sequence[tuple[Piece, ...]]


class MemoryService:
    """One memory, which every request shares. Each question is answered from the newest commit."""

    def __init__(self, memory: Memory, config: ServerConfig) -> None:
        self.memory = memory
        self.config = config
        self.counter = TokenCounter(memory.tokenizers)
        self.most_tokens = memory.model.config.answer_tokens
        self.model_name = memory.adapter_name.rstrip("/").rpartition("/")[2]
        self._words: TelegramWords | None = None
        if memory.model.codes_are_tokens:
            self._words = TelegramWords(deepcopy(memory.tokenizers.language_tokenizer.backend_tokenizer))
        self._words_lock = threading.Lock()

    # --- with the model, in the worker's thread ------------------------------------------------------

    def answer(self, choice: Choice, questions: Sequence[str]) -> list[Answer]:
        """Answers to ``questions``, in their order."""
        with self._as_of(choice.at) as memory:
            return memory.answer(questions, batch_size=self.config.batch_size, **choice.answering)

    def search(self, choice: Choice, questions: Sequence[str]) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question."""
        with self._as_of(choice.at) as memory:
            return memory.search(
                questions,
                top_k=choice.top_k or _SEARCHED,
                batch_size=self.config.batch_size,
                **choice.searching,
            )

    def stream(self, choice: Choice, question: str) -> Iterator[Answer | str]:
        """What is known at once, the answer's pieces, and the whole answer."""
        with self._as_of(choice.at) as memory:
            stream = memory.stream(question, **choice.answering)
            yield stream.known
            yield from stream
            yield stream.answer

    # --- with the model, in a thread of its own ------------------------------------------------------

    def add(self, records: Sequence[Any], give_way: Callable[[], None]) -> tuple[list[str], EncodeReport]:
        """Encode documents, all or, where one cannot be used, none; their ids and what became of them.

        Args:
            give_way: waits until questions have had their turn.

        Raises:
            InputError: one cannot be used; it is named by its place.
        """
        documents = [_document(record, place) for place, record in enumerate(records)]

        def arriving() -> Iterator[Document]:
            for place, document in enumerate(documents):
                if place % COMMIT_EVERY == 0:
                    give_way()
                yield document

        report = self.memory.encode(arriving(), commit_every=COMMIT_EVERY, batch_size=self.config.batch_size)
        return [document.id for document in documents], report

    # --- without the model ---------------------------------------------------------------------------

    def documents(self, choice: Choice, *, offset: int, limit: int) -> tuple[list[StoredDocument], bool, int]:
        """Documents, oldest first; whether there are more; and how many the memory holds in all."""
        with self._store(choice.at).snapshot() as snapshot:
            if choice.since is None and choice.until is None and not choice.where:
                found = snapshot.documents(offset, limit + 1)
            else:
                matching = snapshot.iter_matching(choice.since, choice.until, choice.where)
                found = list(islice(matching, offset, offset + limit + 1))
            return found[:limit], len(found) > limit, snapshot.document_count

    def document(self, identifier: str, at: str | None) -> ShownDocument:
        """One document.

        Raises:
            StoreNotFound: there is none of that id.
        """
        with self._store(at).snapshot() as snapshot:
            record = snapshot.record(identifier)
        if self._words is None:
            return ShownDocument(record, ())
        spans = record.spans.tolist()
        texts = [None if record.text is None else record.text[start:end] for start, end in spans]
        passages = record.codes[..., 0].tolist()
        with self._words_lock:
            pieces = [self._words.pieces(*each) for each in zip(passages, texts, strict=True)]
        return ShownDocument(record, pieces)

    def forget(self, ids: Sequence[str] | None, choice: Choice, *, dry_run: bool = False) -> Forgotten:
        """Forget documents by their ids, or those of a choice."""
        filters = choice.filters | {"where": choice.where or None}
        return self.memory.forget(ids, dry_run=dry_run, **filters)

    def info(self, at: str | None) -> StoreInfo:
        """What the memory holds and weighs."""
        return self._store(at).info()

    def history(self, limit: int) -> list[Commit]:
        """The newest commits."""
        return self.memory.history()[:limit]

    def _store(self, at: str | None) -> MemoryStore:
        store = self.memory.store
        return store if at is None else MemoryStore.open(store.location, at=at)

    @contextmanager
    def _as_of(self, at: str | None) -> Iterator[Memory]:
        if at is None:
            yield self.memory
            return
        past = self.memory.as_of(at)
        try:
            yield past
        finally:
            past.close()


def _document(record: Any, place: int) -> Document:
    try:
        return document_from(record, FieldNames())
    except BadRecord as failure:
        raise InputError(f"document {place + 1}: {failure}", "none was stored") from None
