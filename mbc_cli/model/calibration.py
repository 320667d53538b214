"""How far scores can be trusted: the probability that the memory speaks to a question, or an answer is right.

Platt scaling (Platt 1999, "Probabilistic outputs for support vector machines") with one more input, the size
of the bank. The best of many unrelated passages scores higher the more of them there are, about linearly in
the logarithm of their number; the passage that holds the answer scores the same in any company.
"""

from __future__ import annotations

import math

from pydantic import Field

from mbc_cli.model.frozen_config import FrozenConfig


class AnswerCalibration(FrozenConfig):
    """Turns what the memory says to a question, and how sure the LLM was of its words, into a probability.

    ``expected_calibration_error`` was measured on questions that served neither training nor the fit: the
    mean difference, over ten bins of equal width, between confidence and the share of exact matches.
    """

    relevance_weight: float = Field(description="Weight of the log odds that the memory speaks to it.")
    likelihood_weight: float = Field(description="Weight of the answer's log-likelihood in nats.")
    bias: float
    questions: int = Field(ge=1, description="Questions of the fit.")
    held_out_questions: int = Field(ge=1, description="Questions that the error was measured on.")
    expected_calibration_error: float = Field(ge=0, le=1)

    def confidence(self, relevance: float, log_likelihood: float) -> float:
        """The probability that an answer of this likelihood, read where relevance is this, is right."""
        least = 1e-6  # a relevance that was rounded to 0 or 1 has no log odds
        odds = min(max(relevance, least), 1 - least)
        logit = math.log(odds / (1 - odds)) * self.relevance_weight
        return _logistic(logit + log_likelihood * self.likelihood_weight + self.bias)


class Calibration(FrozenConfig):
    """Turns the best score in a bank into a probability, and says from which one on the bank is read.

    The two rates were measured on documents and questions that served neither training nor the fit.
    """

    score_weight: float = Field(gt=0, description="Weight of the best passage's score.")
    size_weight: float = Field(description="Weight of the natural logarithm of the number of passages.")
    bias: float
    threshold: float = Field(0.5, ge=0, le=1, description="Relevance from which on the memory is read.")
    fallback: bool = Field(
        True, description="Whether the LLM, untouched, answers what is not in memory, or nobody does."
    )
    questions: int = Field(ge=1, description="Questions of the fit.")
    passages: int = Field(ge=1, description="Passages of the fit.")
    held_out_questions: int = Field(ge=1, description="Questions that the rates were measured on.")
    held_out_passages: int = Field(ge=1, description="Passages that the rates were measured on.")
    false_answer_rate: float = Field(
        ge=0, le=1, description="Share read from the memory though their document was taken out of it."
    )
    false_abstention_rate: float = Field(
        ge=0, le=1, description="Share not read from the memory though it holds their document."
    )

    answers: AnswerCalibration | None = Field(None, description="Of whether answers are right.")

    def relevance(self, score: float, passages: int) -> float:
        """The probability that the best of ``passages`` passages, with ``score``, speaks to the question.

        Where questions with and without an answer in the bank are equally many; ``passages`` is at least 1.
        """
        logit = self.score_weight * score + self.size_weight * math.log(passages) + self.bias
        return _logistic(logit)


def _logistic(logit: float) -> float:
    return 0.5 * (1 + math.tanh(logit / 2))  # this form cannot overflow
