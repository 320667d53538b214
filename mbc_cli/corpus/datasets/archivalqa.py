"""ArchivalQA (Wang et al., 2022) in the paired CSV that CaMeLS's script makes and MAC and MBC train on.

Columns: ``question``, ``answer``, ``ans_paragraph`` (the paragraph that holds the answer), ``doc_id`` and
``para_num`` (the article and the paragraph's place in it); where present ``id``, ``title`` and ``date``.
The documents are the paragraphs, those of one article in their order.
"""

from __future__ import annotations

from pathlib import Path

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets.csv_rows import read_rows, row_timestamp
from mbc_cli.corpus.datasets.description import DatasetDescription
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset

COLUMNS = ("question", "answer", "ans_paragraph", "doc_id", "para_num")
DESCRIPTION = DatasetDescription(
    name="archivalqa",
    what="532,444 questions about the New York Times of 1987 to 2007, made by a model and filtered.",
    languages="English",
    splits={
        "test": "the paired file of the test part",
        "validation": "that of the validation part",
        "train": "that of the training part",
    },
    licence="of the paragraphs: that of the LDC's New York Times Annotated Corpus, which you must have",
    citation="Wang, Jatowt and Yoshikawa 2022, ArchivalQA, arXiv 2109.03438; paired by CaMeLS",
    source="https://github.com/WangJiexin/ArchivalQA",
    files={
        # Not *val*: its own name has that in it.
        "test": ("test.csv", "*_test.csv"),
        "validation": ("valid.csv", "val.csv", "dev.csv", "*_val*.csv", "*_dev.csv"),
        "train": ("train.csv", "*_train.csv"),
    },
    how_to_get=(
        "pair the published questions with your licensed corpus: "
        "mbc dataset prepare archivalqa QUESTIONS --passages CORPUS"
    ),
)


def load(path: Path, bad: BadInputs, delimiter: str | None = None) -> QuestionDataset:
    """Load one CSV file; each split is a file."""
    rows = []
    for number, (place, row) in enumerate(read_rows("archivalqa", path, COLUMNS, bad, delimiter), start=1):
        try:
            rows.append((int(float(row["para_num"])), number, place, row))
        except (ValueError, OverflowError):
            bad.add(place, f"column 'para_num' is {row['para_num'][:40]!r}; accepted: a number")
    articles = {row["doc_id"]: first for first, (*_, row) in reversed(list(enumerate(rows)))}
    rows.sort(key=lambda item: (articles[item[3]["doc_id"]], item[0]))
    dataset = QuestionDataset("archivalqa")
    for paragraph, number, place, row in rows:
        document_id = dataset.add_document(
            row["ans_paragraph"],
            f"{row['doc_id']}_{paragraph}",
            title=row.get("title") or None,
            timestamp=row_timestamp(row, place, bad, "date"),
        )
        dataset.add_question(
            row.get("id") or f"question-{number}", row["question"], [row["answer"]], document_id
        )
    return dataset
