"""Whether an accepted answer stands in what was read: what tells a word that was lost from one misread."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mbc_cli.metrics import normalize_answer

# Scripts that put no space between words: there an answer is looked for anywhere in the text.
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether one of ``answers`` stands in ``text`` as whole words, both normalised as they are scored.

    Answers of which normalising leaves nothing are in no text.

    Example:
        >>> contains_answer("It was opened by Mira Okafor.", ["the Mira Okafor"])
        True
    """
    words = normalize_answer(text)
    for answer in filter(None, map(normalize_answer, answers)):
        if f" {answer} " in f" {words} " or (_UNSPACED.search(answer) and answer in words):
            return True
    return False


def holds_answer(read: str, answers: Sequence[str], documents: Iterable[str]) -> bool | None:
    """Whether what was ``read`` holds an accepted answer.

    None where it does not, but neither do the ``documents`` that answer the question: nothing can be said of
    an answer that is in other words than its text.
    """
    if contains_answer(read, answers):
        return True
    return False if any(contains_answer(text, answers) for text in documents) else None
