"""The measures of a method, each a ratio of two sums over its predictions.

As ratios of sums they all take the same bootstrap and the same paired test, those included that do not count
every question: what is right of what was selected, or the precision of abstaining.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from mbc_cli.evaluation.predictions import Prediction

Ratio = tuple[float, float]
"""What a prediction adds to the numerator and to the denominator."""
_NOTHING = (0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Measure:
    """A measure by name; ``of`` gives what each prediction adds."""

    name: str
    label: str
    what: str
    of: Callable[[Prediction], Ratio]

    def value(self, predictions: Sequence[Prediction]) -> float | None:
        """The measure over ``predictions``; None where none of them counts."""
        parts = [self.of(prediction) for prediction in predictions]
        count = sum(denominator for _, denominator in parts)
        return sum(numerator for numerator, _ in parts) / count if count else None


def _score(name: str) -> Callable[[Prediction], Ratio]:
    def ratio(prediction: Prediction) -> Ratio:
        return _NOTHING if prediction.scores is None else (getattr(prediction.scores, name), 1.0)

    return ratio


def _exact_match_in_use(prediction: Prediction) -> Ratio:
    if prediction.scores is None or prediction.abstained is None:
        return _NOTHING
    return (0.0 if prediction.abstained else prediction.scores.exact_match), 1.0


def _recall(depth: int) -> Callable[[Prediction], Ratio]:
    def ratio(prediction: Prediction) -> Ratio:
        rank = prediction.rank
        return _NOTHING if rank is None else (float(0 < rank <= depth), 1.0)

    return ratio


def _reciprocal_rank(prediction: Prediction) -> Ratio:
    rank = prediction.rank
    return _NOTHING if rank is None else (1 / rank if rank else 0.0, 1.0)


def _right_if_selected(prediction: Prediction) -> Ratio:
    if prediction.reply.ranked is None or not prediction.found or prediction.scores is None:
        return _NOTHING
    return prediction.scores.exact_match, 1.0


def _decisions(prediction: Prediction) -> list[tuple[bool, bool]]:
    """Whether to abstain would have been right, and whether it was done: as it is, and without the answer."""
    decisions = []
    if prediction.abstained is not None:
        decisions.append((prediction.scores is None, prediction.abstained))
    if prediction.abstained_elsewhere is not None and prediction.scores is not None:
        decisions.append((True, prediction.abstained_elsewhere))
    return decisions


def _abstention_precision(prediction: Prediction) -> Ratio:
    done = [right for right, abstained in _decisions(prediction) if abstained]
    return float(sum(done)), float(len(done))


def _abstention_recall(prediction: Prediction) -> Ratio:
    wanted = [abstained for right, abstained in _decisions(prediction) if right]
    return float(sum(wanted)), float(len(wanted))


def _false_answers(prediction: Prediction) -> Ratio:
    abstained, wanted = _abstention_recall(prediction)
    return wanted - abstained, wanted


def _false_abstentions(prediction: Prediction) -> Ratio:
    if prediction.scores is None or prediction.abstained is None:
        return _NOTHING
    return float(prediction.abstained), 1.0


_ALL = (
    Measure("exact_match", "EM", "strict exact match with any accepted answer", _score("exact_match")),
    Measure(
        "prefix_exact_match",
        "prefix EM",
        "the published match: the answer begins with the shortest accepted one",
        _score("prefix_exact_match"),
    ),
    Measure("f1", "F1", "F1 over words, the best over the accepted answers", _score("f1")),
    Measure(
        "exact_match_in_use",
        "EM in use",
        "exact match where abstaining counts as wrong",
        _exact_match_in_use,
    ),
    *(
        Measure(
            f"recall_at_{depth}",
            f"recall@{depth}",
            f"a document of the answer is among the first {depth} that were selected",
            _recall(depth),
        )
        for depth in (1, 5, 10)
    ),
    Measure("mrr", "MRR", "mean of 1 over the rank of the first document of the answer", _reciprocal_rank),
    Measure(
        "right_if_selected",
        "EM if selected",
        "exact match where a document of the answer was read",
        _right_if_selected,
    ),
    Measure(
        "abstention_precision",
        "abstention precision",
        "abstained from, and nothing there answered it",
        _abstention_precision,
    ),
    Measure(
        "abstention_recall",
        "abstention recall",
        "nothing there answers it, and abstained from",
        _abstention_recall,
    ),
    Measure(
        "false_answers",
        "false answers",
        "answered although nothing there answers it",
        _false_answers,
    ),
    Measure(
        "false_abstentions",
        "false abstentions",
        "abstained from although the answer is there",
        _false_abstentions,
    ),
)
MEASURES: Mapping[str, Measure] = {measure.name: measure for measure in _ALL}
