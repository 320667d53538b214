"""Question answering datasets by name: each yields the documents to encode and the questions to ask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.datasets import archivalqa, generic, squad, streamingqa
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.errors import UsageError, nearest_hint

__all__ = ["DATASETS", "QuestionDataset", "load_dataset"]

# Those whose one CSV file holds documents and questions.
_CSV_FILE: dict[str, Callable[[Path | None, BadInputs, str | None], QuestionDataset]] = {
    "streamingqa": streamingqa.load,
    "archivalqa": archivalqa.load,
}
DATASETS = ("squad", *_CSV_FILE, "jsonl")


def load_dataset(
    name: str,
    *,
    documents: str | Path | None = None,
    questions: str | Path | None = None,
    split: str = "validation",
    bad: BadInputs | None = None,
    needs_questions: bool = True,
    format: Format | None = None,
    delimiter: str | None = None,
) -> QuestionDataset:
    """Load a dataset.

    Args:
        name: one of :data:`DATASETS`.
        documents: the dataset's file; None takes ``squad`` from the hub.
        questions: the file of questions, for ``jsonl`` only: the others hold theirs in the same file.
        split: which part to take from the hub.
        bad: counts records that cannot be used; by default the first one is fatal.
        needs_questions: False where ``jsonl`` may come without its file of questions.
        format: of the files of ``jsonl``; by default their names tell.
        delimiter: what parts the columns of CSV; by default the header tells.

    Raises:
        UsageError: the name is unknown, a file is missing or one too many, or the dataset has one format.
        MbcError: a file cannot be read, or bad input, if ``bad`` says so.
    """
    counted = bad or BadInputs(on_error="fail")
    if name == "jsonl":
        if questions is None and needs_questions:
            raise UsageError("dataset jsonl needs documents and questions, and no questions are named")
        return generic.load(_text(documents), _text(questions), counted, format, delimiter)
    if name not in DATASETS:
        raise UsageError(f"unknown dataset {name!r}", nearest_hint(name, DATASETS))
    if questions is not None:
        raise UsageError(f"dataset {name} holds its questions itself, but {questions} is named too")
    if format is not None or (delimiter is not None and name == "squad"):
        raise UsageError(f"dataset {name} has a format of its own", "leave out --format and --delimiter")
    path = None if documents is None else Path(documents)
    return squad.load(path, split, counted) if name == "squad" else _CSV_FILE[name](path, counted, delimiter)


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
