"""Learn from validation data when the best passage's score means that the memory speaks to a question.

Every question is asked of banks of validation documents of many sizes, with its own document among them and
without it, and read as in use. Half of the documents fit the calibration, the other half measures it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.inference.encode import encode_texts
from mbc_cli.inference.forward import Windows
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.data import hold_out

MOST_QUESTIONS = 600
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
        raise ValueError("only models with method 'select' and a quantiser have scores to calibrate")
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
    return calibration.model_copy(update={"false_answer_rate": answers, "false_abstention_rate": abstentions})


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
                confidence = calibration.confidence(self._best_score(question, others), len(others))
                answered.append(confidence >= calibration.threshold)
            score = self._best_score(question, np.arange(self.passages))
            abstained.append(calibration.confidence(score, self.passages) < calibration.threshold)
        return float(np.mean(answered)) if answered else 0.0, float(np.mean(abstained))

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
