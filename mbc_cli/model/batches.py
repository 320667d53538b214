"""What goes into a memory model and what training gets out of it: token ids, masks, labels and losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

Batch = TypeVar("Batch", bound="_Batch")


@dataclass(frozen=True)
class _Batch:
    """Tensors that go to a device together."""

    def to(self: Batch, device: torch.device | str) -> Batch:
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class TokenBatch(_Batch):
    """Token ids and mask, both (B, S) int64; the mask is 1 on text and 0 on padding."""

    input_ids: Int[Tensor, "B S"]
    attention_mask: Int[Tensor, "B S"]


@dataclass(frozen=True)
class AnswerBatch(_Batch):
    """Prompts followed by their answers: ids, mask and labels, all (B, S) int64, padded on the right.

    Labels are the ids on the answer's tokens (its end token included) and -100 elsewhere.
    """

    input_ids: Int[Tensor, "B S"]
    attention_mask: Int[Tensor, "B S"]
    labels: Int[Tensor, "B S"]


@dataclass(frozen=True)
class TrainingBatch(_Batch):
    """Documents, and questions about them with their answers; ids and masks are (rows, length) int64.

    A document appears once however many questions ask about it: ``question_document`` (Q,) is the row of
    each question's document. ``answer_labels`` is -100 outside the answer.
    """

    document_ids: Int[Tensor, "M S"]
    document_mask: Int[Tensor, "M S"]
    question_ids: Int[Tensor, "Q R"]
    question_mask: Int[Tensor, "Q R"]
    question_document: Int[Tensor, " Q"]
    answer_input_ids: Int[Tensor, "Q A"]
    answer_mask: Int[Tensor, "Q A"]
    answer_labels: Int[Tensor, "Q A"]


@dataclass(frozen=True)
class TrainingLoss:
    """The loss to minimise and, for the log, its parts and the state of the codebooks."""

    total: Float[Tensor, ""]
    parts: Mapping[str, float]

    @classmethod
    def of(cls, total: Float[Tensor, ""], parts: Mapping[str, Tensor]) -> TrainingLoss:
        """The same from parts that are tensors."""
        return cls(total, {name: float(part.detach()) for name, part in parts.items()})
