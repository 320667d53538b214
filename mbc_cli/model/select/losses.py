"""The objective of select-then-read: answer, selection, salience and commitment, with a quantising schedule.

Quantised from the first step such a model collapses; so it first learns with noise in the place of
quantisation, then its codebooks are placed by k-means, then each slot is quantised with a probability that
rises to one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

from mbc_cli.model.batches import TrainingBatch, TrainingLoss
from mbc_cli.model.quantizer import QuantizerOutput
from mbc_cli.model.select.memory_queue import text_identities
from mbc_cli.model.select.relevance import relevance_loss
from mbc_cli.model.select.salience import salience_loss

if TYPE_CHECKING:
    from mbc_cli.model.select.model import SelectMemoryModel


def select_loss(model: SelectMemoryModel, batch: TrainingBatch, progress: float) -> TrainingLoss:
    """Answer NLL from the gold passage + the weighted losses of what leads to it, and the quantiser's.

    Selection is a cross-entropy over the batch's documents and a sample of recent ones. ``progress`` in
    [0, 1] places this step in the quantising schedule. In evaluation mode nothing is drawn or remembered.
    """
    weights = model.config.loss
    pooled = model.amortizer.pool(batch.document_ids, batch.document_mask)
    salience = _salience_loss(pooled.salience, batch)
    vectors = model.code_space.enter(pooled.vectors).float()
    quantized, output = _quantize(model, vectors, progress)
    question = model.encode_questions(batch.question_ids, batch.question_mask)
    assert question.selection is not None

    texts = text_identities(batch.document_ids, batch.document_mask)
    negatives = (model.recent.sample if model.training else model.recent.first)(weights.negatives)
    scores = model.selection.score_vectors(question.selection, torch.cat([quantized, negatives.vectors]))
    # A document that was met before is no negative of itself.
    own = texts[batch.question_document, None] == negatives.texts[None]
    scores = scores.masked_fill(F.pad(own, (len(texts), 0)), -torch.inf)
    selection = F.cross_entropy(scores, batch.question_document)
    chosen = (scores.argmax(1) == batch.question_document).float().mean()

    decoded = model.code_space.leave(quantized)
    reading = model.reader.read_own(question, decoded, batch.question_document)
    answer = model.answer_loss(reading.prefix, batch.answer_input_ids, batch.answer_mask, batch.answer_labels)
    if model.training:
        model.recent.add(quantized, texts)

    parts = {"answer": answer, "selection": selection, "selected_right": chosen, "salience": salience}
    total = answer + weights.selection * selection + weights.salience * salience
    if reading.relevance is not None and pooled.slot_ids is not None:
        slot_ids = pooled.slot_ids[batch.question_document]
        parts["relevance"] = relevance_loss(reading.relevance, slot_ids, _wanted(batch))
        total = total + weights.relevance * parts["relevance"]
    if model.answer_head is not None and reading.latent is not None:
        parts["answer_head"] = model.answer_head(reading.latent, batch.answer_labels)
        # It shows the way at the beginning; in the end the LLM's own answers are what counts.
        total = total + weights.answer_head * (1 - 0.7 * progress) * parts["answer_head"]
    if output is not None:
        parts |= {
            "quantizer": output.loss,
            "perplexity": output.perplexity,
            "dead_codes": output.dead_codes,
            "quantization_error": output.error,
        }
        total = total + output.loss
    return TrainingLoss(total, {name: float(part.detach()) for name, part in parts.items()})


def _salience_loss(salience: Tensor, batch: TrainingBatch) -> Tensor:
    asked: list[Tensor] = []
    mentioned: list[Tensor] = []
    for row in range(batch.document_ids.shape[0]):
        own = batch.question_document == row
        labels = batch.answer_labels[own]
        asked.append(labels[labels >= 0])
        mentioned.append(batch.question_ids[own][batch.question_mask[own] > 0])
    return salience_loss(salience, batch.document_ids, batch.document_mask, asked, mentioned)


def _wanted(batch: TrainingBatch) -> list[Tensor]:
    """Per question, the token ids of itself and of its answer."""
    return [
        torch.cat([question[mask > 0], labels[labels >= 0]])
        for question, mask, labels in zip(
            batch.question_ids, batch.question_mask, batch.answer_labels, strict=True
        )
    ]


def _quantize(
    model: SelectMemoryModel, vectors: Tensor, progress: float
) -> tuple[Tensor, QuantizerOutput | None]:
    """Vectors as the reader gets them at this point of the schedule, and what the quantiser said."""
    schedule = model.config.schedule
    if model.config.quantizer.kind == "none":
        return vectors, None
    if not model.training:
        output = model.quantize(vectors)
        return (output.quantized, output) if model.has_codebooks else (vectors, None)
    if progress < schedule.unquantized:
        return vectors + schedule.noise * torch.randn_like(vectors), None
    if not model.has_codebooks:
        model.place_codebooks(vectors)
    output = model.quantize(vectors)
    if schedule.ramp == 0:
        return output.quantized, output
    share = min(1.0, 0.1 + 0.9 * (progress - schedule.unquantized) / schedule.ramp)
    kept = torch.rand(vectors.shape[:2], device=vectors.device) < share
    return torch.where(kept[..., None], output.quantized, vectors), output
