"""A run's figures as plain values, as rows of a table and as CSV."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.online import Stage
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.results import SUMMARY, Results
from mbc_cli.evaluation.statistics import difference, estimate, holm
from mbc_cli.files import write_file

REFERENCE = "memory"
"""The method that others are compared with; the first one where it is not in a run."""
PAIRED = ("exact_match", "f1")
OUTCOMES = ("right", "not found", "not kept", "misread")


def stage_as_json(stage: Stage, *, seed: int) -> dict[str, Any]:
    """A stage in the layout of :class:`~mbc_cli.evaluation.results.Results`; shares are fractions."""
    measures = {}
    for name, measure in MEASURES.items():
        found = estimate(measure, stage.predictions, seed=seed)
        measures[name] = {
            "value": found.value,
            "low": found.low,
            "high": found.high,
            "count": found.count,
        }
    outcomes = Counter(each.outcome for each in stage.predictions)
    return {
        "documents": stage.documents,
        "questions": len(stage.predictions),
        "measures": measures,
        "bytes": {
            "growing": dict(stage.bytes.growing),
            "fixed": dict(stage.bytes.fixed),
            "alternatives": dict(stage.bytes.alternatives),
            "total": stage.bytes.total,
            "per_document": sum(stage.bytes.growing.values()) / stage.documents,
        },
        "encode_seconds_per_document": stage.encode_seconds / stage.arrived,
        "answer_seconds_per_question": stage.answer_seconds / len(stage.predictions),
        "peak_memory_bytes": stage.peak_memory,
        "outcomes": {name: outcomes[name] for name in OUTCOMES},
        "reliability": reliability(stage.predictions),
    }


def reliability(predictions: Sequence[Prediction], bins: int = 10) -> list[dict[str, float]]:
    """Mean confidence and the share that was right of the answers given in use, by tenths of confidence."""
    found: list[list[tuple[float, float]]] = [[] for _ in range(bins)]
    for each in predictions:
        if each.reply.confidence is not None and each.scores is not None and not each.abstained:
            place = min(int(each.reply.confidence * bins), bins - 1)
            found[place].append((each.reply.confidence, each.scores.exact_match))
    return [
        {
            "confidence": sum(confidence for confidence, _ in part) / len(part),
            "exact_match": sum(right for _, right in part) / len(part),
            "count": len(part),
        }
        for part in found
        if part
    ]


def paired_as_json(final: Mapping[str, Sequence[Prediction]], *, seed: int) -> list[dict[str, Any]]:
    """Each method against the reference, on the same questions; ``p_corrected`` is Holm's for them all."""
    if len(final) < 2:
        return []
    first = REFERENCE if REFERENCE in final else next(iter(final))
    rows: list[dict[str, Any]] = []
    for name in PAIRED:
        measured = []
        for second, predictions in final.items():
            if second == first:
                continue
            found = difference(MEASURES[name], final[first], predictions, seed=seed)
            if found is not None:
                measured.append((second, found))
        for (second, found), corrected in zip(measured, holm([each.p for _, each in measured]), strict=True):
            rows.append(
                {
                    "measure": name,
                    "first": first,
                    "second": second,
                    "difference": found.difference,
                    "low": found.low,
                    "high": found.high,
                    "p": found.p,
                    "p_corrected": corrected,
                    "questions": len(final[first]),
                }
            )
    return rows


_SHOWN = {
    "f1": "F1 %",
    "recall_at_1": "recall@1 %",
    "right_if_selected": "EM if selected %",
    "false_answers": "false answers %",
    "false_abstentions": "false abstentions %",
}


def table(results: Results) -> tuple[list[str], list[list[str]]]:
    """Column names and a row for each method and size; columns that no method fills are left out."""
    stages = [(entry["label"], stage) for entry in results.methods.values() for stage in entry["stages"]]
    filled = [
        name for name in _SHOWN if any(stage["measures"][name]["value"] is not None for _, stage in stages)
    ]
    columns = ["method", "documents", "questions", "EM %", "95 %", *(_SHOWN[name] for name in filled)]
    columns += ["bytes/document", "total bytes", "ms/document", "ms/question", "peak MB"]
    rows = []
    for label, stage in stages:
        measures = stage["measures"]
        row = [label, str(stage["documents"]), str(stage["questions"])]
        exact = measures["exact_match"]
        row += [percent(exact["value"]), interval(exact["low"], exact["high"])]
        row += [percent(measures[name]["value"]) for name in filled]
        row += [f"{stage['bytes']['per_document']:.1f}", f"{stage['bytes']['total']:.0f}"]
        row += [f"{1000 * stage['encode_seconds_per_document']:.1f}"]
        row += [f"{1000 * stage['answer_seconds_per_question']:.1f}"]
        row += [f"{stage['peak_memory_bytes'] / 1e6:.0f}"]
        rows.append(row)
    return columns, rows


def write_summary(folder: Path, results: Results) -> None:
    """Write ``summary.csv``: a row for each method and size, every measure with its interval."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    bounds = [f"{name}{part}" for name in MEASURES for part in ("", "_low", "_high")]
    costs = ["encode_seconds_per_document", "answer_seconds_per_question", "peak_memory_bytes"]
    head = ["method", "documents", "questions", *bounds, "bytes_per_document", "total_bytes", *costs]
    writer.writerow(head)
    for method, entry in results.methods.items():
        for stage in entry["stages"]:
            values = [stage["measures"][name][part] for name in MEASURES for part in ("value", "low", "high")]
            row = [method, stage["documents"], stage["questions"], *values]
            row += [stage["bytes"]["per_document"], stage["bytes"]["total"]]
            row += [stage[name] for name in costs]
            writer.writerow("" if cell is None else cell for cell in row)
    write_file(folder / SUMMARY, text.getvalue())


def percent(fraction: float | None) -> str:
    """A share with one decimal; a dash where there is none."""
    return "-" if fraction is None else f"{100 * fraction:.1f}"


def interval(low: float | None, high: float | None) -> str:
    """The bounds of a share, rounded to whole percents."""
    return "-" if low is None or high is None else f"{100 * low:.0f}-{100 * high:.0f}"
