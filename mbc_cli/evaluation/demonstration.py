"""The demo's measurement: invented news into a memory, questions about it and about other news, and what it
all weighs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import zstandard

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.methods.memory import MemoryMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory
from mbc_cli.evaluation.online import Stage, Stream, online
from mbc_cli.memory import Memory
from mbc_cli.news.generator import Templates, generate_news

ABSENT_QUESTIONS = 100
"""How many questions are asked about news that was not encoded."""


@dataclass(frozen=True, slots=True)
class Demonstration:
    """What the demo shows. Sizes are bytes of the whole bank or text; the vectors are in float32.

    ``remembered`` is the memory's stage, ``without`` that of the LLM alone. ``recognised`` of
    ``absent_questions`` about news that was not encoded were seen to be about nothing in memory; None where
    the adapter is not calibrated.
    """

    remembered: Stage
    without: Stage
    absent_questions: int
    recognised: int | None
    text_bytes: int
    zstd_text_bytes: int
    vector_bytes: int
    code_bytes: int
    store_bytes: int


def demonstrate(
    memory: Memory, *, documents: int, questions: int, seed: int, templates: Templates = "seen"
) -> Demonstration:
    """Encode ``documents`` news items with names no training has seen, and ask ``questions`` about them.

    The same model answers once more without the memory, and a question about each of some other news items
    shows whether it is noticed that they are not there. ``memory`` must be empty.

    Raises:
        ValueError: the memory holds documents already, or a number is not positive.
    """
    if questions < 1:
        raise ValueError(f"questions must be at least 1, not {questions}")
    if memory.document_count:
        raise ValueError(f"the demo needs an empty memory; this one holds {memory.document_count} documents")
    corpus, asked = news_questions(documents, questions, seed=seed, templates=templates)
    stream = Stream.of(corpus, asked)
    (remembered,), (without,) = (online(each, stream) for each in (MemoryMethod(memory), NoMemory(memory)))
    absent = _absent_questions(documents, seed=seed, templates=templates)
    replies = memory.answer([question.question for question in absent], require_memory=True)
    text = "\n".join(document.text for document in corpus).encode()
    info = memory.store.info()
    return Demonstration(
        remembered=remembered,
        without=without,
        absent_questions=len(absent),
        recognised=None if memory.calibration is None else sum(reply.abstained for reply in replies),
        text_bytes=len(text),
        zstd_text_bytes=len(zstandard.compress(text, level=19)),
        vector_bytes=info.float32_bytes or 0,
        code_bytes=info.code_bytes,
        store_bytes=info.current_bytes if info.disk_bytes is None else info.disk_bytes,
    )


def news_questions(
    documents: int, questions: int, *, seed: int, templates: Templates = "seen"
) -> tuple[Sequence[Document], Sequence[Question]]:
    """Unseen news and that many questions about them, drawn without repetition from all there are."""
    items = list(generate_news(documents, seed=seed, split="test", templates=templates))
    every = [question for item in items for question in item.questions]
    drawn = random.Random(seed).sample(every, min(questions, len(every)))
    return [item.document for item in items], drawn


def _absent_questions(documents: int, *, seed: int, templates: Templates) -> list[Question]:
    """A question about each of the news items that would have come next."""
    items = list(generate_news(documents + ABSENT_QUESTIONS, seed=seed, split="test", templates=templates))
    generator = random.Random(seed)
    return [generator.choice(item.questions) for item in items[documents:]]
