"""Documents and questions become training batches, in an order that is a function of the seed.

A passage stands once in a batch however many questions are asked of it. Nothing here keeps a position:
batch number ``i`` of a run can be made at any time, which is what makes resuming exact.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Document, Passage, Question, document_digest
from mbc_cli.errors import InputError
from mbc_cli.inference.forward import Windows
from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.config import TrainingConfig

# With length buckets: how many batches are sorted together, and how far lengths are blurred first, so that
# one passage's questions do not all end up in the same batch.
_BUCKET_BATCHES = 50
_BUCKET_BLUR = 0.1


@dataclass(frozen=True, slots=True)
class TrainingPassage:
    """One passage, and the questions it answers."""

    passage: Passage
    questions: tuple[Question, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Everything to learn from. ``skipped`` questions name no known document or accept no answer."""

    passages: tuple[TrainingPassage, ...]
    skipped: int
    digest: str

    @property
    def question_count(self) -> int:
        return sum(len(passage.questions) for passage in self.passages)

    def token_ids(self, tokenizers: Tokenizers) -> Iterator[Tensor]:
        """The ids (S,) of every passage."""
        for texts in batched([passage.passage.text for passage in self.passages], 256):
            batch = tokenizers.encode_documents(texts)
            for ids, mask in zip(batch.input_ids, batch.attention_mask, strict=True):
                yield ids[mask > 0]

    def batch(self, examples: Sequence[TrainingExample], tokenizers: Tokenizers) -> TrainingBatch:
        """Tokenise examples, padded to their longest passage, question and answer only."""
        return tokenizers.training_batch(
            documents=[self.passages[example.passage].passage.text for example in examples],
            questions=[question for example in examples for question, _ in example.questions],
            answers=[answer for example in examples for _, answer in example.questions],
            question_document=[row for row, example in enumerate(examples) for _ in example.questions],
        )


@dataclass(frozen=True, slots=True)
class TrainingExample:
    """Passage number ``passage`` with some of its questions, each with the answer to be learned this time."""

    passage: int
    questions: tuple[tuple[str, str], ...]


def build_training_set(
    documents: Sequence[Document], questions: Sequence[Question], tokenizers: Tokenizers, windows: Windows
) -> TrainingSet:
    """Find for every question the passage to learn it from.

    A question may name several documents: the first that contains an accepted answer is used, else the
    first. Documents are cut as they are in use, and the passage that contains the answer is learned from,
    else the document's first.

    Raises:
        MbcError: no question can be used.
    """
    by_id = {document.id: document for document in documents}
    passages_of: dict[str, list[Passage]] = {}
    questions_of: defaultdict[tuple[str, int], list[Question]] = defaultdict(list)
    skipped = 0
    for question in questions:
        named = [by_id[name] for name in question.document_ids if name in by_id]
        if not named or not question.answers:
            skipped += 1
            continue
        for document in named:
            if document.id not in passages_of:
                passages_of[document.id] = windows.split(tokenizers, document)
        passage = _gold_passage([p for document in named for p in passages_of[document.id]], question)
        questions_of[passage.document_id, passage.index].append(question)
    if not questions_of:
        raise InputError(
            f"none of the {len(questions)} questions can be used for training",
            "each needs at least one answer, and document_ids that name one of the documents",
        )
    chosen = []
    for (document_id, index), asked in questions_of.items():
        passage = passages_of[document_id][index]
        tokens = len(tokenizers.token_offsets(passage.text))
        chosen.append(TrainingPassage(passage, tuple(asked), tokens))
    return TrainingSet(tuple(chosen), skipped, _digest(documents, questions))


