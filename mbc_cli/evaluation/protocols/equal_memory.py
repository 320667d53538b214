"""``equal-memory``: accuracy against bytes, each method at several sizes of what it keeps.

A memory of telegrams keeps a smaller share of each passage's tokens. A store of text keeps the first words of
each document. Whatever else a memory is made of keeps all it makes of fewer documents, the newest: what a
fixed budget leaves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Method, MethodBytes
from mbc_cli.evaluation.methods.registry import kind_of
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.result import Cell, Plot, ProtocolResult, Series, Table
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.evaluation.statistics import area_under
from mbc_cli.model.telegram.model import TelegramMemoryModel

_SHARES = (0.25, 0.5, 0.75, 1.0)
_OF_TEXT = ("text", "bm25", "dense")
_NOTHING_KEPT = ("none", "gold-text", "fine-tuning")  # no bytes, or bytes that do not shrink


def equal_memory(setting: ProtocolSetting) -> ProtocolResult:
    """Each method at the ``shares`` of what it would keep, and the area under its curve.

    Raises:
        UsageError: a setting is unknown, or no share.
    """
    setting.check_options("equal-memory", shares=None)
    shares = _shares(setting.options.get("shares", list(_SHARES)))
    questions = [question for question in setting.questions if question.answers]
    curves: dict[str, list[tuple[float, float]]] = {}
    rows: list[list[Cell]] = []
    for name in setting.methods:
        if name in _NOTHING_KEPT:
            continue
        for share in shares:
            with setting.make(name, {}) as method:
                kept, size = _take_in(setting, name, method, share)
                replies = method.reply(questions, batch_size=setting.batch_size)
            predictions = [
                Prediction.of(question, reply, None)
                for question, reply in zip(questions, replies, strict=True)
            ]
            right = MEASURES["exact_match"].value(predictions) or 0.0
            growing = sum(size.growing.values())
            curves.setdefault(name, []).append((growing, right))
            rows.append(
                [
                    kind_of(name).label,
                    f"{100 * share:.0f} % of {kept}",
                    growing,
                    growing / len(setting.documents),
                    100 * right,
                ]
            )
    areas = _areas({name: sorted(curve) for name, curve in curves.items()})
    return ProtocolResult(
        name="equal-memory",
        title="Equal memory",
        what=(
            "Exact match against the bytes that grow with the documents, as each method keeps less. The area "
            "is the mean exact match over all budgets of bytes (on a logarithmic scale): nothing below a "
            "method's least, and no more beyond its most."
        ),
        figures={
            name: {"bytes": [x for x, _ in curve], "exact_match": [y for _, y in curve], "area": areas[name]}
            for name, curve in curves.items()
        },
        tables=[
            Table(["method", "kept", "bytes", "per document", "EM %"], rows),
            Table(
                ["method", "mean EM % over budgets"],
                [[kind_of(name).label, None if area is None else 100 * area] for name, area in areas.items()],
            ),
        ],
        plots=[
            Plot(
                "Accuracy at equal memory",
                "bytes that grow with the documents",
                "exact match, %",
                [
                    Series(kind_of(name).label, [x for x, _ in curve], [100 * y for _, y in curve])
                    for name, curve in ((name, sorted(curve)) for name, curve in curves.items())
                ],
                log_x=True,
            )
        ],
    )


def _shares(given: object) -> list[float]:
    values = given if isinstance(given, list) else [given]
    shares = [float(each) for each in values if isinstance(each, int | float) and 0 < each <= 1]
    if not shares or len(shares) < len(values) or any(each is True for each in values):
        raise UsageError(
            f"setting shares is {given!r}; accepted: shares over 0 and at most 1, such as [0.25, 0.5, 0.9]"
        )
    return shares


def _take_in(setting: ProtocolSetting, name: str, method: Method, share: float) -> tuple[str, MethodBytes]:
    """Let a method keep ``share`` of what it would; returns what was shortened, and what that weighs."""
    documents: Sequence[Document] = setting.documents
    if name in _OF_TEXT:
        short = [replace_text(document, _first_words(document.text, share)) for document in documents]
        method.encode(short, batch_size=setting.batch_size)
        return "the words", method.bytes()
    model = setting.memory.model
    if isinstance(model, TelegramMemoryModel):
        with _kept(model, share):
            method.encode(documents, batch_size=setting.batch_size)
        return "the tokens", method.bytes()
    newest = documents[len(documents) - max(1, round(share * len(documents))) :]
    method.encode(newest, batch_size=setting.batch_size)
    return "the documents, the newest", method.bytes()


def replace_text(document: Document, text: str) -> Document:
    """The document with another text."""
    return Document(document.id, text, document.title, document.timestamp, document.metadata)


def _first_words(text: str, share: float) -> str:
    words = text.split(" ")
    return " ".join(words[: max(1, round(share * len(words)))])


@contextmanager
def _kept(model: TelegramMemoryModel, share: float) -> Iterator[None]:
    """The model keeping this share of the tokens that it usually keeps."""
    usual = model.amortizer.kept
    model.amortizer.kept = share * usual
    try:
        yield
    finally:
        model.amortizer.kept = usual


def _areas(curves: dict[str, list[tuple[float, float]]]) -> dict[str, float | None]:
    """The mean height of each curve over the bytes, in logarithms, from the least to the most of any method.

    Below its least bytes a method can answer nothing; beyond its most it answers as there. None where there
    is one size only.
    """
    sizes = sorted({x for curve in curves.values() for x, _ in curve if x > 0})
    if len(sizes) < 2:
        return dict.fromkeys(curves)
    grid = np.linspace(np.log(sizes[0]), np.log(sizes[-1]), 257)
    areas: dict[str, float | None] = {}
    for name, curve in curves.items():
        x, heights = zip(*curve, strict=True)
        areas[name] = area_under(list(grid), list(np.interp(grid, np.log(x), heights, left=0.0)))
    return areas
