"""Learn from validation data when the best passage's score means that the memory speaks to a question.

Every question is asked of banks of validation documents of many sizes, with its own document among them and
without it, and read as in use. Half of the documents fit the calibration, the other half measures it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Document, Question
from mbc_cli.inference.encode import encode_texts
from mbc_cli.inference.forward import Windows
from mbc_cli.metrics import exact_match
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.calibration import AnswerCalibration, Calibration
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.data import hold_out

MOST_QUESTIONS = 300
"""How many questions are asked at most; they decide which documents are encoded."""
FEWEST_QUESTIONS = 10
"""How many questions each half needs, lest the fit say nothing."""
BANKS_OF_A_QUESTION = 2
"""Of how many banks, with its document and without, each question is asked for the fit."""

_RIDGE = 1e-3  # keeps the weights finite where present and absent questions are parted without error
_NEWTON_STEPS = 50


def can_calibrate(model: MemoryModel) -> bool:
    """Whether ``model`` selects passages from their codes, so that a score is there to be calibrated."""
    return model.config.scores_can_be_calibrated


def calibrate(
    model: MemoryModel,
    tokenizers: Tokenizers,
    documents: Sequence[Document],
    questions: Sequence[Question],
    *,
    threshold: float = 0.5,
    fallback: bool = True,
    batch_size: int = 16,
    seed: int = 0,
) -> Calibration | None:
    """Fit a calibration to ``questions`` about ``documents``, none of which ``model`` was trained on.

    Only documents that questions name are encoded, and at most ``MOST_QUESTIONS`` questions are asked.
    Nothing is stored and nothing in the model changes.

    Args:
        threshold: from which probability on ``query`` reads the memory. The default weighs an answer from
            the wrong passage as much as an answer that was there and not given.
        fallback: whether the LLM answers what is not in memory, where nobody says otherwise.

    Returns:
        None where nothing can be told from the data: fewer than ``FEWEST_QUESTIONS`` questions in either
        half, only one passage to choose from, or scores no higher where the answer is in the bank.

    Raises:
        ValueError: ``can_calibrate`` is false of ``model``.
    """
    if not can_calibrate(model):
        raise ValueError("only models that select among codes (select, telegram) have scores to calibrate")
    known = {document.id for document in documents if document.text.strip()}
    usable = [each for each in questions if each.document_ids and known.issuperset(each.document_ids)]
    drawn = np.random.default_rng(seed).permutation(len(usable))[:MOST_QUESTIONS]
    fitted, held_out = hold_out(documents, [usable[index] for index in sorted(drawn)], 0.5, seed)
    if min(len(fitted), len(held_out)) < FEWEST_QUESTIONS:
        return None
    fit_on = _AskedBank(model, tokenizers, documents, fitted, batch_size)
    measured_on = _AskedBank(model, tokenizers, documents, held_out, batch_size)
    if min(fit_on.passages, measured_on.passages) < 2:
        return None
    weights = _fit(*fit_on.examples(seed))
    if weights[0] <= 0:
        return None
    calibration = Calibration(
        score_weight=float(weights[0]),
        size_weight=float(weights[1]),
        bias=float(weights[2]),
        threshold=threshold,
        fallback=fallback,
        questions=len(fitted),
        passages=fit_on.passages,
        held_out_questions=len(held_out),
        held_out_passages=measured_on.passages,
        false_answer_rate=0,
        false_abstention_rate=0,
    )
    answers, abstentions = measured_on.rates(calibration)
    return calibration.model_copy(
        update={
            "false_answer_rate": answers,
            "false_abstention_rate": abstentions,
            "answers": _of_answers(fit_on.answered(calibration), measured_on.answered(calibration)),
        }
    )


def _of_answers(fit_on: _Answered, measured_on: _Answered) -> AnswerCalibration | None:
    """How likely answers are right; None where there are too few, or all of one kind."""
    fitted = len(fit_on.right), len(measured_on.right)
    if min(fitted) < FEWEST_QUESTIONS or not 0 < fit_on.right.mean() < 1:
        return None
    odds = np.log(fit_on.relevance / (1 - fit_on.relevance))
    weights = _fit(np.c_[odds, fit_on.log_likelihood], fit_on.right)
    found = AnswerCalibration(
        relevance_weight=float(weights[0]),
        likelihood_weight=float(weights[1]),
        bias=float(weights[2]),
        questions=fitted[0],
        held_out_questions=fitted[1],
        expected_calibration_error=0,
    )
    confidence = [
        found.confidence(*each)
        for each in zip(measured_on.relevance.tolist(), measured_on.log_likelihood.tolist(), strict=True)
    ]
    error = expected_calibration_error(np.array(confidence), measured_on.right)
    return found.model_copy(update={"expected_calibration_error": error})


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    """The mean difference between confidence (n,) float64 and the share that is right (n,) bool.

    Over ``bins`` of equal width, each weighed by how many fall into it (Naeini et al. 2015).
    """
    places = np.minimum((confidence * bins).astype(int), bins - 1)
    errors = [
        abs(confidence[places == place].mean() - right[places == place].mean()) * (places == place).mean()
        for place in np.unique(places)
    ]
    return float(sum(errors))


@dataclass(frozen=True, slots=True)
class _Answered:
    """Of n answers from memory: relevance, log-likelihood in nats (n,) float64, and which are right (n,)."""

    relevance: np.ndarray
    log_likelihood: np.ndarray
    right: np.ndarray


class _AskedBank:
    """The passages of the documents that ``questions`` name, and how well parts of them speak to each."""

    def __init__(
        self,
        model: MemoryModel,
        tokenizers: Tokenizers,
        documents: Sequence[Document],
        questions: Sequence[Question],
        batch_size: int,
    ) -> None:
        self._model = model
        self._tokenizers = tokenizers
        self._questions = questions
        self._batch_size = batch_size
        named = {name for question in questions for name in question.document_ids}
        windows = Windows.of(model, tokenizers)
        passages = [
            p for document in documents if document.id in named for p in windows.split(tokenizers, document)
        ]
        self._owners = np.array([passage.document_id for passage in passages])
        stored, _ = encode_texts(
            model, tokenizers, [passage.text for passage in passages], batch_size=batch_size
        )
        self._codes = torch.from_numpy(stored.astype(np.int64)).to(model.device)

    @property
    def passages(self) -> int:
        return len(self._owners)

    def examples(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Best score and log of the bank's size (n, 2), and whether the answer is in the bank (n,).

        For banks of sizes drawn evenly by their logarithm, so that the fit sees what size does.
        """
        generator = np.random.default_rng(seed)
        inputs, present = [], []
        for question in self._questions:
            gold, others = self._parted(question)
            for _ in range(BANKS_OF_A_QUESTION):
                size = round(np.exp(generator.uniform(0, np.log(self.passages))))
                company = generator.permutation(others)
                for is_there, rows in (
                    (False, company[:size]),
                    (True, np.concatenate([gold, company[: max(0, size - len(gold))]])),
                ):
                    if len(rows):
                        inputs.append((self._best_score(question, rows), np.log(len(rows))))
                        present.append(is_there)
        return np.array(inputs), np.array(present)

    def rates(self, calibration: Calibration) -> tuple[float, float]:
        """The false answer rate and the false abstention rate in the whole bank."""
        answered, abstained = [], []
        for question in self._questions:
            _, others = self._parted(question)
            if len(others):
                relevance = calibration.relevance(self._best_score(question, others), len(others))
                answered.append(relevance >= calibration.threshold)
            score = self._best_score(question, np.arange(self.passages))
            abstained.append(calibration.relevance(score, self.passages) < calibration.threshold)
        return float(np.mean(answered)) if answered else 0.0, float(np.mean(abstained))

    @torch.inference_mode()
    def answered(self, calibration: Calibration) -> _Answered:
        """The answers from the whole bank, where the memory is taken to speak to the question."""
        model, bank = self._model, TensorBank(self._codes)
        relevance, log_likelihood, right = [], [], []
        for questions in batched(self._questions, self._batch_size):
            texts = [question.question for question in questions]
            prompts = self._tokenizers.encode_prompts(texts).to(model.device)
            asked = self._tokenizers.encode_questions(texts).to(model.device)
            reading = model.read(asked, bank, prompts=prompts)
            assert reading.prefix is not None
            steps = list(
                model.stream(
                    reading.prefix(),
                    prompts.input_ids,
                    prompts.attention_mask,
                    stop_tokens=self._tokenizers.stop_tokens,
                )
            )
            answers = self._tokenizers.decode_answers(torch.stack([step.ids for step in steps], dim=1))
            relevance += [
                calibration.relevance(score, self.passages) for score in reading.scores[:, 0].tolist()
            ]
            log_likelihood += torch.stack([step.log_likelihood for step in steps]).sum(0).tolist()
            right += [
                exact_match(answer, question.answers)
                for answer, question in zip(answers, questions, strict=True)
            ]
        least = 1e-6  # as in AnswerCalibration
        chances = np.array(relevance).clip(least, 1 - least)
        read = chances >= calibration.threshold
        return _Answered(chances[read], np.array(log_likelihood)[read], np.array(right)[read] > 0)

    def _parted(self, question: Question) -> tuple[np.ndarray, np.ndarray]:
        """The rows of the documents that a question names, and all other rows."""
        is_gold = np.isin(self._owners, question.document_ids)
        return np.flatnonzero(is_gold), np.flatnonzero(~is_gold)

    @torch.inference_mode()
    def _best_score(self, question: Question, rows: np.ndarray) -> float:
        """The score of the passage among ``rows`` that speaks most to the question."""
        device = self._model.device
        reading = self._model.read(
            self._tokenizers.encode_questions([question.question]).to(device),
            TensorBank(self._codes[torch.from_numpy(rows).to(device)]),
            1,
            self._tokenizers.encode_prompts([question.question]).to(device),
        )
        return float(reading.scores[0, 0])


def _fit(inputs: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Weights (score, log of size, bias) of a logistic regression, by Newton's method."""
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0) + 1e-12
    design = np.c_[(inputs - mean) / deviation, np.ones(len(inputs))]
    # Platt's targets: each kind of example as if one more had been on the wrong side.
    targets = np.where(present, 1 - 1 / (present.sum() + 2), 1 / ((~present).sum() + 2))
    weights = np.zeros(3)
    for _ in range(_NEWTON_STEPS):
        found = 0.5 * (1 + np.tanh(design @ weights / 2))
        curvature = (design * (found * (1 - found))[:, None]).T @ design + _RIDGE * np.eye(3)
        weights += np.linalg.solve(curvature, design.T @ (targets - found) - _RIDGE * weights)
    scaled = weights[:2] / deviation
    return np.array([*scaled, weights[2] - scaled @ mean])
