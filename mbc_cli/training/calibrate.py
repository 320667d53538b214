"""Learn from validation data when the best passage's score means that the memory speaks to a question.

Every question is asked twice of a bank of validation documents: with its own document in the bank, and
without it. Half of the documents fit the calibration, the other half measures it.
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
from mbc_cli.model.bank import TensorBank
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.data import hold_out

MOST_QUESTIONS = 2000
"""How many questions are asked at most; they decide which documents are encoded."""
FEWEST_QUESTIONS = 10
"""How many questions each half needs, lest the fit say nothing."""

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
    fit_on = _scored(model, tokenizers, documents, fitted, batch_size)
    measured_on = _scored(model, tokenizers, documents, held_out, batch_size)
    if min(fit_on.passages, measured_on.passages) < 2:
        return None
    weights = _fit(*_examples(fit_on, seed))
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
    answers, abstentions = _rates(calibration, measured_on)
    return calibration.model_copy(update={"false_answer_rate": answers, "false_abstention_rate": abstentions})


@dataclass(frozen=True, slots=True)
class _Scored:
    """What the gold passages of each question, those of the documents it names, score, and all others.

    ``gold`` (Q,) float64 is the best of a question's gold passages; ``others`` has the scores of the rest,
    question by question.
    """

    passages: int
    gold: np.ndarray
    others: list[np.ndarray]


@torch.inference_mode()
def _scored(
    model: MemoryModel,
    tokenizers: Tokenizers,
    documents: Sequence[Document],
    questions: Sequence[Question],
    batch_size: int,
) -> _Scored:
    """Encode the documents that ``questions`` name, as one bank, and score all of it for each question."""
    named = {name for question in questions for name in question.document_ids}
    windows = Windows.of(model, tokenizers)
    passages = [
        p for document in documents if document.id in named for p in windows.split(tokenizers, document)
    ]
    owners = np.array([passage.document_id for passage in passages])
    stored, _ = encode_texts(model, tokenizers, [passage.text for passage in passages], batch_size=batch_size)
    bank = TensorBank(torch.from_numpy(stored.astype(np.int64)).to(model.device))
    gold, others = [], []
    for asked in batched(questions, batch_size):
        batch = tokenizers.encode_questions([question.question for question in asked]).to(model.device)
        reading = model.read(batch, bank, k=len(passages))
        by_row = torch.empty_like(reading.scores).scatter(1, reading.rows, reading.scores)
        for question, scores in zip(asked, by_row.double().cpu().numpy(), strict=True):
            is_gold = np.isin(owners, question.document_ids)
            gold.append(scores[is_gold].max())
            others.append(scores[~is_gold])
    return _Scored(len(passages), np.array(gold), others)


def _examples(scored: _Scored, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Best score and log of the bank's size (n, 2), and whether the answer is in the bank (n,).

    For banks of 1, 2, 4, ... passages drawn from the whole, so that the fit sees what size does.
    """
    generator = np.random.default_rng(seed)
    inputs, present = [], []
    for gold, others in zip(scored.gold, scored.others, strict=True):
        best = np.maximum.accumulate(generator.permutation(others))  # of the first 1, 2, 3, ... others
        sizes = 2 ** np.arange(int(np.log2(len(best))) + 1) if len(best) else np.array([], dtype=np.int64)
        for size in sizes:
            company = best[size - 2] if size > 1 else -np.inf
            inputs += [(best[size - 1], np.log(size)), (max(gold, company), np.log(size))]
            present += [False, True]
    return np.array(inputs), np.array(present)


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


def _rates(calibration: Calibration, scored: _Scored) -> tuple[float, float]:
    """The false answer rate and the false abstention rate in the whole bank."""
    answered = [
        calibration.confidence(others.max(), len(others)) >= calibration.threshold
        for others in scored.others
        if len(others)
    ]
    abstained = [
        calibration.confidence(max(gold, others.max(initial=gold)), scored.passages) < calibration.threshold
        for gold, others in zip(scored.gold, scored.others, strict=True)
    ]
    return float(np.mean(answered)) if answered else 0.0, float(np.mean(abstained))
