"""``updates``: a later document contradicts an earlier one; which of the two answers?

News is generated, and told again with another number: same people, same words, a later time. Names occur in
no training, so an answer can only come from what was stored.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.methods.registry import kind_of
from mbc_cli.evaluation.protocols.result import Cell, ProtocolResult, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.memory import Memory
from mbc_cli.metrics import normalize_answer
from mbc_cli.news.generator import generate_news

OLD, CHANGED, NEW = "2025-02-01", "2025-08-01", "2026-02-01"
"""When the old documents are from, a moment between, and when the new ones are."""
_PAIRS = 60
_OTHERS = 120  # documents that nothing contradicts


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A document, the same with another number, and the question whose answer that changes."""

    old: Document
    new: Document
    question: str
    old_answer: str
    new_answer: str


def contradictions(count: int, *, seed: int) -> tuple[list[Contradiction], list[Document]]:
    """``count`` pairs, and documents about other things that lie beside them."""
    generator = random.Random(seed)
    pairs: list[Contradiction] = []
    others: list[Document] = []
    for item in generate_news(count * 4 + _OTHERS, seed=seed, split="test"):
        numbers = [
            question
            for question, kind in zip(item.questions, item.answer_kinds, strict=True)
            if kind == "number"
        ]
        if len(pairs) == count or not numbers:
            others.append(item.document)
            continue
        question = numbers[0]
        (answer,) = question.answers
        changed = str(generator.choice([n for n in range(10, 1000) if str(n) != answer]))
        text, replaced = re.subn(rf"\b{answer}\b", changed, item.document.text)
        if replaced != 1:
            others.append(item.document)
            continue
        name = item.document.id
        pairs.append(
            Contradiction(
                Document(f"{name}-old", item.document.text, timestamp=OLD),
                Document(f"{name}-new", text, timestamp=NEW),
                question.question,
                answer,
                changed,
            )
        )
    return pairs, others[:_OTHERS]


def updates(setting: ProtocolSetting) -> ProtocolResult:
    """Store old and new, ask, and count which of the two answers.

    Raises:
        UsageError: a setting is unknown or out of range.
    """
    setting.check_options("updates", pairs=None)
    pairs, others = contradictions(setting.number("pairs", _PAIRS), seed=setting.seed)
    rows: list[tuple[str, list[str] | None]] = []
    everything = [*(pair.old for pair in pairs), *others, *(pair.new for pair in pairs)]
    for name in setting.methods:
        with setting.make(name, {}) as method:
            method.encode(everything, batch_size=setting.batch_size)
            asked = [Question(str(n), pair.question, ("?",)) for n, pair in enumerate(pairs)]
            replies = method.reply(asked, batch_size=setting.batch_size)
        rows.append((kind_of(name).label, [reply.answer for reply in replies]))
    if isinstance(setting.memory, Memory):
        rows += _of_memory(setting, pairs, others, everything)
    figures = {}
    table: list[list[Cell]] = []
    for label, answers in rows:
        if answers is None:
            table.append([label, None, None, None])
            continue
        counts = Counter(_side(pair, answer) for pair, answer in zip(pairs, answers, strict=True))
        shares = {side: counts[side] / len(pairs) for side in ("new", "old", "neither")}
        figures[label] = shares
        table.append([label, *(100 * share for share in shares.values())])
    return ProtocolResult(
        name="updates",
        title="Updates",
        what=(
            f"{len(pairs)} generated documents are told again later with another number, among "
            f"{len(others)} others. Which number is answered? By time: only documents since the change, only "
            "those before it, or the newest of near-equal ones. Replaced: the new text came under the old id."
        ),
        figures=figures,
        tables=[Table(["method", "new %", "old %", "neither %"], table)],
    )


def _of_memory(
    setting: ProtocolSetting,
    pairs: Sequence[Contradiction],
    others: Sequence[Document],
    everything: Sequence[Document],
) -> list[tuple[str, list[str] | None]]:
    """What the memory answers with its own means for time."""
    questions = [pair.question for pair in pairs]

    def memory_of(name: str, documents: Sequence[Document]) -> Memory:
        folder = Path(setting.folder) / name
        folder.mkdir()
        made = fresh_memory(setting.memory, folder)
        assert isinstance(made, Memory)
        made.encode(documents, batch_size=setting.batch_size)
        return made

    both = memory_of("both", everything)
    replaced = memory_of("replaced", [*(pair.old for pair in pairs), *others])
    replaced.encode(
        [Document(pair.old.id, pair.new.text, timestamp=NEW) for pair in pairs],
        batch_size=setting.batch_size,
    )
    asked: list[tuple[str, Callable[[], list[str]] | None]] = [
        ("memory, since the change", lambda: _said(both, questions, setting, since=CHANGED)),
        ("memory, before the change", lambda: _said(both, questions, setting, until=CHANGED)),
        (
            "memory, newer preferred",
            (lambda: _said(both, questions, setting, prefer_newer=True)) if both.selects else None,
        ),
        ("memory, replaced", lambda: _said(replaced, questions, setting)),
    ]
    return [(label, None if ask is None else ask()) for label, ask in asked]


def _said(
    memory: Memory,
    questions: Sequence[str],
    setting: ProtocolSetting,
    *,
    since: str | None = None,
    until: str | None = None,
    prefer_newer: bool = False,
) -> list[str]:
    answers = memory.answer(
        questions,
        since=since,
        until=until,
        prefer_newer=prefer_newer,
        threshold=0 if memory.calibration else None,
        batch_size=setting.batch_size,
    )
    return [answer.text for answer in answers]


def _side(pair: Contradiction, answer: str) -> str:
    """Whose number stands in an answer; both or none of them is neither."""
    words = normalize_answer(answer).split()
    has_new, has_old = pair.new_answer in words, pair.old_answer in words
    return "neither" if has_new == has_old else "new" if has_new else "old"
