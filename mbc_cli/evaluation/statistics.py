"""How sure a figure is: bootstrap intervals, a paired test and its correction, areas under curves.

Several questions often ask about one document, and are right or wrong together. What is drawn again, or
swapped, is therefore never a single question but all of a document (cluster bootstrap; Field and Welsh 2007).
Every measure is a ratio of two sums over questions (:mod:`mbc_cli.evaluation.measures`), so all of them take
the same two functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mbc_cli.evaluation.measures import Measure
from mbc_cli.evaluation.predictions import Prediction

DRAWS = 2000
"""Samples of a bootstrap."""
SWAPS = 10_000
"""Random swaps of the paired test: no p-value is below 1 / 10,001."""
COVERAGE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure, its interval, and how much there was to divide by; None where nothing counts."""

    value: float | None
    low: float | None
    high: float | None
    count: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How much a measure is higher for a second method than for a first, on the same questions.

    ``p`` is how often random swaps of the two methods, document by document, differ as much (two-sided).
    """

    difference: float
    low: float
    high: float
    p: float


def estimate(measure: Measure, predictions: Sequence[Prediction], *, seed: int) -> Estimate:
    """The measure with its 95 % percentile bootstrap interval."""
    sums = _sums(measure, predictions, _clusters(predictions))
    numerator, denominator = sums.sum(0)
    if not denominator:
        return Estimate(None, None, None, 0)
    low, high = _bounds(_ratios(_drawn(sums, seed)))
    return Estimate(float(numerator / denominator), low, high, float(denominator))


def difference(
    measure: Measure, first: Sequence[Prediction], second: Sequence[Prediction], *, seed: int
) -> Difference | None:
    """How the measure differs between two methods' predictions of the same questions, in the same order.

    None where nothing counts for one of them.
    """
    clusters = _clusters(first)
    of_first, of_second = (_sums(measure, each, clusters) for each in (first, second))
    if not of_first[:, 1].sum() or not of_second[:, 1].sum():
        return None
    observed = float(_ratios(of_second.sum(0)) - _ratios(of_first.sum(0)))
    both = _drawn(np.concatenate([of_first, of_second], axis=1), seed)
    low, high = _bounds(_ratios(both[:, 2:]) - _ratios(both[:, :2]))
    return Difference(observed, low, high, _swapped(of_first, of_second, observed, seed))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for being several (Holm 1979), in their order."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[index]))
        corrected[index] = highest
    return corrected


def area_under(x: Sequence[float], y: Sequence[float]) -> float:
    """The mean height of the line through the points (x, y), x ascending: its area over its width.

    Raises:
        ValueError: there are fewer than two points, or x does not ascend.
    """
    steps = np.diff(np.asarray(x, dtype=float))
    if len(steps) < 1 or (steps <= 0).any():
        raise ValueError(f"an area needs two or more ascending x; received {list(x)!r:.80}")
    heights = np.asarray(y, dtype=float)
    return float((steps * (heights[1:] + heights[:-1]) / 2).sum() / steps.sum())


def _clusters(predictions: Sequence[Prediction]) -> NDArray[np.int64]:
    """A number for each prediction: the same for questions about the same documents."""
    numbers: dict[tuple[str, ...], int] = {}
    keys = [each.question.document_ids or ("question", each.question.id) for each in predictions]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def _sums(measure: Measure, predictions: Sequence[Prediction], clusters: NDArray[np.int64]) -> Floats:
    """Numerators and denominators (clusters, 2)."""
    sums = np.zeros((int(clusters.max(initial=-1)) + 1, 2))
    np.add.at(sums, clusters, np.array([measure.of(each) for each in predictions]).reshape(-1, 2))
    return sums


def _parts(total: int, clusters: int) -> list[int]:
    """How many samples to draw at a time, so that memory stays bounded."""
    most = max(1, 1_000_000 // max(1, clusters))
    return [min(most, total - start) for start in range(0, total, most)]


def _drawn(sums: Floats, seed: int) -> Floats:
    """The sums (clusters, m) over clusters drawn anew, in DRAWS samples: (DRAWS, m)."""
    generator = np.random.default_rng(seed)
    clusters = len(sums)
    even = np.full(clusters, 1 / clusters)
    parts = (generator.multinomial(clusters, even, size=part) for part in _parts(DRAWS, clusters))
    return np.concatenate([part.astype(float) @ sums for part in parts])


def _ratios(sums: Floats) -> Floats:
    """Numerators over denominators; samples in which nothing counts are left out of what follows (NaN)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(sums[..., 1] > 0, sums[..., 0] / sums[..., 1], np.nan)


def _bounds(samples: Floats) -> tuple[float, float]:
    tail = (1 - COVERAGE) / 2
    low, high = np.nanquantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def _swapped(first: Floats, second: Floats, observed: float, seed: int) -> float:
    """How often a difference as large comes of swapping the two methods' sums at random."""
    generator = np.random.default_rng(seed)
    gained, total = second - first, (first + second).sum(0)
    reached = 0
    for count in _parts(SWAPS, len(first)):
        signs = 2.0 * generator.integers(0, 2, size=(count, len(first)), dtype=np.int8) - 1
        others = (total + signs @ gained) / 2
        differences = np.abs(_ratios(others) - _ratios(total - others))
        # As much but for rounding counts as as much.
        reached += int((differences >= abs(observed) - 1e-12).sum())
    return (1 + reached) / (1 + SWAPS)
