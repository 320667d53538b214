"""``retention``: the first documents' questions, asked again as later documents arrive (MAC section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mbc_cli.errors import InputError
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.methods.registry import kind_of
from mbc_cli.evaluation.online import Stream
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.result import Plot, ProtocolResult, Series, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting

_FIRST = 200
_STEPS = 5  # at least, where the stream is short


def retention(setting: ProtocolSetting) -> ProtocolResult:
    """Ask about the first ``first`` documents whenever ``every`` more have arrived.

    Raises:
        MbcError: a setting is unknown or out of range, or nothing asks about the first documents alone.
    """
    setting.check_options("retention", first=None, every=None)
    total = len(setting.documents)
    usual = min(_FIRST, max(1, total // _STEPS))
    first = setting.number("first", usual)
    every = setting.number("every", first)
    stream = Stream.of(setting.documents, setting.questions, range(first, total, every))
    asked = [question for question in stream.asked_at(min(first, total)) if question.answers]
    if first >= total:
        raise InputError(
            f"retention needs more documents than the first {first}, and there are {total}",
            "set retention.first to a smaller number",
        )
    figures = {}
    series = []
    rows = []
    for name in setting.methods:
        scores = _followed(setting, name, stream, asked)
        start = scores[0]
        relative = [score / start if start else None for score in scores]
        drop = max((before - after for before, after in pairwise(scores)), default=0.0)
        figures[name] = {
            "sizes": list(stream.sizes),
            "exact_match": scores,
            "retained": relative[-1],
            "lowest": min(scores) / start if start else None,
            "largest_drop": max(0.0, drop),
        }
        label = kind_of(name).label
        rows.append(
            [
                label,
                100 * start,
                100 * scores[-1],
                *(None if value is None else 100 * value for value in (relative[-1], min_or_none(relative))),
                100 * max(0.0, drop),
            ]
        )
        if start:
            series.append(Series(label, stream.sizes, [100 * score / start for score in scores]))
    return ProtocolResult(
        name="retention",
        title="Retention",
        what=(
            f"The {len(asked)} questions about the first {first} documents, asked again after every {every} "
            "more. Retained is the exact match at the end relative to the start, lowest the least of all "
            "steps (the stability gap), and the largest drop is from one step to the next, in points."
        ),
        figures=figures,
        tables=[
            Table(["method", "EM % at first", "EM % at last", "retained %", "lowest %", "largest drop"], rows)
        ],
        plots=[Plot("What is kept of the first documents", "documents", "% of the first EM", series)],
    )


def min_or_none(values: Sequence[float | None]) -> float | None:
    """The least of the values; None where one is missing."""
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) else None


def _followed(setting: ProtocolSetting, name: str, stream: Stream, asked: Sequence[object]) -> list[float]:
    """Exact match on the same questions at each size."""
    questions = [question for question in stream.questions if question in asked]
    scores = []
    with setting.make(name, {}) as method:
        before = 0
        for size in stream.sizes:
            method.encode(stream.documents[before:size], batch_size=setting.batch_size)
            replies = method.reply(questions, batch_size=setting.batch_size)
            predictions = [
                Prediction.of(question, reply, None)
                for question, reply in zip(questions, replies, strict=True)
            ]
            scores.append(MEASURES["exact_match"].value(predictions) or 0.0)
            before = size
    return scores
