"""How well a model in training answers questions it does not learn from.

A bounded sample, drawn once: its passages are the bank. The loss is the training loss on them; exact match
is that of greedy answers, read from that bank as it is read in use.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Question
from mbc_cli.metrics import mean_scores, score_answer
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.data import TrainingExample, TrainingSet


@dataclass(frozen=True, slots=True)
class ValidationFigures:
    """Means over the sample: ``em`` and ``f1`` in [0, 1], ``loss`` and its ``parts`` as in training."""

    loss: float
    em: float
    f1: float
    parts: dict[str, float]

    def as_dict(self) -> dict[str, float]:
        return {"loss": self.loss, "em": self.em, "f1": self.f1} | self.parts


class Validator:
    """Asks a fixed sample of ``data``'s questions; call it in one process only."""

    def __init__(
        self, model: MemoryModel, tokenizers: Tokenizers, data: TrainingSet, config: TrainingConfig
    ) -> None:
        self._model = model
        self._tokenizers = tokenizers
        self._data = data
        self._batch_size = config.batch_size
        self._questions, self._sample = _sample(data, config.validation_questions, config.seed)

    @torch.no_grad()
    def run(self, progress: float) -> ValidationFigures:
        """Measure the model as it is; no random number is drawn and nothing in the model changes.

        Args:
            progress: how far training is, in [0, 1], as the training loss takes it.
        """
        self._model.eval()
        parts = self._losses(progress)
        scores = mean_scores(
            score_answer(prediction, question.answers)
            for prediction, question in zip(self._answers(), self._questions, strict=True)
        )
        return ValidationFigures(parts.pop("loss"), scores.exact_match, scores.f1, parts)

    def _losses(self, progress: float) -> dict[str, float]:
        """Means over the sample's batches of the training loss and its parts."""
        sums: dict[str, float] = {}
        batches = list(batched(self._sample, self._batch_size))
        for examples in batches:
            batch = self._data.batch(examples, self._tokenizers).to(self._model.device)
            loss = self._model.training_loss(batch, progress)
            for name, value in {"loss": float(loss.total), **loss.parts}.items():
                sums[name] = sums.get(name, 0.0) + value / len(batches)
        return sums

    def _answers(self) -> list[str]:
        """Greedy answers to the sample's questions, read from a bank of all its passages."""
        bank = self._bank()
        answers = []
        for questions in batched(self._questions, self._batch_size):
            texts = [question.question for question in questions]
            asked = self._tokenizers.encode_questions(texts).to(self._model.device)
            prompts = self._tokenizers.encode_prompts(texts).to(self._model.device)
            reading = self._model.read(asked, bank, prompts=prompts)
            tokens = self._model.generate(
                None if reading.prefix is None else reading.prefix(),
                prompts.input_ids,
                prompts.attention_mask,
                stop_tokens=self._tokenizers.stop_tokens,
            )
            answers += self._tokenizers.decode_answers(tokens)
        return answers

    def _bank(self) -> TensorBank:
        """The sample's passages, quantised unless training has yet to place the codebooks."""
        model = self._model
        parts = []
        for examples in batched(self._sample, self._batch_size):
            texts = [self._data.passages[example.passage].passage.text for example in examples]
            batch = self._tokenizers.encode_documents(texts).to(model.device)
            parts.append(model.encode_passages(batch.input_ids, batch.attention_mask).passages)
        return TensorBank(torch.cat(parts))


def _sample(data: TrainingSet, count: int, seed: int) -> tuple[list[Question], list[TrainingExample]]:
    """Draw ``count`` questions, or all if there are fewer; the examples group them by passage."""
    pairs = [(number, question) for number, item in enumerate(data.passages) for question in item.questions]
    drawn = sorted(np.random.default_rng(seed).permutation(len(pairs))[:count])
    asked: defaultdict[int, list[Question]] = defaultdict(list)
    for index in drawn:
        number, question = pairs[index]
        asked[number].append(question)
    examples = [
        TrainingExample(number, tuple((question.question, question.answers[0]) for question in questions))
        for number, questions in asked.items()
    ]
    return [question for questions in asked.values() for question in questions], examples
