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

from mbc_cli.model.quantizer import QuantizerOutput
from mbc_cli.model.recent_memory import text_identities
from mbc_cli.model.salience import salience_loss
from mbc_cli.model.training_losses import TrainingBatch, TrainingLoss

if TYPE_CHECKING:
    from mbc_cli.model.select_model import SelectMemoryModel


def select_loss(model: SelectMemoryModel, batch: TrainingBatch, progress: float) -> TrainingLoss:
    """Answer NLL from the gold passage + weighted selection, salience, answer-head and quantiser losses.

    Selection is a cross-entropy over the batch's documents and a sample of recent ones. ``progress`` in
    [0, 1] places this step in the quantising schedule. In evaluation mode nothing is drawn or remembered.
    """
    weights = model.config.loss
    vectors, salience = _read(model, batch)
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
    prefix, latent = model.reader.read_own(question, decoded, batch.question_document)
    answer = model.answer_loss(prefix, batch.answer_input_ids, batch.answer_mask, batch.answer_labels)
    if model.training:
        model.recent.add(quantized, texts)

    parts = {"answer": answer, "selection": selection, "selected_right": chosen, "salience": salience}
    total = answer + weights.selection * selection + weights.salience * salience
    if model.answer_head is not None and latent is not None:
        parts["answer_head"] = model.answer_head(latent, batch.answer_labels)
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


def _read(model: SelectMemoryModel, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
    """Context vectors of the batch's documents, and the salience loss."""
    vectors, salience = model.amortizer.with_salience(batch.document_ids, batch.document_mask)
    asked: list[Tensor] = []
    mentioned: list[Tensor] = []
    for row in range(batch.document_ids.shape[0]):
        own = batch.question_document == row
        labels = batch.answer_labels[own]
        asked.append(labels[labels >= 0])
        mentioned.append(batch.question_ids[own][batch.question_mask[own] > 0])
    loss = salience_loss(salience, batch.document_ids, batch.document_mask, asked, mentioned)
    return model.code_space.enter(vectors).float(), loss


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
