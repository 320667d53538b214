"""Turn FairytaleQA, XQuAD and Wikipedia passages into what the default adapter learns and is measured on.

    python examples/make_real_text.py --fairytaleqa DIR --xquad FILE --wikipedia FILE text/

Stories and articles are cut at the ends of sentences into passages of at most 62 tokens; a question belongs
to the passage that holds its answer, and is left out where none does. Wikipedia passages get questions made
from their own text. Generated news comes with its questions. Written are, each as documents and questions:
train, validation (stories, articles and passages that train has not), and the test sets test-xquad,
test-fairytaleqa, test-wikipedia, test-paragraphs and filler (Wikipedia passages that only make the bank
larger).
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.corpus.made_questions import made_questions
from mbc_cli.metrics import normalize_answer
from mbc_cli.model.llm.base_models import fetched_folder
from mbc_cli.news.generator import generate_news

MOST_TOKENS = 62  # of a passage; reading adds one or two more
PARAGRAPHS = Path(__file__).parent.parent / "tests" / "data" / "paragraphs"
LEARNED_ARTICLES, LEARNED_PASSAGES = 36, 12_500  # of XQuAD and of the Wikipedia file
QUESTIONS_OF_TRAIN = 2  # made of each Wikipedia passage
_SENTENCE_ENDS = re.compile(r"(?:(?<=[.!?])|(?<=[.!?][\"”']))\s+(?=[\"“'A-Z0-9])")
NEWS_SEEDS = {"train": 11, "validation": 12}  # the demo and the benchmarks use others


@dataclass
class TextSet:
    """Documents and the questions about them."""

    documents: list[Document] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    def __iadd__(self, other: TextSet) -> TextSet:
        self.documents += other.documents
        self.questions += other.questions
        return self

    def write(self, stem: Path) -> None:
        documents = [{"id": d.id, "title": d.title, "text": d.text} for d in self.documents]
        questions = [
            {"id": q.id, "question": q.question, "answers": q.answers, "document_ids": q.document_ids}
            for q in self.questions
        ]
        for kind, rows in (("documents", documents), ("questions", questions)):
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            stem.with_name(f"{stem.name}.{kind}.jsonl").write_text(text)
        print(f"{stem.name}: {len(documents)} documents, {len(questions)} questions", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--fairytaleqa", type=Path, required=True, help="folder of {train,val}.*.jsonl")
    parser.add_argument("--xquad", type=Path, required=True, help="XQuAD's English file, in SQuAD's form")
    parser.add_argument("--wikipedia", type=Path, required=True, help="JSONL of passages")
    parser.add_argument("--passages", type=int, default=4500, help="Wikipedia passages to learn from")
    parser.add_argument("--news", type=int, default=1200, help="generated news items to learn from")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    cut = Cutter()

    stories = read_stories(arguments.fairytaleqa, "train")
    names = sorted({story.rpartition("#")[0] for story, *_ in stories})
    held = set(random.Random(0).sample(names, len(names) // 15))
    articles = json.loads(arguments.xquad.read_text())["data"]
    passages = [json.loads(line) for line in arguments.wikipedia.read_text().splitlines()]
    wikipedia = [Document(row["id"], row["text"], title=row.get("title")) for row in passages]
    learned, tested = wikipedia[:LEARNED_PASSAGES], wikipedia[LEARNED_PASSAGES:]

    def write(name: str, *parts: TextSet) -> None:
        whole = TextSet()
        for part in parts:
            whole += part
        whole.write(arguments.output / name)

    write(
        "train",
        cut.all(story for story in stories if story[0].rpartition("#")[0] not in held),
        cut.all(xquad_sections(articles[: LEARNED_ARTICLES - 2])),
        cut.all(xquad_sections(articles[: LEARNED_ARTICLES - 2], "~"), most=40),
        with_made_questions(learned[500 : 500 + arguments.passages], QUESTIONS_OF_TRAIN),
        news(arguments.news, "train"),
    )
    write(
        "validation",
        cut.all(story for story in stories if story[0].rpartition("#")[0] in held),
        cut.all(xquad_sections(articles[LEARNED_ARTICLES - 2 : LEARNED_ARTICLES])),
        with_made_questions(learned[:150], 1),
        news(40, "validation"),
    )
    write("test-xquad", cut.all(xquad_sections(articles[LEARNED_ARTICLES:]), keep_all=True))
    write("test-fairytaleqa", cut.all(read_stories(arguments.fairytaleqa, "val"), keep_all=True))
    write("test-wikipedia", with_made_questions(tested[:500], 1))
    write("filler", TextSet(tested[500:] + learned[150:500]))
    own = [read_rows(PARAGRAPHS / f"{kind}.jsonl") for kind in ("documents", "questions")]
    documents = [Document(row["id"], row["text"], title=row["title"]) for row in own[0]]
    write("test-paragraphs", TextSet(documents, [question_of(row) for row in own[1]]))


Section = tuple[str, str | None, str, Sequence[Question]]
"""The id, title and text of a piece of a longer text, and the questions about it."""


class Cutter:
    """Cuts sections into passages and finds the passage of each question."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        tokenizer = fetched_folder("smollm2-135m-instruct") / "tokenizer.json"
        self._tokenizer = Tokenizer.from_file(str(tokenizer))

    def all(self, sections: Iterable[Section], *, keep_all: bool = False, most: int = MOST_TOKENS) -> TextSet:
        """Passages of all sections with their questions; with ``keep_all`` those that none is about too."""
        result = TextSet()
        for identifier, title, text, questions in sections:
            passages = [
                Document(f"{identifier}/{number}", passage, title=title)
                for number, passage in enumerate(self.passages(text, most))
            ]
            asked = [found for each in questions if (found := placed(each, passages))]
            used = {name for question in asked for name in question.document_ids}
            result.documents += [each for each in passages if keep_all or each.id in used]
            result.questions += asked
        return result

    def passages(self, text: str, most: int) -> Iterator[str]:
        """Whole sentences, as many as fit; a sentence that is too long by itself is cut between words."""
        held: list[str] = []
        for piece in self._pieces(text, most):
            if held and self._tokens(" ".join([*held, piece])) > most:
                yield " ".join(held)
                held = []
            held.append(piece)
        if held:
            yield " ".join(held)

    def _pieces(self, text: str, most: int) -> Iterator[str]:
        for sentence in _SENTENCE_ENDS.split(" ".join(text.split())):
            words: list[str] = []
            for word in sentence.split():
                if words and self._tokens(" ".join([*words, word])) > most:
                    yield " ".join(words)
                    words = []
                words.append(word)
            if words:
                yield " ".join(words)

    def _tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(text).ids)