def hold_out(
    documents: Sequence[Document], questions: Sequence[Question], fraction: float, seed: int
) -> tuple[list[Question], list[Question]]:
    """Split the questions into (training, validation) so that no document serves both.

    About ``fraction`` of the documents that questions name first go to validation, at least one; questions
    that name documents of both sides go nowhere.
    """
    known = {document.id for document in documents}
    named = sorted({name for question in questions for name in question.document_ids[:1] if name in known})
    order = np.random.default_rng([seed, len(named)]).permutation(len(named))
    held = {named[index] for index in order[: max(1, round(fraction * len(named)))]}
    training = [q for q in questions if not held.intersection(q.document_ids)]
    return training, [q for q in questions if q.document_ids and held.issuperset(q.document_ids)]


class BatchOrder:
    """Which examples make batch ``index`` of a run, for any index.

    Within an epoch every question is asked once, in groups of ``questions_per_document``, but for the
    less than one batch that is left over.
    """

    def __init__(self, data: TrainingSet, config: TrainingConfig) -> None:
        self._data = data
        self._config = config
        per_example = config.questions_per_document
        self._example_count = sum(-(-len(passage.questions) // per_example) for passage in data.passages)
        self._batch_size = min(config.batch_size, self._example_count)
        self.batches_per_epoch = self._example_count // self._batch_size
        self._epoch = -1
        self._batches: list[list[TrainingExample]] = []

    def batch(self, index: int) -> list[TrainingExample]:
        """Return the examples of batch ``index``, each passage once."""
        epoch, position = divmod(index, self.batches_per_epoch)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._epoch_batches(epoch)
        return _merged(self._batches[position])

    def _epoch_batches(self, epoch: int) -> list[list[TrainingExample]]:
        generator = np.random.default_rng([self._config.seed, epoch])
        examples = []
        for number, passage in enumerate(self._data.passages):
            asked = []
            for index in generator.permutation(len(passage.questions)):
                question = passage.questions[index]
                asked.append((question.question, question.answers[generator.integers(len(question.answers))]))
            groups = batched(asked, self._config.questions_per_document)
            examples += [TrainingExample(number, tuple(group)) for group in groups]
        examples = [examples[index] for index in generator.permutation(len(examples))]
        if self._config.bucket_by_length:
            examples = self._bucketed(examples, generator)
        batches = list(batched(examples, self._batch_size))[: self.batches_per_epoch]
        return [batches[index] for index in generator.permutation(len(batches))]

    def _bucketed(
        self, examples: list[TrainingExample], generator: np.random.Generator
    ) -> list[TrainingExample]:
        lengths = np.array(
            [self._data.passages[example.passage].tokens for example in examples], dtype=np.float64
        )
        lengths *= generator.uniform(1 - _BUCKET_BLUR, 1 + _BUCKET_BLUR, len(lengths))
        ordered = []
        for block in batched(range(len(examples)), self._batch_size * _BUCKET_BATCHES):
            ordered += [examples[block[index]] for index in lengths[block].argsort(kind="stable")]
        return ordered


def _merged(examples: Sequence[TrainingExample]) -> list[TrainingExample]:
    """One example per passage, in order of first appearance."""
    asked: dict[int, tuple[tuple[str, str], ...]] = {}
    for example in examples:
        asked[example.passage] = asked.get(example.passage, ()) + example.questions
    return [TrainingExample(passage, questions) for passage, questions in asked.items()]


def _gold_passage(passages: Sequence[Passage], question: Question) -> Passage:
    answers = [_comparable(answer) for answer in question.answers]
    for passage in passages:
        text = _comparable(passage.text)
        if any(answer in text for answer in answers):
            return passage
    return passages[0]


def _comparable(text: str) -> str:
    return " ".join(text.lower().split()).rstrip(".")


def _digest(documents: Sequence[Document], questions: Sequence[Question]) -> str:
    """A digest of all training data, in order: a resumed run must see the same."""
    digest = hashlib.blake2b(digest_size=16)
    for document in documents:
        digest.update(repr((document.id, document_digest(document))).encode())
    for question in questions:
        digest.update(repr((question.question, question.answers, question.document_ids)).encode())
    return digest.hexdigest()
