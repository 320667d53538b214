"""Two result folders side by side: what changed from one to the other, and how sure that is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mbc_cli.errors import InputError
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.results import read_predictions, read_results
from mbc_cli.evaluation.statistics import difference, holm

COMPARED = (
    "exact_match",
    "prefix_exact_match",
    "f1",
    "recall_at_1",
    "mrr",
    "right_if_selected",
    "false_answers",
    "false_abstentions",
)


@dataclass(frozen=True, slots=True)
class Change:
    """One measure of one method in both folders, as fractions; ``p`` is corrected for all of them."""

    method: str
    measure: str
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    questions: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """All changes, from the first folder to the second.

    ``differs`` says what of the two runs is not the same, beside the methods' answers; ``left_out`` how many
    questions are in one of them alone.
    """

    changes: tuple[Change, ...]
    differs: tuple[str, ...]
    left_out: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """Compare what two runs answered at their largest sizes, on the questions that both asked.

    Raises:
        InputError: a folder holds no results, or they have no method or no question in common.
    """
    runs = [read_results(folder) for folder in (first, second)]
    finals = [_final(folder) for folder in (first, second)]
    shared = [method for method in finals[0] if method in finals[1]]
    if not shared:
        raise InputError(
            f"{first} and {second} have no method in common: {', '.join(finals[0]) or 'none'} and "
            f"{', '.join(finals[1]) or 'none'}"
        )
    found: list[tuple[str, str, float, float, Any, int]] = []
    left_out = 0
    for method in shared:
        ones, others = ({_key(each): each for each in final[method]} for final in finals)
        keys = [key for key in ones if key in others]
        left_out = max(left_out, len(ones) + len(others) - 2 * len(keys))
        if not keys:
            raise InputError(f"{first} and {second} have no question in common")
        before, after = [ones[key] for key in keys], [others[key] for key in keys]
        for name in COMPARED:
            measure = MEASURES[name]
            changed = difference(measure, before, after, seed=seed)
            values = measure.value(before), measure.value(after)
            if changed is not None and values[0] is not None and values[1] is not None:
                found.append((method, name, values[0], values[1], changed, len(keys)))
    corrected = holm([each[4].p for each in found])
    changes = tuple(
        Change(method, name, one, other, changed.difference, changed.low, changed.high, p, count)
        for (method, name, one, other, changed, count), p in zip(found, corrected, strict=True)
    )
    return Comparison(changes, _differs(*runs), left_out)


def _final(folder: Path) -> dict[str, tuple[Prediction, ...]]:
    """Each method's predictions at the largest size."""
    predictions = read_predictions(folder)
    largest: dict[str, int] = {}
    for method, size in predictions:
        largest[method] = max(size, largest.get(method, 0))
    return {method: predictions[method, size] for method, size in largest.items()}


def _key(prediction: Prediction) -> tuple[str, str, tuple[str, ...]]:
    """The same question: its id may be a number in files that have nothing in common."""
    return prediction.question.id, prediction.question.question, prediction.question.answers


def _differs(first: Any, second: Any) -> tuple[str, ...]:
    """The settings and data that are not the same; the command is not told, as its paths always differ."""
    told = []
    for part in ("data", "run"):
        one, other = getattr(first, part), getattr(second, part)
        names = [name for name in {**one, **other} if name not in ("command", "source")]
        told += [
            f"{part} {name}: {one.get(name)!r:.60} and {other.get(name)!r:.60}"
            for name in names
            if one.get(name) != other.get(name)
        ]
    return tuple(told)
