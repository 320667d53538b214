"""The memory model that selects passages for a question, then reads only those.

question -> selection scores over codes -> the top k passages' decoded slots -> prefix -> LLM.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from mbc_cli.model.bank import COMPARED_BY_TIME, Bank, Reading, Times, best_passages, newest_first
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.code_space import ProjectedCodeSpace
from mbc_cli.model.config import SelectConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.match_tables import MatchTables
from mbc_cli.model.quantized_model import QuantizedMemoryModel
from mbc_cli.model.quantizer import PassThrough, QuantizerOutput, VectorQuantizer
from mbc_cli.model.select.late_interaction import LateInteraction, LateInteractionQuery
from mbc_cli.model.select.losses import (
    AnswerHead,
    relevance_loss,
    salience_loss,
    selection_loss,
    tokens_of_questions_and_answers,
)
from mbc_cli.model.select.memory_queue import MemoryQueue, text_identities
from mbc_cli.model.select.pooling import BackboneAmortizer
from mbc_cli.model.select.readers import Reader
from mbc_cli.model.select.trunk import TokenStates


class EncodedQuestion(NamedTuple):
    """Questions as read, and as what to look for in the codes of passages."""

    tokens: TokenStates
    query: LateInteractionQuery


class SelectMemoryModel(QuantizedMemoryModel):
    """Scores every passage of a bank for a question, and reads the best."""

    config: SelectConfig
    amortizer: BackboneAmortizer
    codebooks_placed: Tensor

    def __init__(
        self,
        config: SelectConfig,
        backbone: Backbone,
        *,
        amortizer: BackboneAmortizer,
        code_space: ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
        selection: LateInteraction,
        reader: Reader,
        relevance_weight: float = 0.0,
        answer_head: AnswerHead | None = None,
        answer_head_weight: float = 0.0,
    ) -> None:
        super().__init__(config, backbone, amortizer=amortizer, code_space=code_space, quantizer=quantizer)
        self.selection = selection
        self.reader = reader
        self.relevance_weight = relevance_weight
        self.answer_head = answer_head
        self.answer_head_weight = answer_head_weight
        self.queue = MemoryQueue(config.memory_queue.size, (config.context_vectors, self.context_width))
        self.register_buffer("codebooks_placed", torch.zeros((), dtype=torch.bool))

    # Reading.

    def encode_questions(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> EncodedQuestion:
        """Encode questions (B, S), padded on the right, once for everything that is done with them."""
        tokens = TokenStates(
            raw=self.amortizer.embeddings(input_ids),
            states=self.amortizer.trunk(input_ids, attention_mask, "question"),
            mask=attention_mask,
        )
        return EncodedQuestion(tokens, self.selection.encode(tokens))

    def score(self, question: EncodedQuestion, passages: Num[Tensor, "N T width"]) -> Float[Tensor, "B N"]:
        """Scores (B, N) float32 of passages: codes (N, T, L), by table look-up, or vectors (N, T, C)."""
        if passages.is_floating_point():
            return self.selection.score_vectors(question.query, passages)
        if isinstance(self.quantizer, PassThrough):
            raise ValueError("this model has quantizer.kind 'none' and keeps no codes to select by")
        return self.selection.score_codes(question.query, self.quantizer.codebooks, passages)

    def prefix(
        self,
        question: EncodedQuestion,
        passages: Num[Tensor, "B k T width"],
        scores: Float[Tensor, "B k"],
    ) -> Prefix:
        """What B questions read in their passages (B, k, T, L or C) with scores (B, k), best first."""
        decoded = self.decode(passages.flatten(0, 1)).unflatten(0, passages.shape[:2])
        # How much each passage counts, where there is more than one.
        log_weights = scores.float().log_softmax(1) if scores.shape[1] > 1 else None
        return self.reader(question.tokens, decoded, log_weights)

    def read(
        self,
        questions: TokenBatch,
        bank: Bank,
        k: int | None = None,
        prompts: TokenBatch | None = None,
        times: Times | None = None,
    ) -> Reading:
        """The ``k`` best passages of each question; of equal scores the higher row comes first."""
        question = self.encode_questions(questions.input_ids, questions.attention_mask)
        tables = self._tables(question)

        def score(
            passages: Num[Tensor, "n T width"], reach: Float[Tensor, " B"] | None
        ) -> Float[Tensor, "B n"]:
            if tables is None or passages.is_floating_point():  # vectors, until codebooks are placed
                return self.score(question, passages)
            return tables.scores(passages[..., 0], reach)

        top_k = k or self.config.selection.top_k
        wanted = top_k if times is None else max(top_k, COMPARED_BY_TIME)
        scores, rows = best_passages(
            bank.chunks(tables), score, wanted, questions=len(questions.input_ids), device=self.device
        )
        if times is not None:
            rows = rows.gather(1, newest_first(scores, rows, times))
        scores, rows = scores[:, :top_k], rows[:, :top_k]
        found = rows.shape[1]
        return Reading(
            rows=rows,
            scores=scores,
            prefix_length=self.reader.prefix_length(found, self.config.context_vectors),
            prefix=(lambda: self.prefix(question, bank.take(rows), scores)) if found else None,
        )

    def _tables(self, question: EncodedQuestion) -> MatchTables | None:
        """What questions look for, as tables; None where they do not tell all."""
        if isinstance(self.quantizer, PassThrough):
            return None
        return self.selection.tables(question.query, self.quantizer.codebooks)

    # Training. Quantised from the first step such a model collapses; so it first learns with noise in the
    # place of quantisation, then its codebooks are placed by k-means, then each slot is quantised with a
    # probability that rises to one.

    def _objective(self, batch: TrainingBatch, progress: float) -> TrainingLoss:
        """Answer NLL from the gold passage + the weighted losses of what leads to it, and the quantiser's.

        Selection is a cross-entropy over the batch's documents and a sample of the queue's. ``progress`` in
        [0, 1] places this step in the quantising schedule. In evaluation mode nothing is drawn or remembered.
        """
        weights = self.config.loss
        pooled = self.amortizer.pool(batch.document_ids, batch.document_mask)
        salience = salience_loss(pooled.salience, batch)
        vectors = self.code_space.enter(pooled.vectors).float()
        quantized, output = self._quantize_by_schedule(vectors, progress)
        question = self.encode_questions(batch.question_ids, batch.question_mask)

        texts = text_identities(batch.document_ids, batch.document_mask)
        queued = self.queue.negatives(self.config.memory_queue.negatives, at_random=self.training)
        scores = self.score(question, torch.cat([quantized, queued.entries]))
        selection, chosen = selection_loss(scores, batch.question_document, texts, queued.texts)

        decoded = self.code_space.leave(quantized)
        reading = self.reader.read_own(question.tokens, decoded, batch.question_document)
        answer = self.answer_loss(
            reading.prefix, batch.answer_input_ids, batch.answer_mask, batch.answer_labels
        )
        if self.training:
            self.queue.add(quantized, texts)

        parts = {"answer": answer, "selection": selection, "selected_right": chosen, "salience": salience}
        total = answer + weights.selection * selection + weights.salience * salience
        if reading.relevance is not None and pooled.slot_ids is not None:
            slot_ids = pooled.slot_ids[batch.question_document]
            wanted = tokens_of_questions_and_answers(batch)
            parts["relevance"] = relevance_loss(reading.relevance, slot_ids, wanted)
            total = total + self.relevance_weight * parts["relevance"]
        if self.answer_head is not None and reading.latent is not None:
            parts["answer_head"] = self.answer_head(reading.latent, batch.answer_labels)
            # It shows the way at the beginning; in the end the LLM's own answers are what counts.
            total = total + self.answer_head_weight * (1 - 0.7 * progress) * parts["answer_head"]
        if output is not None:
            parts |= output.figures()
            total = total + output.loss
        return TrainingLoss.of(total, parts)

    def _quantize_by_schedule(
        self, vectors: Tensor, progress: float
    ) -> tuple[Tensor, QuantizerOutput | None]:
        """Vectors as the reader gets them at this point of the schedule, and what the quantiser said."""
        quantizer = self.config.quantizer
        if quantizer.kind == "none":
            return vectors, None
        if not self.training:
            output = self.quantize(vectors)
            return (output.quantized, output) if self.has_codebooks else (vectors, None)
        schedule = quantizer.schedule
        if progress < schedule.unquantized:
            return vectors + schedule.noise * torch.randn_like(vectors), None
        if not self.has_codebooks:
            self.place_codebooks(vectors)
        output = self.quantize(vectors)
        if schedule.ramp == 0:
            return output.quantized, output
        share = min(1.0, 0.1 + 0.9 * (progress - schedule.unquantized) / schedule.ramp)
        kept = torch.rand(vectors.shape[:2], device=vectors.device) < share
        return torch.where(kept[..., None], output.quantized, vectors), output

    @property
    def has_codebooks(self) -> bool:
        return self.config.quantizer.kind == "none" or bool(self.codebooks_placed)

    def place_codebooks(self, vectors: Float[Tensor, "B T C"]) -> None:
        """Place the codes by k-means over the queue's context vectors and ``vectors`` (B, T, C)."""
        self.quantizer.initialise_from(torch.cat([self.queue.filled.entries, vectors.detach()]))
        self.codebooks_placed.fill_(True)

    def finish_training(self) -> None:
        """Place the codebooks, should training have stopped before its schedule did."""
        queued = self.queue.filled.entries
        if not self.has_codebooks and len(queued):
            self.place_codebooks(queued[:0])
        super().finish_training()

    def training_state(self) -> dict[str, Tensor]:
        """The queue: every process has its own."""
        return self.queue.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.queue.load_state(state)
