"""A dataset of one's own: documents ``{id, title, text[, timestamp]}`` in any format that is read, and
questions ``{id, question, answers, document_ids}`` likewise.
"""

from __future__ import annotations

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.choices import Format
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.readers import latest, read_documents, read_questions
from mbc_cli.errors import UsageError


def load(
    documents: str | None,
    questions: str | None,
    bad: BadInputs,
    format: Format | None,
    delimiter: str | None,
) -> QuestionDataset:
    """Load documents and, where they are named, questions on them; of equal ids the later one counts."""
    if documents is None:
        raise UsageError("dataset jsonl needs documents, and none are named")
    read = read_documents([documents], bad, format=format, delimiter=delimiter)
    dataset = QuestionDataset("jsonl", documents=latest(read, bad))
    if questions is None:
        return dataset
    known = {document.id for document in dataset.documents}
    asked = read_questions([questions], bad, format=format, delimiter=delimiter)
    for question in latest(asked, bad):
        if unknown := [name for name in question.document_ids if name not in known]:
            place = f"{questions}, question {question.id!r}"
            bad.add(place, f"it names a document that is not there: {unknown[0]!r}")
        else:
            dataset.questions.append(question)
    return dataset
