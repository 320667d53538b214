"""Online adaptation, as MAC and MBC evaluate it: encode a stream of documents once, then ask about them.

The stream grows through the given bank sizes. At each size every question is asked whose documents are in
the bank, with the answers generated greedily through the store on disk. Retention is the score on the
questions about the first bank size, as later documents arrive.

The memory is always read, as in the publications; what a calibrated adapter would not have read is counted
beside it (:mod:`mbc_cli.evaluation.abstention`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError, UsageError, nearest_hint
from mbc_cli.evaluation.abstention import Abstention, measure_abstention
from mbc_cli.evaluation.bank_bytes import BankBytes, bank_bytes
from mbc_cli.evaluation.baselines import BASELINES, Baseline
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.inference.answer import Answer
from mbc_cli.memory import Memory
from mbc_cli.metrics import Scores, mean_scores, scorable, score_answer

RECALL_DEPTHS = (1, 5)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One question's answer at the largest bank size it was asked at.

    ``confidence`` in [0, 1] that the memory speaks to the question; None for adapters not calibrated.
    """

    question: Question
    answer: str
    source_ids: tuple[str, ...]
    confidence: float | None
    scores: Scores


@dataclass(frozen=True, slots=True)
class Stage:
    """The memory at one size of the bank.

    ``retention`` scores the questions about the first stage's documents. ``recall`` maps 1 and 5 to the
    fraction of questions for which one of that many best passages belongs to a document that holds the
    answer; it is None for adapters that do not select. ``abstention`` is None for those not calibrated.
    Seconds are wall-clock.
    """

    documents: int
    questions: int
    scores: Scores
    retention: Scores
    recall: Mapping[int, float] | None
    abstention: Abstention | None
    baselines: Mapping[str, Scores]
    bytes: BankBytes
    encode_seconds_per_document: float
    answer_seconds_per_question: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The stages, from the smallest bank to the whole stream, and the predictions of the last one.

    ``left_out`` are the questions that cannot be scored: nothing is left of their answers, normalised.
    """

    stages: tuple[Stage, ...]
    predictions: tuple[Prediction, ...]
    left_out: tuple[Question, ...] = ()


def evaluate(
    memory: AnyMemory,
    documents: Sequence[Document],
    questions: Sequence[Question],
    *,
    bank_sizes: Sequence[int] = (),
    baselines: Sequence[str] = (),
    batch_size: int = 16,
) -> Evaluation:
    """Encode ``documents`` into ``memory`` in their order and ask ``questions`` on the way.

    Args:
        memory: what to evaluate. Documents it already holds stay; with ``bank_sizes`` it must hold none
            but the first size's.
        questions: a question that names no documents is asked at every size; one that cannot be scored
            never.
        bank_sizes: ask at these sizes as well as at the end; sizes beyond the stream are left out.
        baselines: names from :data:`~mbc_cli.evaluation.baselines.BASELINES`; they see the same stream.

    Raises:
        MbcError: no question can be asked at some size, or a baseline is unknown.
    """
    sizes = _stages(bank_sizes, len(documents))
    for name in baselines:
        if name not in BASELINES:
            raise UsageError(f"unknown baseline {name!r}", nearest_hint(name, BASELINES))
    left_out = tuple(question for question in questions if not scorable(question.answers))
    questions = [question for question in questions if scorable(question.answers)]
    askable = {size: _askable(documents[:size], questions) for size in sizes}
    _check(memory, documents[: sizes[0]], len(sizes) > 1, askable)
    run = _Run(memory, questions, set(askable[sizes[0]]), batch_size)
    compared = {name: BASELINES[name](memory) for name in baselines}
    stages = []
    predictions: list[Prediction] = []
    encoded = 0
    for size in sizes:
        stage, predictions = run.stage(documents[encoded:size], askable[size], compared)
        stages.append(stage)
        encoded = size
    return Evaluation(tuple(stages), tuple(predictions), left_out)


@dataclass(frozen=True, slots=True)
class _Run:
    """What stays the same from stage to stage; ``first`` are the indices of the first stage's questions."""

    memory: AnyMemory
    questions: Sequence[Question]
    first: set[int]
    batch_size: int

    def stage(
        self, arrived: Sequence[Document], asked: Sequence[int], compared: Mapping[str, Baseline]
    ) -> tuple[Stage, list[Prediction]]:
        """Encode the documents that have arrived, and ask the questions of indices ``asked``."""
        memory, batch_size = self.memory, self.batch_size
        questions = [self.questions[index] for index in asked]
        report = memory.encode(arrived, batch_size=batch_size)
        start = time.perf_counter()
        texts = [question.question for question in questions]
        answers = memory.answer(texts, threshold=0, batch_size=batch_size)
        seconds = time.perf_counter() - start
        predictions = [_prediction(*pair) for pair in zip(questions, answers, strict=True)]
        scores = [prediction.scores for prediction in predictions]
        kept = [score for index, score in zip(asked, scores, strict=True) if index in self.first]
        stage = Stage(
            documents=memory.document_count,
            questions=len(questions),
            scores=mean_scores(scores),
            retention=mean_scores(kept),
            recall=_recall(memory, questions, batch_size),
            abstention=measure_abstention(memory, questions, answers, scores, batch_size=batch_size),
            baselines={
                name: _baseline_scores(baseline, arrived, questions, batch_size)
                for name, baseline in compared.items()
            },
            bytes=bank_bytes(memory),
            encode_seconds_per_document=report.seconds / len(arrived),
            answer_seconds_per_question=seconds / len(questions),
        )
        return stage, predictions


