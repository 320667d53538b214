"""How often a calibrated memory is wrong about what it holds.

A question is taken for one that nothing in memory speaks to if the best passage's relevance is below the
adapter's threshold. It is asked of the bank as it is, and of the bank without the documents it names: a score
depends on question and passage alone, so leaving the documents' passages out of the ranking is the same as
never having encoded them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mbc_cli.corpus.documents import Question
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.inference.answer import Answer, Source
from mbc_cli.memory import Memory
from mbc_cli.metrics import Scores


@dataclass(frozen=True, slots=True)
class Abstention:
    """Errors of the adapter's threshold, over the questions that name documents; fractions in [0, 1].

    Attributes:
        threshold: the relevance from which on the memory is read.
        false_answer_rate: read from the memory although their documents were left out.
        false_abstention_rate: not read from the memory although it holds their documents.
        exact_match: answered right, where what is under the threshold counts as wrong.
    """

    threshold: float
    false_answer_rate: float
    false_abstention_rate: float
    exact_match: float


def measure_abstention(
    memory: AnyMemory,
    questions: Sequence[Question],
    answers: Sequence[Answer],
    scores: Sequence[Scores],
    *,
    batch_size: int,
) -> Abstention | None:
    """Compare ``answers``, all read from the memory, and what would be read elsewhere, with the threshold.

    Returns:
        None where the adapter is not calibrated, or no question names documents.
    """
    if not isinstance(memory, Memory) or memory.calibration is None:
        return None
    threshold = memory.calibration.threshold
    known = [index for index, question in enumerate(questions) if question.document_ids]
    if not known:
        return None
    kept = [(answers[index].relevance or 0.0) >= threshold for index in known]
    elsewhere = _relevances_elsewhere(memory, [questions[index] for index in known], batch_size)
    right = [scores[index].exact_match for index, is_kept in zip(known, kept, strict=True) if is_kept]
    return Abstention(
        threshold=threshold,
        false_answer_rate=sum(relevance >= threshold for relevance in elsewhere) / len(known),
        false_abstention_rate=1 - sum(kept) / len(known),
        exact_match=sum(right) / len(known),
    )


def _relevances_elsewhere(memory: Memory, questions: Sequence[Question], batch_size: int) -> list[float]:
    """The relevance of the best passage of all other documents; 0 where there are none."""
    assert memory.calibration is not None
    with memory.store.snapshot() as snapshot:
        passages = snapshot.passage_count
        own_passages = []
        for question in questions:
            documents = [snapshot.document(name) for name in question.document_ids]
            own_passages.append(sum(len(document.rows) for document in documents if document is not None))
    # Even if all its own passages are best, one more is another document's.
    depth = 1 + max(own_passages)
    ranked = memory.search([question.question for question in questions], top_k=depth, batch_size=batch_size)
    best = [_best_elsewhere(*pair) for pair in zip(questions, ranked, strict=True)]
    return [
        0.0 if score is None else memory.calibration.relevance(score, passages - count)
        for score, count in zip(best, own_passages, strict=True)
    ]


def _best_elsewhere(question: Question, ranked: Sequence[Source]) -> float | None:
    return next((each.score for each in ranked if each.document_id not in question.document_ids), None)
