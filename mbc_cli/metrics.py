"""How an answer is scored against the accepted ones: exact match, the published prefix match, token F1.

Normalisation is that of the SQuAD 1.1 evaluation script (Rajpurkar et al. 2016): lower case, no ASCII
punctuation, no English articles, single spaces; beside that, letters that are written composed or decomposed
("é" in one code point or two) are equal. Accepted answers of which that leaves nothing ("A", "$") do
not count beside others; where there is no other, only a prediction of which nothing is left matches, as in
SQuAD, so such a question measures nothing (:func:`scorable`).
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one answer, or their means over many; each lies in [0, 1]."""

    exact_match: float
    prefix_exact_match: float
    f1: float


def normalize_answer(text: str) -> str:
    """Return ``text`` as the SQuAD evaluation compares it, in Unicode's composed form (NFC)."""
    composed = unicodedata.normalize("NFC", text)
    return " ".join(_ARTICLES.sub(" ", composed.lower().translate(_WITHOUT_PUNCTUATION)).split())


def scorable(answers: Sequence[str]) -> bool:
    """Whether something is left of one of the answers when they are normalised: not of "A" or "$"."""
    return any(map(normalize_answer, answers))


def exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction equals one of the normalised accepted answers, else 0.0."""
    normalized = normalize_answer(prediction)
    return float(any(normalized == normalize_answer(answer) for answer in _compared(answers)))


def prefix_exact_match(prediction: str, answers: Sequence[str]) -> float:
    """1.0 if the normalised prediction begins with the normalised shortest accepted answer, else 0.0.

    This is the exact match that the published MAC and MBC code reports: only the shortest accepted answer
    (the first of equals) counts, and whatever follows it in the prediction is ignored. It is lenient, so
    compare it only with published figures.
    """
    normalized = normalize_answer(prediction)
    accepted = normalize_answer(min(_compared(answers), key=len))
    return float(normalized.startswith(accepted) if accepted else not normalized)


def token_f1(prediction: str, answers: Sequence[str]) -> float:
    """Harmonic mean of word precision and recall, the best over the accepted answers."""
    predicted = normalize_answer(prediction).split()
    return max(_pair_f1(predicted, normalize_answer(answer).split()) for answer in _compared(answers))


def _compared(answers: Sequence[str]) -> Sequence[str]:
    """The accepted answers of which normalising leaves something; all of them where it leaves nothing."""
    return [answer for answer in answers if normalize_answer(answer)] or answers


def _pair_f1(predicted: list[str], accepted: list[str]) -> float:
    if not predicted or not accepted:
        return float(predicted == accepted)
    common = (Counter(predicted) & Counter(accepted)).total()
    return 2 * common / (len(predicted) + len(accepted))


def score_answer(prediction: str, answers: Sequence[str]) -> Scores:
    """Score one prediction.

    Raises:
        ValueError: ``answers`` is empty: a question without an accepted answer cannot be scored.
    """
    if not answers:
        raise ValueError("no accepted answers: a question needs at least one to be scored")
    return Scores(
        exact_match=exact_match(prediction, answers),
        prefix_exact_match=prefix_exact_match(prediction, answers),
        f1=token_f1(prediction, answers),
    )


def mean_scores(scores: Iterable[Scores]) -> Scores:
    """The mean of each score.

    Raises:
        ValueError: there are no scores.
    """
    collected = list(scores)
    if not collected:
        raise ValueError("no scores to average: the protocol needs at least one question")
    return Scores(
        exact_match=sum(score.exact_match for score in collected) / len(collected),
        prefix_exact_match=sum(score.prefix_exact_match for score in collected) / len(collected),
        f1=sum(score.f1 for score in collected) / len(collected),
    )
