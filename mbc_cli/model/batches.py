"""What goes into a memory model and what training gets out of it: token ids, masks, labels and losses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class _Batch:
    """Tensors that go to a device together."""

    def to(self, device: torch.device | str) -> Self:
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class TokenBatch(_Batch):
    """Token ids and mask, both (B, S) int64; the mask is 1 on text and 0 on padding."""

    input_ids: Tensor
    attention_mask: Tensor


@dataclass(frozen=True)
class AnswerBatch(_Batch):
    """Prompts followed by their answers: ids, mask and labels, all (B, S) int64, padded on the right.

    Labels are the ids on the answer's tokens (its end token included) and -100 elsewhere.
    """

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


@dataclass(frozen=True)
class TrainingBatch(_Batch):
    """Documents, and questions about them with their answers; ids and masks are (rows, length) int64.

    A document appears once however many questions ask about it: ``question_document`` (Q,) is the row of
    each question's document. ``answer_labels`` is -100 outside the answer.
    """

    document_ids: Tensor
    document_mask: Tensor
    question_ids: Tensor
    question_mask: Tensor
    question_document: Tensor
    answer_input_ids: Tensor
    answer_mask: Tensor
    answer_labels: Tensor


@dataclass(frozen=True)
class TrainingLoss:
    """The loss to minimise and, for the log, its parts and the state of the codebooks."""

    total: Tensor
    parts: Mapping[str, float]

    @classmethod
    def of(cls, total: Tensor, parts: Mapping[str, Tensor]) -> TrainingLoss:
        """The same from parts that are tensors."""
        return cls(total, {name: float(part.detach()) for name, part in parts.items()})
