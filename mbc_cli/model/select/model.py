"""The memory model that selects passages for a question, then reads only those."""

from __future__ import annotations

import torch
from torch import Tensor

from mbc_cli.model.batches import TrainingBatch, TrainingLoss
from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.quantizer import PassThrough, VectorQuantizer
from mbc_cli.model.select.answer_head import AnswerHead
from mbc_cli.model.select.late_interaction import Selection
from mbc_cli.model.select.losses import select_loss
from mbc_cli.model.select.memory_queue import MemoryQueue
from mbc_cli.model.select.reader import Reader
from mbc_cli.model.select.salience import BackboneAmortizer
from mbc_cli.model.whole_bank.aggregation import QuestionEncoding


class SelectMemoryModel(MemoryModel):
    """question -> selection scores over codes -> the top k passages' decoded slots -> prefix -> LLM."""

    amortizer: BackboneAmortizer
    codebooks_placed: Tensor

    def __init__(
        self,
        config: MemoryConfig,
        backbone: Backbone,
        *,
        amortizer: BackboneAmortizer,
        code_space: IdentityCodeSpace | ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
        selection: Selection,
        reader: Reader,
        answer_head: AnswerHead | None = None,
    ) -> None:
        super().__init__(config, backbone, amortizer=amortizer, code_space=code_space, quantizer=quantizer)
        self.selection = selection
        self.reader = reader
        self.answer_head = answer_head
        width = config.quantizer.code_dimension or backbone.shape.hidden_size
        self.recent = MemoryQueue(config.loss.remembered, config.context_vectors, width)
        self.register_buffer("codebooks_placed", torch.zeros((), dtype=torch.bool))

    @property
    def has_codebooks(self) -> bool:
        return isinstance(self.quantizer, PassThrough) or bool(self.codebooks_placed)

    def place_codebooks(self, vectors: Tensor) -> None:
        """Place the codes by k-means over the recent documents' context vectors and ``vectors`` (B, T, C)."""
        self.quantizer.initialise_from(torch.cat([self.recent.filled.vectors, vectors.detach()]))
        self.codebooks_placed.fill_(True)

    def finish_training(self) -> None:
        """Place the codebooks, should training have stopped before its schedule did."""
        recent = self.recent.filled.vectors
        if not self.has_codebooks and len(recent):
            self.place_codebooks(recent[:0])
        super().finish_training()

    def encode_questions(self, input_ids: Tensor, attention_mask: Tensor) -> QuestionEncoding:
        raw = self.amortizer.embeddings(input_ids)
        states = self.amortizer.trunk(input_ids, attention_mask, "question")
        return QuestionEncoding(
            self.reader.question_vectors(raw, states, attention_mask),
            self.selection.encode(raw, states, attention_mask),
        )

    def select(self, question: QuestionEncoding, codes: Tensor) -> Tensor:
        """Scores (B, N) float32 of passages with codes (N, T, L) int64, by table look-up."""
        assert question.selection is not None
        if isinstance(self.quantizer, PassThrough):
            raise ValueError("this model has quantizer.kind 'none' and keeps no codes to select by")
        return self.selection.score_codes(question.selection, self.quantizer.codebooks, codes)

    def selected_prefix(self, question: QuestionEncoding, codes: Tensor, scores: Tensor) -> Prefix:
        """What questions read in their passages: codes (B, k, T, L) int64 with scores (B, k), best first."""
        batch, passages = codes.shape[:2]
        vectors = self.decode(codes.flatten(0, 1)).unflatten(0, (batch, passages))
        return self.reader(question, vectors, _log_weights(scores))

    def read_vectors(self, question: QuestionEncoding, vectors: Tensor, scores: Tensor) -> Prefix:
        """The same from vectors (B, k, T, C), quantised or not, with scores (B, k), best first."""
        batch, passages = vectors.shape[:2]
        decoded = self.code_space.leave(vectors.flatten(0, 1)).unflatten(0, (batch, passages))
        return self.reader(question, decoded, _log_weights(scores))

    def training_loss(self, batch: TrainingBatch, progress: float = 0.0) -> TrainingLoss:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}: it must lie in [0, 1]")
        return select_loss(self, batch, progress)


def _log_weights(scores: Tensor) -> Tensor | None:
    """How much each of a question's passages counts, (B, k); None where there is but one."""
    return scores.float().log_softmax(1) if scores.shape[1] > 1 else None
