"""What a calibrated memory would hold of a question whose documents it had never met.

A score depends on question and passage alone, so leaving the documents' passages out of the ranking is the
same as never having encoded them.
"""

from __future__ import annotations

from collections.abc import Sequence

from mbc_cli.corpus.documents import Question
from mbc_cli.inference.answer import Source
from mbc_cli.memory import Memory


def relevances_elsewhere(
    memory: Memory, questions: Sequence[Question], batch_size: int
) -> list[float | None]:
    """The relevance of the best passage of all documents but those a question names; 0 where there is none.

    None for questions that name no documents, and for all where the adapter is not calibrated.
    """
    found: list[float | None] = [None] * len(questions)
    calibration = memory.calibration
    known = [index for index, question in enumerate(questions) if question.document_ids]
    if calibration is None or not known:
        return found
    with memory.store.snapshot() as snapshot:
        passages = snapshot.passage_count
        own_passages = []
        for index in known:
            documents = [snapshot.document(name) for name in questions[index].document_ids]
            own_passages.append(sum(len(document.rows) for document in documents if document is not None))
    # Even if all its own passages are best, one more is another document's.
    depth = 1 + max(own_passages)
    texts = [questions[index].question for index in known]
    ranked = memory.search(texts, top_k=depth, batch_size=batch_size)
    for index, sources, own in zip(known, ranked, own_passages, strict=True):
        score = _best_elsewhere(questions[index], sources)
        found[index] = 0.0 if score is None else calibration.relevance(score, passages - own)
    return found


def _best_elsewhere(question: Question, ranked: Sequence[Source]) -> float | None:
    return next((each.score for each in ranked if each.document_id not in question.document_ids), None)