def _stages(bank_sizes: Sequence[int], documents: int) -> list[int]:
    """The sizes to ask at: ascending, within the stream, its end included."""
    if documents == 0:
        raise InputError("there are no documents to encode", "check the file and --limit")
    if any(size < 1 for size in bank_sizes):
        raise UsageError(f"bank sizes must be at least 1, not {min(bank_sizes)}", None)
    return sorted({size for size in bank_sizes if size < documents} | {documents})


def _askable(documents: Sequence[Document], questions: Sequence[Question]) -> list[int]:
    """The indices of the questions whose documents are all among ``documents``."""
    present = {document.id for document in documents}
    return [index for index, question in enumerate(questions) if present.issuperset(question.document_ids)]


def _check(
    memory: AnyMemory, first: Sequence[Document], grows: bool, askable: Mapping[int, list[int]]
) -> None:
    for size, asked in askable.items():
        if not asked:
            raise InputError(
                f"no question asks about the first {size} documents alone",
                "check that document_ids in the questions are ids of the documents, or use larger bank sizes",
            )
    foreign = memory.document_count
    if isinstance(memory, Memory):
        with memory.store.snapshot() as snapshot:
            foreign -= len(snapshot.digests([document.id for document in first]))
    if grows and foreign:
        raise UsageError(
            f"bank sizes need a store that grows with the stream; this one holds {foreign} other documents",
            "leave out --store to evaluate in a temporary one, or leave out --bank-sizes",
        )


def _baseline_scores(
    baseline: Baseline, arrived: Sequence[Document], questions: Sequence[Question], batch_size: int
) -> Scores:
    baseline.encode(arrived, batch_size=batch_size)
    answers = baseline.answers([question.question for question in questions], batch_size=batch_size)
    return mean_scores(
        score_answer(answer, question.answers) for question, answer in zip(questions, answers, strict=True)
    )


def _prediction(question: Question, answer: Answer) -> Prediction:
    return Prediction(
        question,
        answer.text,
        tuple(source.document_id for source in answer.sources),
        answer.confidence,
        score_answer(answer.text, question.answers),
    )


def _recall(memory: AnyMemory, questions: Sequence[Question], batch_size: int) -> dict[int, float] | None:
    """Per depth, the fraction of questions with a document that holds the answer among the best passages."""
    known = [question for question in questions if question.document_ids]
    if not memory.selects or not known:
        return None
    texts = [question.question for question in known]
    ranked = memory.search(texts, top_k=max(RECALL_DEPTHS), batch_size=batch_size)
    return {
        depth: sum(
            any(source.document_id in question.document_ids for source in sources[:depth])
            for question, sources in zip(known, ranked, strict=True)
        )
        / len(known)
        for depth in RECALL_DEPTHS
    }
