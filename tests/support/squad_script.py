"""What SQuAD's evaluation scripts (v1.1 and v2.0) do, written anew from their description.

Rajpurkar et al. 2016, section 5: exact match and F1 over bags of words, ignoring punctuation and the articles
a, an, the, the maximum over the accepted answers; 2018: an empty answer is right where there is none.
"""

from __future__ import annotations

import string


def normalized(text: str) -> list[str]:
    """The words that are compared."""
    letters = [letter for letter in text.lower() if letter not in string.punctuation]
    pieces = "".join(letters).split()
    kept: list[str] = []
    for piece in pieces:
        kept += without_articles(piece).split()
    return kept


def without_articles(piece: str) -> str:
    """A word without articles that stand in it as words: between characters that are no letter or digit."""
    parts: list[str] = []
    word = ""
    for character in [*piece, "\0"]:
        if character.isalnum() or character == "_":
            word += character
            continue
        parts.append(" " if word in {"a", "an", "the"} else word)
        word = ""
        if character != "\0":
            parts.append(character)
    return "".join(parts)


def exact(prediction: str, answers: list[str]) -> float:
    """1 if the words of one accepted answer are those of the prediction, in order."""
    return max(float(normalized(prediction) == normalized(answer)) for answer in answers)


def f1(prediction: str, answers: list[str]) -> float:
    """The best harmonic mean of precision and recall."""
    return max(_f1(normalized(prediction), normalized(answer)) for answer in answers)


def _f1(predicted: list[str], accepted: list[str]) -> float:
    if not predicted or not accepted:
        return float(predicted == accepted)
    rest = list(accepted)
    common = 0
    for word in predicted:
        if word in rest:
            rest.remove(word)
            common += 1
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(accepted)
    return 2 * precision * recall / (precision + recall)
