"""What every dataset comes down to."""

from __future__ import annotations

from dataclasses import dataclass, field

from mbc_cli.corpus.documents import Document, Question


@dataclass(slots=True)
class QuestionDataset:
    """Documents in stream order, each once however many questions it has, and the questions about them.

    Attributes:
        questions: those without an accepted answer are in it: nothing in the documents answers them.
        split: the part of the data set, where it has parts.
        source: the file, or the name on the hub, that it was read from.
        is_sample: whether it is not the data set but the sample written for this project.
        how_to_get: what to do to have the data set itself.
    """

    name: str
    documents: list[Document] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    split: str = ""
    source: str = ""
    is_sample: bool = False
    how_to_get: str = ""
    _id_of_text: dict[str, str] = field(default_factory=dict, repr=False)
    _ids: set[str] = field(default_factory=set, repr=False)

    @property
    def answerable(self) -> list[Question]:
        """The questions that have an accepted answer."""
        return [question for question in self.questions if question.answers]

    def described(self) -> dict[str, object]:
        """What it is and where it came from, as plain values."""
        return {
            "dataset": self.name,
            "split": self.split,
            "source": self.source,
            "is_sample": self.is_sample,
            "how_to_get": self.how_to_get,
        }

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

    def add_question(self, identifier: str, question: str, answers: list[str], *document_ids: str) -> None:
        """Add a question about documents; repeated answers are kept once, in order."""
        unique = tuple(dict.fromkeys(answer.strip() for answer in answers if answer.strip()))
        self.questions.append(Question(identifier, question.strip(), unique, document_ids))
