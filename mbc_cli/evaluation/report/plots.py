"""The plots of a run: what accuracy costs, how it lasts, what a bigger bank costs, where answers are lost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mbc_cli.evaluation.protocols.result import Plot, Series
from mbc_cli.evaluation.results import Results

Stage = Mapping[str, Any]


def rate_plot(results: Results) -> Plot:
    """Exact match against everything a method keeps, at the largest size."""
    series = []
    for entry in results.methods.values():
        stage = entry["stages"][-1]
        exact = stage["measures"]["exact_match"]
        if exact["value"] is not None and stage["bytes"]["total"] > 0:
            series.append(
                Series(
                    entry["label"],
                    [stage["bytes"]["total"]],
                    [100 * exact["value"]],
                    [100 * exact["low"]],
                    [100 * exact["high"]],
                )
            )
    return Plot(
        "What exact match costs", "bytes kept in all", "exact match, %", series, log_x=True, points=True
    )


def size_plots(results: Results) -> list[Plot]:
    """Exact match, recall and times against the size of the bank, where a run has several sizes."""
    if not any(len(entry["stages"]) > 1 for entry in results.methods.values()):
        return []
    wanted: list[tuple[str, str, Callable[[Stage], float | None]]] = [
        ("Answers as the bank grows", "exact match, %", _measure("exact_match")),
        ("Finding as the bank grows", "recall@1, %", _measure("recall_at_1")),
        (
            "Latency as the bank grows",
            "ms a question",
            lambda stage: 1000 * float(stage["answer_seconds_per_question"]),
        ),
    ]
    plots = []
    for title, label, value in wanted:
        series = []
        for entry in results.methods.values():
            points = [(stage["documents"], value(stage)) for stage in entry["stages"]]
            known = [(x, y) for x, y in points if y is not None]
            if known:
                series.append(Series(entry["label"], [x for x, _ in known], [y for _, y in known]))
        plots.append(Plot(title, "documents", label, series))
    return plots


def reliability_plot(results: Results) -> Plot:
    """How often answers of a confidence are right; the diagonal is what it promises."""
    series = [Series("as promised", [0, 100], [0, 100])]
    for entry in results.methods.values():
        bins = entry["stages"][-1].get("reliability") or []
        if bins:
            series.append(
                Series(
                    entry["label"],
                    [100 * each["confidence"] for each in bins],
                    [100 * each["exact_match"] for each in bins],
                )
            )
    shown = series if len(series) > 1 else []
    return Plot("How far confidence can be trusted", "confidence, %", "exact match, %", shown)


def losses(results: Results) -> list[tuple[str, dict[str, float]]]:
    """For each method the shares of its questions that were right, or lost, and where."""
    bars = []
    for entry in results.methods.values():
        outcomes = entry["stages"][-1]["outcomes"]
        total = sum(outcomes.values())
        if total:
            bars.append((entry["label"], {name: count / total for name, count in outcomes.items()}))
    return bars


def _measure(name: str) -> Callable[[Stage], float | None]:
    def value(stage: Stage) -> float | None:
        found = stage["measures"][name]["value"]
        return None if found is None else 100 * float(found)

    return value
