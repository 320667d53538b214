"""Question answering datasets by name: each yields the documents to encode and the questions to ask.

A new one is a file beside this and a line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mbc_cli import reporting
from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.datasets import (
    archivalqa,
    fairytaleqa,
    generic,
    longmemeval,
    squad,
    streamingqa,
    xquad,
)
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.hub import NotReached, hub_file, hub_rows
from mbc_cli.corpus.datasets.places import data_folder, find_file, sample_folder
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.errors import UsageError, nearest_hint

__all__ = ["DATASETS", "KINDS", "DatasetDescription", "QuestionDataset", "load_dataset"]

Load = Callable[[Path, BadInputs, str | None], QuestionDataset]
LoadRows = Callable[[Iterable[Mapping[str, Any]], BadInputs], QuestionDataset]


@dataclass(frozen=True, slots=True)
class DatasetKind:
    """A published data set: what it is, how its file is read, and how the hub's rows are, if it is there.

    ``has_columns`` says that its file is a table, whose delimiter may be given.
    """

    description: DatasetDescription
    load: Load
    load_rows: LoadRows | None = None
    has_columns: bool = False


KINDS: Mapping[str, DatasetKind] = {
    kind.description.name: kind
    for kind in (
        DatasetKind(squad.DESCRIPTION, squad.load, squad.load_rows),
        DatasetKind(streamingqa.DESCRIPTION, streamingqa.load, has_columns=True),
        DatasetKind(archivalqa.DESCRIPTION, archivalqa.load, has_columns=True),
        DatasetKind(fairytaleqa.DESCRIPTION, fairytaleqa.load, fairytaleqa.load_rows, has_columns=True),
        DatasetKind(xquad.DESCRIPTION, squad.load, squad.load_rows),
        DatasetKind(longmemeval.DESCRIPTION, longmemeval.load),
    )
}
DATASETS = (*KINDS, "jsonl")


def load_dataset(
    name: str,
    *,
    documents: str | Path | None = None,
    questions: str | Path | None = None,
    split: str | None = None,
    bad: BadInputs | None = None,
    needs_questions: bool = True,
    sample: bool = True,
    format: Format | None = None,
    delimiter: str | None = None,
) -> QuestionDataset:
    """Load a dataset: from ``documents``, else the data folder, else the hub, else its bundled sample.

    Args:
        name: one of :data:`DATASETS`.
        documents: the dataset's file, or a folder with a file for each split.
        questions: the file of questions, for ``jsonl`` only: the others hold theirs in the same file.
        split: which part; None is the one that is usually evaluated.
        bad: counts records that cannot be used; by default the first one is fatal.
        needs_questions: False where ``jsonl`` may come without its file of questions.
        sample: whether the sample will do, where there is nothing else.
        format: of the files of ``jsonl``; by default their names tell.
        delimiter: what parts the columns of CSV; by default the header tells.

    Raises:
        UsageError: the name or the split is unknown, a file is missing or one too many, the dataset has one
            format, or there is only a sample and it will not do.
        MbcError: a file cannot be read, or bad input, if ``bad`` says so.
    """
    counted = bad or BadInputs(on_error="fail")
    if name == "jsonl":
        if questions is None and needs_questions:
            raise UsageError("dataset jsonl needs documents and questions, and no questions are named")
        found = generic.load(_text(documents), _text(questions), counted, format, delimiter)
        found.source = str(documents)
        return found
    if name not in KINDS:
        raise UsageError(f"unknown dataset {name!r}", nearest_hint(name, DATASETS))
    if questions is not None:
        raise UsageError(f"dataset {name} holds its questions itself, but {questions} is named too")
    kind = KINDS[name]
    if format is not None or (delimiter is not None and not kind.has_columns):
        raise UsageError(f"dataset {name} has a format of its own", "leave out --format and --delimiter")
    description = kind.description
    if documents is not None and not Path(documents).is_dir():
        found = kind.load(Path(documents), counted, delimiter)
        return _told(found, description, split or "", str(documents))
    wanted = description.split(split)
    folder = data_folder() / name if documents is None else Path(documents)
    if path := find_file(folder, description.files[wanted]):
        return _told(kind.load(path, counted, delimiter), description, wanted, str(path))
    if documents is not None:
        raise UsageError(
            f"{documents} holds no file of data set {name}, split {wanted}",
            f"its name should be {description.files[wanted][0]}",
        )
    try:
        return _from_hub(kind, wanted, counted)
    except NotReached as reason:
        if not sample:
            raise UsageError(
                f"data set {name}, split {wanted}, is not in {folder}, and the hub does not give it "
                f"({reason}); the bundled sample is for trying out alone",
                how_to_get(description),
            ) from None
    return _sample(kind, wanted, counted)


def how_to_get(description: DatasetDescription) -> str:
    """What to do to have the data set in the data folder."""
    if "mbc dataset prepare" in description.how_to_get:
        return f"{description.how_to_get} ({description.source})"
    return (
        f"get it from {description.source} and {description.how_to_get}: {data_folder() / description.name}"
    )


def _from_hub(kind: DatasetKind, split: str, bad: BadInputs) -> QuestionDataset:
    description = kind.description
    if description.name == "longmemeval":
        path = hub_file(longmemeval.HUB, longmemeval.hub_file_name(split))
        return _told(kind.load(Path(path), bad, None), description, split, f"{longmemeval.HUB} on the hub")
    if description.hub is None or kind.load_rows is None:
        raise NotReached("it is not on the hub")
    repository, configuration = description.hub
    if configuration is not None:  # each split is a configuration of its own
        rows = hub_rows(repository, configuration.format(split=split), "validation")
    else:
        rows = hub_rows(repository, None, split)
    return _told(kind.load_rows(rows, bad), description, split, f"{repository} on the hub")


def _sample(kind: DatasetKind, split: str, bad: BadInputs) -> QuestionDataset:
    description = kind.description
    folder = sample_folder(description.name)
    path = find_file(folder, description.files[split])
    if path is None:
        has = [each for each, names in description.files.items() if find_file(folder, names)]
        raise UsageError(
            f"the sample of data set {description.name} has no split {split!r}, only {', '.join(has)}",
            how_to_get(description),
        )
    found = _told(kind.load(path, bad, None), description, split, "sample")
    found.is_sample = True
    reporting.note(
        f"this is the sample written for mbc, not {description.name}: {len(found.documents)} documents and "
        f"{len(found.questions)} questions; for the data set, {found.how_to_get}"
    )
    return found


def _told(
    found: QuestionDataset, description: DatasetDescription, split: str, source: str
) -> QuestionDataset:
    found.name, found.split, found.source = description.name, split, source
    found.how_to_get = how_to_get(description)
    return found


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
