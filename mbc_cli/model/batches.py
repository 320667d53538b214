"""The objectives that memory models are trained with, one function for each kind of aggregation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from mbc_cli.model.whole_bank.model import WholeBankMemoryModel


@dataclass(frozen=True)
class TrainingBatch:
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

    def to(self, device: torch.device | str) -> TrainingBatch:
        return TrainingBatch(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True)
class TrainingLoss:
    """The loss to minimise and, for the log, its parts and the state of the codebooks."""

    total: Tensor
    parts: Mapping[str, float]


def whole_bank_loss(model: WholeBankMemoryModel, batch: TrainingBatch) -> TrainingLoss:
    """Answer NLL plus the quantiser's loss, the bank being all documents of the batch (MBC equation 5).

    The quantiser's loss has the weight 1 of the paper.
    """
    vectors = model.encode_documents(batch.document_ids, batch.document_mask)
    quantized = model.quantize(vectors)
    question = model.encode_questions(batch.question_ids, batch.question_mask)
    prefix = model.prefix_from_vectors(question, quantized.quantized)
    answer = model.answer_loss(prefix, batch.answer_input_ids, batch.answer_mask, batch.answer_labels)
    parts = {
        "answer": answer,
        "quantizer": quantized.loss,
        "perplexity": quantized.perplexity,
        "dead_codes": quantized.dead_codes,
        "quantization_error": quantized.error,
    }
    return TrainingLoss(answer + quantized.loss, {name: float(part.detach()) for name, part in parts.items()})
