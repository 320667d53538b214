"""``locality``: what the LLM knew before a memory was there, does it still say it?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.protocols.result import Cell, ProtocolResult, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.inference.answer import Answer
from mbc_cli.memory import Memory
from mbc_cli.metrics import normalize_answer


def general_questions() -> list[Question]:
    """Forty questions about what is widely known, written for this project."""
    text = resources.files(__package__).joinpath("general_questions.jsonl").read_text(encoding="utf-8")
    rows = [json.loads(line) for line in text.splitlines()]
    return [Question(str(n), row["question"], tuple(row["answers"])) for n, row in enumerate(rows)]


def locality(setting: ProtocolSetting) -> ProtocolResult:
    """Ask the LLM alone, then with the memory as in use and with the memory always read.

    Raises:
        UsageError: a setting is given; there are none.
    """
    setting.check_options("locality")
    questions = general_questions()
    texts = [question.question for question in questions]
    memory = fresh_memory(setting.memory, setting.folder)
    memory.encode(setting.documents, batch_size=setting.batch_size)
    alone = memory.answer_without_memory(texts, batch_size=setting.batch_size)
    ways = {"memory, always read": memory.answer(texts, threshold=0, batch_size=setting.batch_size)}
    if isinstance(memory, Memory) and memory.calibration is not None:
        ways["memory, as in use"] = memory.answer(texts, fallback=True, batch_size=setting.batch_size)
    known = [
        place
        for place, (question, said) in enumerate(zip(questions, alone, strict=True))
        if _holds(said.text, question.answers)
    ]
    rows: list[list[Cell]] = []
    figures: dict[str, object] = {"known": len(known), "questions": len(questions)}
    for label, answers in ways.items():
        alike = [_alike(alone[place], answers[place]) for place in range(len(questions))]
        right = [_holds(answers[place].text, questions[place].answers) for place in known]
        read = sum(answer.from_memory for answer in answers)
        figures[label] = {
            "alike": sum(alike) / len(alike),
            "still_right": sum(right) / len(right) if right else None,
            "read": read / len(answers),
        }
        rows.append(
            [
                label,
                100 * sum(alike) / len(alike),
                100 * sum(right) / len(right) if right else None,
                100 * read / len(answers),
            ]
        )
    return ProtocolResult(
        name="locality",
        title="Locality",
        what=(
            f"{len(questions)} questions of general knowledge, to which the {len(setting.documents):,} "
            f"documents have nothing to say; the LLM alone answers {len(known)} of them right (an accepted "
            "answer stands in what it says). Alike: word for word what it says alone. In use, questions that "
            "nothing in memory speaks to are left to the LLM."
        ),
        figures=figures,
        tables=[Table(["", "answered alike %", "still right, % of those known", "memory read %"], rows)],
    )


def _holds(text: str, answers: Sequence[str]) -> bool:
    said = f" {normalize_answer(text)} "
    return any(f" {normalize_answer(answer)} " in said for answer in answers)


def _alike(one: Answer, other: Answer) -> bool:
    return normalize_answer(one.text) == normalize_answer(other.text)