def placed(question: Question, passages: Sequence[Document]) -> Question | None:
    """The question with the passage that holds its answer; of several the one nearest to its words."""
    answers = tuple(each for each in question.answers if normalize_answer(each))
    words = set(normalize_answer(question.question).split())
    holding = [
        passage
        for passage in passages
        if any(f" {normalize_answer(answer)} " in f" {normalize_answer(passage.text)} " for answer in answers)
    ]
    if not holding:
        return None
    best = max(holding, key=lambda passage: len(words & set(normalize_answer(passage.text).split())))
    return Question(question.id, question.question, answers, (best.id,))


def read_stories(folder: Path, split: str) -> list[Section]:
    """FairytaleQA's sections with their questions; ids are ``story#number``."""
    asked: dict[str, list[Question]] = {}
    for row in read_rows(folder / f"{split}.questions.jsonl"):
        if len(row["document_ids"]) == 1:
            asked.setdefault(row["document_ids"][0], []).append(question_of(row))
    return [
        (row["id"], row["title"], row["text"], asked.get(row["id"], []))
        for row in read_rows(folder / f"{split}.documents.jsonl")
    ]


def xquad_sections(articles: Iterable[dict[str, Any]], mark: str = "#") -> Iterator[Section]:
    """SQuAD's paragraphs; with another ``mark`` in their ids the same may be cut a second time."""
    for article in articles:
        for number, paragraph in enumerate(article["paragraphs"]):
            questions = [
                Question(row["id"] + mark, row["question"], tuple(a["text"] for a in row["answers"]), ("",))
                for row in paragraph["qas"]
            ]
            yield f"{article['title']}{mark}{number}", article["title"], paragraph["context"], questions


def with_made_questions(documents: list[Document], count: int) -> TextSet:
    """Questions about gaps only; sentences to be continued say little of what people ask."""
    questions = []
    for document in documents:
        made = made_questions(document, per_document=count + 1)
        questions += [each for each in made if not each.question.startswith("Continue: ")][:count]
    return TextSet(documents, questions)


def news(count: int, split: str) -> TextSet:
    """Generated news with two questions about each."""
    items = list(generate_news(count, seed=NEWS_SEEDS[split], split="train"))
    return TextSet([item.document for item in items], [q for item in items for q in item.questions[:2]])


def question_of(row: dict[str, Any]) -> Question:
    return Question(row["id"], row["question"], tuple(row["answers"]), tuple(row["document_ids"]))


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
