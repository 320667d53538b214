"""The memory of telegrams: codes are tokens of the LLM itself (docs/how-it-works.md#telegrams).

passage -> its most salient tokens -> codes; question -> late interaction with codes -> the top k telegrams
-> read by the LLM through KV-LoRA. The codebook is the LLM's own embedding table: nothing to learn in it and
nothing to collapse, and every LLM of the tokenizer reads what another has kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from mbc_cli.model.bank import Bank, EncodedPassages, Reading, best_passages
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.config import TelegramConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.select.losses import salience_loss, selection_loss
from mbc_cli.model.select.memory_queue import MemoryQueue, text_identities
from mbc_cli.model.telegram.amortizer import TelegramAmortizer
from mbc_cli.model.telegram.reader import TelegramReader
from mbc_cli.model.telegram.token_interaction import TokenInteraction, TokenQuery
from mbc_cli.model.tokenizers import Vocabulary


class TelegramMemoryModel(MemoryModel):
    """Keeps the tokens that tell most of each passage, finds them by what questions share with them."""

    config: TelegramConfig

    def __init__(
        self,
        config: TelegramConfig,
        backbone: Backbone,
        *,
        amortizer: TelegramAmortizer,
        selection: TokenInteraction,
        reader: TelegramReader,
        vocabulary: Vocabulary,
    ) -> None:
        super().__init__(config, backbone)
        self.vocabulary = vocabulary
        self.amortizer = amortizer
        self.selection = selection
        self.reader = reader
        self.queue = MemoryQueue(config.memory_queue.size, (config.context_vectors,), torch.int64)

    @property
    def context_width(self) -> int:
        return self.backbone.shape.hidden_size

    @property
    def code_shape(self) -> tuple[int, int, int]:
        """One code more than tokens: that of a slot which is not in use."""
        return self.amortizer.slots, 1, self.vocabulary.size + 1

    def encode_passages(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> EncodedPassages:
        codes = self.amortizer(input_ids, attention_mask).codes[..., None]
        return EncodedPassages(codes, codes, None)

    def fit_bank(self, slots: int) -> None:
        self.amortizer.slots = slots

    def fingerprint(self) -> str:
        """That of the tokenizer: any adapter of its LLMs reads what another one kept."""
        return self.vocabulary.digest

    # Reading.

    def encode_questions(self, questions: TokenBatch) -> TokenQuery:
        """What questions, padded on the right, look for."""
        states = self.amortizer.trunk(questions.input_ids, questions.attention_mask, "question")
        return self.selection.encode(
            questions.input_ids, states, questions.attention_mask, self.amortizer.rarity
        )

    def read(self, questions: TokenBatch, bank: Bank, k: int | None = None) -> Reading:
        query = self.encode_questions(questions)
        scored = ((rows, self.selection.score(query, codes[..., 0])) for rows, codes in bank.chunks())
        top_k = k or self.config.selection.top_k
        scores, rows = best_passages(scored, top_k, questions=len(questions.input_ids), device=self.device)
        found = rows.shape[1]
        return Reading(
            rows=rows,
            scores=scores,
            prefix_length=self.reader.prefix_length(found, self.amortizer.slots),
            prefix=(lambda: self.reader(bank.take(rows)[..., 0])) if found else None,
        )

    # Training.

    def prepare_training(self, documents: Iterable[Tensor]) -> None:
        self.amortizer.count(list(documents))

    def _objective(self, batch: TrainingBatch, progress: float) -> TrainingLoss:
        """Answer NLL from the gold telegram + the weighted losses of finding it and of choosing its tokens.

        While training begins, passages are often read whole: the LLM learns to read before it has to do with
        half of the words. In evaluation mode nothing is drawn or remembered.
        """
        weights = self.config.loss
        kept = self.amortizer(batch.document_ids, batch.document_mask)
        salience = salience_loss(kept.salience, batch)
        query = self.encode_questions(TokenBatch(batch.question_ids, batch.question_mask))

        texts = text_identities(batch.document_ids, batch.document_mask)
        queued = self.queue.negatives(self.config.memory_queue.negatives, at_random=self.training)
        scores = self.selection.score(query, torch.cat([kept.codes, queued.entries]))
        selection, chosen = selection_loss(scores, batch.question_document, texts, queued.texts)

        read = self._to_read(batch, kept.salience, progress) if self.training else kept.codes
        passages = read[batch.question_document, None]
        if self.training and self.config.reading.distractors:
            passages = self._among_distractors(read, scores[:, : len(texts)], batch.question_document)
        answer = self.answer_loss(
            self.reader(passages), batch.answer_input_ids, batch.answer_mask, batch.answer_labels
        )
        if self.training:
            self.queue.add(kept.codes, texts)
        parts = {"answer": answer, "selection": selection, "selected_right": chosen, "salience": salience}
        total = answer + weights.selection * selection + weights.salience * salience
        return TrainingLoss.of(total, parts)

    def _to_read(self, batch: TrainingBatch, salience: Tensor, progress: float) -> Tensor:
        """Telegrams of many lengths, and whole passages as often as the time of training has it."""
        lengths = batch.document_mask.sum(1)
        share = self.config.reading.whole * max(0.0, 1 - progress / 0.6)
        drawn = torch.empty(lengths.shape, device=lengths.device).uniform_(0.6, 1.3) * self.amortizer.kept
        drawn = torch.where(torch.rand_like(drawn) < share, 1.0, drawn.clamp(max=1.0))
        wanted = (drawn * lengths).ceil().long().clamp_min(1)
        return self.amortizer.keep(batch.document_ids, batch.document_mask, salience, wanted)

    def _among_distractors(self, read: Tensor, scores: Tensor, owner: Tensor) -> Tensor:
        """The telegram (Q, k, T) of each question among its most confusing others, in random order."""
        others = min(self.config.reading.distractors, len(read) - 1)
        rivals = scores.detach().scatter(1, owner[:, None], -torch.inf).topk(others, dim=1).indices
        rows = torch.cat([owner[:, None], rivals], dim=1)
        order = torch.rand(rows.shape, device=rows.device).argsort(1)
        return read[rows.gather(1, order)]

    def finish_training(self) -> None:
        """Round the trunk to what an adapter keeps of it, so that saving changes nothing."""
        with torch.no_grad():
            for parameter in self.amortizer.trunk.parameters():
                parameter.copy_(parameter.bfloat16())

    def adapter_state(self) -> dict[str, Tensor]:
        return {
            name: value.bfloat16() if name.startswith("amortizer.trunk.") else value
            for name, value in self.module_state().items()
        }

    def training_state(self) -> dict[str, Tensor]:
        """The queue: every process has its own."""
        return self.queue.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.queue.load_state(state)
