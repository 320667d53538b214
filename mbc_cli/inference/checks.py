"""What callers of the memory may ask, and how much of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mbc_cli.errors import UsageError
from mbc_cli.identifiers import is_unicode

if TYPE_CHECKING:
    from mbc_store import Snapshot


def check_questions(questions: Sequence[str]) -> None:
    """Raise UsageError if ``questions`` are not texts that can be asked, or are one text and not several."""
    if isinstance(questions, str):
        raise UsageError("questions is a string: give a list of questions")
    for question in questions:
        if not isinstance(question, str):
            raise UsageError(f"a question is of type {type(question).__name__}: give its text")
        if not question.strip():
            raise UsageError("a question is empty: give the text of a question")
        if not is_unicode(question):
            raise UsageError(f"the question {question!r:.100} is not valid UTF-8")


def check_threshold(threshold: float | None) -> None:
    """Raise UsageError if ``threshold`` is given and is no probability."""
    if threshold is not None and not (isinstance(threshold, float | int) and 0 <= threshold <= 1):
        raise UsageError(f"threshold is {threshold!r}: it is a probability and lies in [0, 1]")


def checked_count(name: str, value: int) -> int:
    """``value``. Raises UsageError if it is not a whole number of at least 1."""
    if not isinstance(value, int) or value < 1:
        raise UsageError(f"{name} is {value!r}: it must be a whole number, at least 1")
    return value


def check_probes(snapshot: Snapshot, probes: int | None) -> None:
    """Raise UsageError if passages are to be found by lists that the store does not keep."""
    if probes is not None:
        checked_count("probes", probes)
        if snapshot.posting_lists() is None:
            raise UsageError(
                f"probes is {probes}, but the memory keeps no lists of codes to find passages by",
                "make them with mbc memory index, or leave it out: every passage is compared then",
            )
