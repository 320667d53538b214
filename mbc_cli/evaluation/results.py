"""The result of a run: a folder that holds everything needed to read, compare and repeat it.

``results.json`` (:class:`Results`), ``predictions.jsonl`` (a line for each method, size and question),
``summary.csv`` (a row for each method and size) and ``report.html``. Files are replaced whole, after each
method and each protocol, so a run that was interrupted can go on from them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbc_cli.errors import InputError
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.files import write_file

FORMAT = 1
RESULTS = "results.json"
PREDICTIONS = "predictions.jsonl"
SUMMARY = "summary.csv"
REPORT = "report.html"
FILES = (RESULTS, PREDICTIONS, SUMMARY, REPORT)


@dataclass(slots=True)
class Results:
    """What a run has found so far, as plain values.

    Attributes:
        run: the settings of the run; with the same ones it can be gone on with.
        data: ``dataset``, ``source``, ``is_sample``, ``how_to_get``, ``split``, ``documents``, ``questions``,
            ``unanswerable``, ``left_out`` and a ``digest`` of documents and questions.
        machine: processor, cores, threads, device, memory, versions.
        tuning: what was chosen on which questions: ``split``, ``questions`` and ``chosen``, a mapping of
            method to its settings; empty where nothing was.
        methods: name -> ``label``, ``what`` and ``stages``. A stage has ``documents``, ``questions``,
            ``measures`` (name -> ``value``, ``low``, ``high``, ``count``), ``bytes`` (``growing``, ``fixed``
            and ``alternatives``, each part -> bytes; ``total``; ``per_document``),
            ``encode_seconds_per_document``, ``answer_seconds_per_question``, ``peak_memory_bytes`` and
            ``outcomes`` (``right``, ``not found``, ``not kept``, ``misread`` -> count).
        paired: at the largest size, for two methods and a measure: ``measure``, ``first``, ``second``,
            ``difference`` (second - first), ``low``, ``high``, ``p``, ``questions``.
        protocols: name -> what :meth:`~mbc_cli.evaluation.protocols.result.ProtocolResult.as_json` gives.
    """

    run: Mapping[str, Any]
    data: Mapping[str, Any]
    machine: Mapping[str, Any]
    tuning: dict[str, Any] = field(default_factory=dict)
    methods: dict[str, Any] = field(default_factory=dict)
    paired: list[dict[str, Any]] = field(default_factory=list)
    protocols: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Everything, with the format's number."""
        return {
            "format": FORMAT,
            "run": dict(self.run),
            "data": dict(self.data),
            "machine": dict(self.machine),
            "tuning": self.tuning,
            "methods": self.methods,
            "paired": self.paired,
            "protocols": self.protocols,
        }


def write_results(folder: Path, results: Results) -> None:
    """Write ``results.json``, whole or not at all."""
    write_file(folder / RESULTS, json.dumps(results.as_json(), ensure_ascii=False, indent=1) + "\n")


def read_results(folder: Path) -> Results:
    """Read what `write_results` wrote.

    Raises:
        InputError: there is none, or it is damaged or of another format.
    """
    path = folder / RESULTS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"there is no {RESULTS} in {folder}", "name a folder that mbc evaluate --output wrote"
        ) from None
    except (ValueError, OSError) as failure:
        raise InputError(f"{path} cannot be read: {failure}", "run the evaluation again") from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise InputError(
            f"{path} has format {found!r}; accepted: {FORMAT}", "run the evaluation again with this version"
        )
    try:
        return Results(**{name: content[name] for name in Results.__dataclass_fields__})
    except KeyError as missing:
        raise InputError(f"{path} lacks {missing}", "run the evaluation again") from None


def write_predictions(folder: Path, predictions: Mapping[tuple[str, int], tuple[Prediction, ...]]) -> None:
    """Write ``predictions.jsonl``: a line for each method, size and question, in order."""
    lines = [
        json.dumps({"method": method, "documents": size, **each.as_json()}, ensure_ascii=False)
        for (method, size), part in predictions.items()
        for each in part
    ]
    write_file(folder / PREDICTIONS, "".join(f"{line}\n" for line in lines))


def read_predictions(folder: Path) -> dict[tuple[str, int], tuple[Prediction, ...]]:
    """Read what `write_predictions` wrote, by method and size.

    Raises:
        InputError: there is none, or it is damaged.
    """
    found: dict[tuple[str, int], list[Prediction]] = {}
    for line in _lines(folder / PREDICTIONS):
        found.setdefault((line["method"], line["documents"]), []).append(Prediction.from_json(line))
    return {key: tuple(part) for key, part in found.items()}


def _lines(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                yield json.loads(line)
    except (OSError, ValueError) as failure:
        raise InputError(f"{path} cannot be read: {failure}", "run the evaluation again") from None
