"""A dataset of one's own: documents ``{id, title, text[, timestamp]}`` in any format that is read, and
questions ``{id, question, answers, document_ids}`` as JSONL.
"""

from __future__ import annotations

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.datasets.question_dataset import QuestionDataset
from mbc_cli.corpus.readers import read_documents, read_questions
from mbc_cli.errors import UsageError


def load(documents: str | None, questions: str | None, bad: BadInputs) -> QuestionDataset:
    """Load documents and, where they are named, questions on them."""
    if documents is None:
        raise UsageError("dataset jsonl needs documents, and none are named")
    dataset = QuestionDataset("jsonl", documents=list(read_documents([documents], bad)))
    if questions is None:
        return dataset
    known = {document.id for document in dataset.documents}
    for question in read_questions([questions], bad):
        if unknown := [name for name in question.document_ids if name not in known]:
            place = f"{questions}, question {question.id!r}"
            bad.add(place, f"it names a document that is not there: {unknown[0]!r}")
        else:
            dataset.questions.append(question)
    return dataset
