"""FairytaleQA (Xu et al., 2022): questions by experts about sections of stories.

Either the CSV of the authors' release for ``datasets``: ``story_name``, ``story_section``, ``question``,
``answer1``, ``answer2``; or a pair of JSONL files ``SPLIT.documents.jsonl`` and ``SPLIT.questions.jsonl``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets import generic
from mbc_cli.corpus.datasets.csv_rows import read_rows
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.errors import InputError

COLUMNS = ("story_name", "story_section", "question", "answer1")
DESCRIPTION = DatasetDescription(
    name="fairytaleqa",
    what="Questions by experts about sections of children's stories; many answers are in other words.",
    languages="English",
    splits={
        "validation": "23 stories, 1,025 questions",
        "test": "23 stories, 1,007 questions",
        "train": "232 stories, 8,548 questions",
    },
    licence="Apache-2.0",
    citation="Xu et al. 2022, Fantastic Questions and Where to Find Them, arXiv 2203.13947",
    source="https://github.com/uci-soe/FairytaleQAData",
    files={
        "validation": ("valid.csv", "val.csv", "validation.csv", "val.documents.jsonl"),
        "test": ("test.csv", "test.documents.jsonl"),
        "train": ("train.csv", "train.documents.jsonl"),
    },
    how_to_get="put train.csv, valid.csv and test.csv of WorkInTheDark/FairytaleQA on the hub there",
    hub=("WorkInTheDark/FairytaleQA", None),
)


def load(path: Path, bad: BadInputs, delimiter: str | None = None) -> QuestionDataset:
    """Load one split from its CSV file, or from its file of documents with that of questions beside it."""
    if path.name.endswith(".documents.jsonl"):
        questions = path.with_name(path.name.replace(".documents.", ".questions."))
        if not questions.is_file():
            raise InputError(f"{path} has no {questions.name} beside it", "put the file of questions there")
        found = generic.load(str(path), str(questions), bad, None, None)
        return QuestionDataset("fairytaleqa", found.documents, found.questions)
    return _made(read_rows("fairytaleqa", path, COLUMNS, bad, delimiter))


def load_rows(rows: Iterable[Mapping[str, Any]], bad: BadInputs) -> QuestionDataset:
    """Load the rows of the hub, which are those of the CSV."""
    return _made(_usable(rows, bad))


def _usable(rows: Iterable[Mapping[str, Any]], bad: BadInputs) -> Iterator[tuple[str, Mapping[str, str]]]:
    for number, row in enumerate(rows, start=1):
        texts = {name: value for name, value in row.items() if isinstance(value, str)}
        if missing := [name for name in COLUMNS if not texts.get(name, "").strip()]:
            bad.add(f"row {number}", f"column {missing[0]!r} is empty")
        else:
            yield f"row {number}", texts


def _made(rows: Iterable[tuple[str, Mapping[str, str]]]) -> QuestionDataset:
    dataset = QuestionDataset("fairytaleqa")
    sections: dict[str, int] = {}
    for number, (_, row) in enumerate(rows, start=1):
        story = row["story_name"].strip()
        known = len(dataset.documents)
        proposed = f"{story}#{sections.get(story, 0) + 1}"
        document_id = dataset.add_document(row["story_section"], proposed, title=story)
        if len(dataset.documents) > known:
            sections[story] = sections.get(story, 0) + 1
        answers = [row["answer1"], row.get("answer2") or ""]
        dataset.add_question(row.get("id") or f"question-{number}", row["question"], answers, document_id)
    return dataset
