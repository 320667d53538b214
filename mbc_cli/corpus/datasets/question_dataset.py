"""What every dataset comes down to."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbc_cli.corpus.documents import Document, Question


@dataclass(slots=True)
class QuestionDataset:
    """Documents in stream order, each once however many questions it has, and the questions about them."""

    name: str
    split: str = ""
    documents: list[Document] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    _id_of_text: dict[str, str] = field(default_factory=dict, repr=False)
    _ids: set[str] = field(default_factory=set, repr=False)

    def described(self) -> dict[str, object]:
        return {"dataset": self.name, "split": self.split, "is_sample": False}

    def add_document(
        self, text: str, proposed_id: str, *, title: str | None = None, timestamp: int | None = None
    ) -> str:
        """Add a document unless its text is there already; return the id it goes by.

        ``proposed_id`` gets a number if another text has it.
        """
        if text not in self._id_of_text:
            identifier, copies = proposed_id, 1
            while identifier in self._ids:
                copies += 1
                identifier = f"{proposed_id}~{copies}"
            self._ids.add(identifier)
            self._id_of_text[text] = identifier
            self.documents.append(Document(identifier, text, title, timestamp))
        return self._id_of_text[text]

    def add_question(self, identifier: str, question: str, answers: list[str], document_id: str) -> None:
        """Add a question about one document; repeated answers are kept once, in order."""
        unique = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
        self.questions.append(Question(identifier, question.strip(), unique, (document_id,)))
