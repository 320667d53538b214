"""StreamingQA (Liška et al., 2022) in the paired CSV that CaMeLS published and MAC and MBC train on.

Columns: ``text`` (the article), ``question``, ``answers`` (separated by backslashes); where present
``qa_id``, ``evidence_id``, and ``evidence_ts`` (seconds) or ``date``.
"""

from __future__ import annotations

from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets.csv_rows import read_rows, row_timestamp
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset

COLUMNS = ("text", "question", "answers")
ANSWER_SEPARATOR = "\\"
DESCRIPTION = DatasetDescription(
    name="streamingqa",
    what="Questions about English news of 2007 to 2020, each with the time of its article.",
    languages="English",
    splits={
        "test": "the paired file of the test part",
        "validation": "that of the validation part",
        "train": "that of the training part",
    },
    licence="questions CC BY 4.0; the news is WMT's, for research, and not part of it",
    citation="Liska et al. 2022, StreamingQA, arXiv 2205.11388; paired by Hu et al. 2023, CaMeLS",
    source="https://github.com/google-deepmind/streamingqa",
    files={
        "test": ("test.csv", "*test*.csv"),
        "validation": ("valid.csv", "*valid*.csv", "*dev*.csv"),
        "train": ("train.csv", "*train*.csv"),
    },
    how_to_get=(
        "pair the published questions with your copy of the news: "
        "mbc dataset prepare streamingqa QUESTIONS --passages NEWS"
    ),
)


def load(path: Path, bad: BadInputs, delimiter: str | None = None) -> QuestionDataset:
    """Load one CSV file; each split is a file."""
    dataset = QuestionDataset("streamingqa")
    for number, (place, row) in enumerate(read_rows("streamingqa", path, COLUMNS, bad, delimiter), start=1):
        answers = [answer for answer in row["answers"].split(ANSWER_SEPARATOR) if answer.strip()]
        if not answers:
            bad.add(place, "column 'answers' holds no answer")
            continue
        document_id = dataset.add_document(
            row["text"],
            row.get("evidence_id") or f"article-{len(dataset.documents) + 1}",
            timestamp=row_timestamp(row, place, bad, "evidence_ts", "date"),
        )
        dataset.add_question(row.get("qa_id") or f"question-{number}", row["question"], answers, document_id)
    return dataset
