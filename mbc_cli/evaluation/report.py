"""An evaluation as plain values for JSON, and as rows for a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mbc_cli.evaluation.protocol import Evaluation, Prediction, Stage


def as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Every figure by name; scores are fractions, times seconds, sizes bytes per document."""
    return {"stages": [_stage(stage) for stage in evaluation.stages]}


def predictions_as_json(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """One object per question of the last stage, for a closer look at what went wrong."""
    for prediction in evaluation.predictions:
        yield _prediction(prediction)


def table(evaluation: Evaluation) -> tuple[list[str], list[list[str]]]:
    """Column names and one row per bank size; scores in percent."""
    stages = evaluation.stages
    names = list(stages[0].baselines)
    recall = stages[0].recall is not None
    columns = ["documents", "questions", "EM %", "prefix EM %", "F1 %"]
    columns += ["first documents EM %"] if len(stages) > 1 else []
    columns += ["recall@1 %", "recall@5 %"] if recall else []
    columns += ["false answers %", "false abstentions %"] if stages[0].abstention is not None else []
    columns += [f"{_LABELS.get(name, name)} EM %" for name in names]
    columns += ["code bytes/document", "stored", "as float32", "ms/document", "ms/question"]
    rows = []
    for stage in stages:
        row = [str(stage.documents), str(stage.questions)]
        scores = stage.scores
        row += [_percent(scores.exact_match), _percent(scores.prefix_exact_match), _percent(scores.f1)]
        row += [_percent(stage.retention.exact_match)] if len(stages) > 1 else []
        row += [_percent(value) for value in stage.recall.values()] if stage.recall is not None else []
        if stage.abstention is not None:
            row += [_percent(stage.abstention.false_answer_rate)]
            row += [_percent(stage.abstention.false_abstention_rate)]
        row += [_percent(stage.baselines[name].exact_match) for name in names]
        row += [_bytes(stage.bytes.packed), _bytes(stage.bytes.stored), _bytes(stage.bytes.float32)]
        row += [f"{1000 * stage.encode_seconds_per_document:.1f}"]
        row += [f"{1000 * stage.answer_seconds_per_question:.1f}"]
        rows.append(row)
    return columns, rows


_LABELS = {"none": "no memory", "vectors": "unquantised"}


def _bytes(size: float | None) -> str:
    return "-" if size is None else f"{size:.1f}" if size < 100 else f"{size:.0f}"


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _stage(stage: Stage) -> dict[str, Any]:
    recall = None if stage.recall is None else {str(depth): value for depth, value in stage.recall.items()}
    return {
        "documents": stage.documents,
        "questions": stage.questions,
        **asdict(stage.scores),
        "retention": asdict(stage.retention),
        "recall": recall,
        "abstention": None if stage.abstention is None else asdict(stage.abstention),
        "baselines": {name: asdict(scores) for name, scores in stage.baselines.items()},
        "bytes_per_document": asdict(stage.bytes),
        "encode_seconds_per_document": stage.encode_seconds_per_document,
        "answer_seconds_per_question": stage.answer_seconds_per_question,
    }


def _prediction(prediction: Prediction) -> dict[str, Any]:
    question = prediction.question
    return {
        "id": question.id,
        "question": question.question,
        "answers": list(question.answers),
        "document_ids": list(question.document_ids),
        "answer": prediction.answer,
        "sources": list(prediction.source_ids),
        "confidence": prediction.confidence,
        **asdict(prediction.scores),
    }
