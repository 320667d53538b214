"""The published memory model: every question reads the whole bank (MBC section 3.3 and 3.4).

question -> question encoder -> aggregator (reads decoded codes) -> modulation -> prefix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbc_cli.model.batches import TrainingBatch, TrainingLoss, whole_bank_loss
from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.quantizer import PassThrough, VectorQuantizer
from mbc_cli.model.whole_bank.aggregation import Aggregator, Bank, QuestionEncoding
from mbc_cli.model.whole_bank.modulation import Modulation


class WholeBankMemoryModel(MemoryModel):
    """question -> attention over all codes -> latent slots -> prefix -> LLM."""

    def __init__(
        self,
        config: MemoryConfig,
        backbone: Backbone,
        *,
        amortizer: nn.Module,
        code_space: IdentityCodeSpace | ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
        question_encoder: nn.Module,
        aggregator: Aggregator,
        modulation: Modulation,
    ) -> None:
        super().__init__(config, backbone, amortizer=amortizer, code_space=code_space, quantizer=quantizer)
        self.question_encoder = question_encoder
        self.aggregator = aggregator
        self.modulation = modulation

    def encode_questions(self, input_ids: Tensor, attention_mask: Tensor) -> QuestionEncoding:
        return QuestionEncoding(self.question_encoder(input_ids, attention_mask))

    def bank_from_counts(self, counts: Tensor) -> Bank:
        """The bank whose codes occur ``counts`` (T, 1, K) times: at most T K vectors at any size.

        Raises ValueError for counts of another shape, or if all are zero.
        """
        codebook = self.config.quantizer
        expected = (self.config.context_vectors, codebook.levels, codebook.codes)
        if tuple(counts.shape) != expected:
            raise ValueError(f"counts have shape {tuple(counts.shape)}, expected (T, L, K) = {expected}")
        occurrences = counts[:, 0]
        if codebook.codebook == "shared" and not self.code_space.slots_differ:
            occurrences = occurrences.sum(0, keepdim=True)
        slots, codes = occurrences.shape
        every_code = torch.arange(codes, device=counts.device)[:, None, None].expand(-1, slots, 1)
        vectors = self.decode(every_code).transpose(0, 1)  # (slots, K, D)
        present = occurrences > 0
        return Bank(vectors[present], occurrences[present].to(torch.float32).log())

    def whole_bank_prefix(self, question: QuestionEncoding, counts: Tensor) -> Prefix:
        """What questions read in the whole bank, given how often each code occurs in it: (T, 1, K) int64."""
        return self._prefix(question, self.bank_from_counts(counts))

    def prefix_from_vectors(self, question: QuestionEncoding, vectors: Tensor) -> Prefix:
        """The same from the quantised vectors (M, T, C) of the M documents of a bank, for training."""
        return self._prefix(question, Bank(self.code_space.leave(vectors).flatten(0, 1)))

    def _prefix(self, question: QuestionEncoding, bank: Bank) -> Prefix:
        return self.modulation(self.aggregator(question, bank))

    def training_loss(self, batch: TrainingBatch, progress: float = 0.0) -> TrainingLoss:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress is {progress}: it must lie in [0, 1]")
        return whole_bank_loss(self, batch)
