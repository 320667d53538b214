"""The published memory model: every question reads the whole bank (MBC section 3.3 and 3.4).

question -> question encoder -> aggregator (reads decoded codes) -> modulation -> prefix.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mbc_cli.model.bank import Bank, Reading, Times
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.code_space import IdentityCodeSpace, ProjectedCodeSpace
from mbc_cli.model.config import WholeBankConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.quantized_model import QuantizedMemoryModel
from mbc_cli.model.quantizer import PassThrough, VectorQuantizer
from mbc_cli.model.whole_bank.aggregation import Aggregator, WeightedVectors
from mbc_cli.model.whole_bank.modulation import Modulation
from mbc_cli.model.whole_bank.t5_encoder import T5SlotEncoder


class WholeBankMemoryModel(QuantizedMemoryModel):
    """question -> attention over all codes -> latent slots -> prefix -> LLM."""

    config: WholeBankConfig
    amortizer: T5SlotEncoder

    def __init__(
        self,
        config: WholeBankConfig,
        backbone: Backbone,
        *,
        amortizer: T5SlotEncoder,
        code_space: IdentityCodeSpace | ProjectedCodeSpace,
        quantizer: PassThrough | VectorQuantizer,
        question_encoder: T5SlotEncoder,
        aggregator: Aggregator,
        modulation: Modulation,
    ) -> None:
        super().__init__(config, backbone, amortizer=amortizer, code_space=code_space, quantizer=quantizer)
        self.question_encoder = question_encoder
        self.aggregator = aggregator
        self.modulation = modulation

    def encode_questions(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> Float[Tensor, "B T D"]:
        """Questions (B, S), padded on the right, as the slots (B, T, D) that attend to the bank."""
        return self.question_encoder(input_ids, attention_mask)

    def read(
        self,
        questions: TokenBatch,
        bank: Bank,
        k: int | None = None,
        prompts: TokenBatch | None = None,
        times: Times | None = None,
    ) -> Reading:
        """What questions find in all of ``bank``. Raises ValueError if ``k`` is given: nothing is ranked."""
        if k is not None:
            raise ValueError(f"k is {k}, but a model that reads the whole bank cannot rank its passages")
        none = torch.empty(len(questions.input_ids), 0, device=self.device)
        attended = self._attended(bank)
        return Reading(
            rows=none.long(),
            scores=none,
            prefix_length=self.modulation.prefix_tokens,
            prefix=None if attended is None else partial(self._prefix_of, questions, attended),
        )

    def _attended(self, bank: Bank) -> WeightedVectors | None:
        """All of a bank as vectors (n, D): from its counts, or where it keeps none from its passages."""
        counts = bank.counts()
        if counts is not None:
            return self.attended_by_counts(counts) if bool(counts.any()) else None
        decoded = [self.decode(passages).flatten(0, 1) for _, passages in bank.chunks()]
        return WeightedVectors(torch.cat(decoded)) if decoded else None

    def attended_by_counts(self, counts: Int[Tensor, "T L K"]) -> WeightedVectors:
        """The bank whose codes occur ``counts`` (T, 1, K) times: at most T K vectors at any size.

        Raises ValueError for counts of another shape, or if all are zero.
        """
        quantizer = self.config.quantizer
        if quantizer.kind == "none":
            raise ValueError("this model has quantizer.kind 'none' and reads no counts of codes")
        expected = (self.config.context_vectors, 1, quantizer.codebook_size)
        if tuple(counts.shape) != expected:
            raise ValueError(f"counts have shape {tuple(counts.shape)}, expected (T, L, K) = {expected}")
        occurrences = counts[:, 0]
        if quantizer.codebook == "shared" and not self.code_space.slots_differ:
            occurrences = occurrences.sum(0, keepdim=True)
        slots, codes = occurrences.shape
        every_code = torch.arange(codes, device=counts.device)[:, None, None].expand(-1, slots, 1)
        vectors = self.decode(every_code).transpose(0, 1)  # (slots, K, D)
        present = occurrences > 0
        return WeightedVectors(vectors[present], occurrences[present].to(torch.float32).log())

    def _prefix_of(self, questions: TokenBatch, attended: WeightedVectors) -> Prefix:
        return self.prefix(self.encode_questions(questions.input_ids, questions.attention_mask), attended)

    def prefix(self, question: Float[Tensor, "B T D"], attended: WeightedVectors) -> Prefix:
        """What questions (B, T, D) read, as P tokens in every layer."""
        return self.modulation(self.aggregator(question, attended))

    def _objective(self, batch: TrainingBatch, progress: float) -> TrainingLoss:
        """Answer NLL plus the quantiser's loss, the bank being all documents of the batch (MBC equation 5).

        The quantiser's loss has the weight 1 of the paper.
        """
        vectors = self.encode_documents(batch.document_ids, batch.document_mask)
        quantized = self.quantize(vectors)
        question = self.encode_questions(batch.question_ids, batch.question_mask)
        bank = WeightedVectors(self.decode(quantized.quantized).flatten(0, 1))
        prefix = self.prefix(question, bank)
        answer = self.answer_loss(prefix, batch.answer_input_ids, batch.answer_mask, batch.answer_labels)
        return TrainingLoss.of(answer + quantized.loss, {"answer": answer} | quantized.figures())

    def save_architectures(self, directory: Path) -> None:
        for name, encoder in (("document_t5", self.amortizer), ("question_t5", self.question_encoder)):
            encoder.t5_config.save_pretrained(str(directory / name))
