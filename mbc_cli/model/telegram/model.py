"""The memory of telegrams: codes are tokens of the LLM itself (docs/how-it-works.md#telegrams).

passage -> its most salient tokens -> codes; question -> late interaction with codes -> the top k telegrams
-> read by the LLM through KV-LoRA. The codebook is the LLM's own embedding table: nothing to learn in it and
nothing to collapse, and every LLM of the tokenizer reads what another has kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from mbc_cli.model.bank import (
    COMPARED_BY_TIME,
    Bank,
    EncodedPassages,
    Reading,
    Times,
    best_passages,
    newest_first,
)
from mbc_cli.model.batches import TokenBatch, TrainingBatch, TrainingLoss
from mbc_cli.model.config import TelegramConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import HIDDEN, Prefix
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.select.losses import salience_loss, selection_loss
from mbc_cli.model.select.memory_queue import MemoryQueue, text_identities
from mbc_cli.model.telegram.amortizer import TelegramAmortizer
from mbc_cli.model.telegram.reader import TelegramReader
from mbc_cli.model.telegram.token_interaction import TokenInteraction, TokenQuery
from mbc_cli.model.tokenizers import Vocabulary

_ANSWER_WEIGHT = 2.0  # of an answer's tokens in salience
_WITHOUT_PASSAGE = 1 / 16  # of the questions in training
_WITH_DISTRACTORS = 1 / 2  # of the batches


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

    def read(
        self,
        questions: TokenBatch,
        bank: Bank,
        k: int | None = None,
        prompts: TokenBatch | None = None,
        times: Times | None = None,
    ) -> Reading:
        """The ``k`` best passages; with ``prompts`` the first ones found are read and ranked once more."""
        query = self.encode_questions(questions)
        tables = self.selection.tables(query)
        top_k = k or self.config.selection.top_k
        candidates = self.config.reading.candidates if prompts is not None else 0
        scores, rows = best_passages(
            bank.chunks(tables),
            lambda codes, reach: tables.scores(codes[..., 0], reach),
            max(top_k, candidates, 0 if times is None else COMPARED_BY_TIME),
            questions=len(questions.input_ids),
            device=self.device,
        )
        if not rows.shape[1]:
            return Reading(rows, scores, 0, None)
        distinct, places = rows.unique(return_inverse=True)
        # Each passage is read once, however many questions find it, and only if something is asked of it.
        passages = cache(lambda: self.reader(bank.take(distinct)[..., 0]))
        if candidates:
            assert prompts is not None
            scores, order = self._ranked_again(scores, places[:, :candidates], prompts, passages())
            rows, places = rows.gather(1, order), places.gather(1, order)
        if times is not None:
            order = newest_first(scores, rows, times)
            rows, places = rows.gather(1, order), places.gather(1, order)
        scores, rows, places = scores[:, :top_k], rows[:, :top_k], places[:, :top_k]
        weights = scores.log_softmax(1) if rows.shape[1] > 1 else None
        return Reading(
            rows=rows,
            scores=scores,
            prefix_length=self.reader.prefix_length(self.amortizer.slots),
            prefix=lambda: passages().side_by_side(places, weights),
        )

    def _ranked_again(
        self, scores: Tensor, candidates: Tensor, prompts: TokenBatch, passages: Prefix
    ) -> tuple[Tensor, Tensor]:
        """Scores (B, n), best first, and their order, once the LLM has read the first c of n passages found.

        A passage gains what it tells of the question beforehand, log p(question | passage) - log p(question),
        as in query likelihood (Ponte and Croft 1998), times ``reading.foresight``. Those not read stay behind
        those read.
        ``candidates`` (B, c) are places among ``passages``.
        """
        count = candidates.shape[1]
        # All candidates in one pass: for few questions a pass costs what reading the LLM's weights costs.
        each = TokenBatch(
            prompts.input_ids.repeat_interleave(count, dim=0),
            prompts.attention_mask.repeat_interleave(count, dim=0),
        )
        told = self._surprise(passages.side_by_side(candidates.reshape(-1, 1)), each)
        told = self._surprise(None, prompts)[:, None] - told.view(-1, count)
        gained = self.config.reading.foresight * told
        judged, rest = scores[:, :count] + gained, scores[:, count:]
        judged, order = judged.sort(dim=1, descending=True, stable=True)
        if rest.shape[1]:
            rest = rest + (judged[:, -1:] - rest[:, :1]).clamp_max(0)
        behind = torch.arange(count, scores.shape[1], device=order.device).expand(len(order), -1)
        return torch.cat([judged, rest], dim=1), torch.cat([order, behind], dim=1)

    def _surprise(self, prefix: Prefix | None, prompts: TokenBatch) -> Tensor:
        """Negative log-likelihood (B,), in nats, of prompts padded on the left."""
        return self.backbone.next_token_losses(prompts.input_ids, prompts.attention_mask, prefix).sum(1)

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
        salience = salience_loss(kept.salience, batch, _ANSWER_WEIGHT)
        query = self.encode_questions(TokenBatch(batch.question_ids, batch.question_mask))

        texts = text_identities(batch.document_ids, batch.document_mask)
        queued = self.queue.negatives(self.config.memory_queue.negatives, at_random=self.training)
        scores = self.selection.score(query, torch.cat([kept.codes, queued.entries]))
        selection, chosen = selection_loss(scores, batch.question_document, texts, queued.texts)

        read = self._to_read(batch, kept.salience, progress) if self.training else kept.codes
        prefix, has_passage = self._beside_distractors(read, scores[:, : len(texts)], batch.question_document)
        losses = self.backbone.next_token_losses(batch.answer_input_ids, batch.answer_mask, prefix)
        of_answer = batch.answer_labels >= 0
        asked = (batch.answer_mask > 0) & ~of_answer
        asked[:, 0] = False  # nothing foresees the first token
        answer = _mean(losses, of_answer & has_passage[:, None])
        question = _mean(losses, asked)
        if self.training:
            self.queue.add(kept.codes, texts)
        parts = {
            "answer": answer,
            "question": question,
            "selection": selection,
            "selected_right": chosen,
            "salience": salience,
        }
        total = (
            answer + weights.question * question + weights.selection * selection + weights.salience * salience
        )
        return TrainingLoss.of(total, parts)

    def _to_read(self, batch: TrainingBatch, salience: Tensor, progress: float) -> Tensor:
        """Telegrams of many lengths, and whole passages as often as the time of training has it."""
        lengths = batch.document_mask.sum(1)
        share = self.config.reading.whole * max(0.0, 1 - progress / 0.6)
        drawn = torch.empty(lengths.shape, device=lengths.device).uniform_(0.6, 1.3) * self.amortizer.kept
        drawn = torch.where(torch.rand_like(drawn) < share, 1.0, drawn.clamp(max=1.0))
        wanted = (drawn * lengths).ceil().long().clamp_min(1)
        return self.amortizer.keep(batch.document_ids, batch.document_mask, salience, wanted)

    def _beside_distractors(
        self, read: Tensor, scores: Tensor, owner: Tensor
    ) -> tuple[Prefix, Bool[Tensor, " Q"]]:
        """What each question reads, and whether its own passage is there.

        In half of the batches of a training questions find confusing other passages beside their own, and a
        few find none at all: only what the LLM expects of a question by itself tells what a passage adds.
        """
        passages = self.reader(read)
        everything = torch.ones_like(owner, dtype=torch.bool)
        if not self.training:
            return passages.side_by_side(owner[:, None]), everything
        drawn = torch.rand(owner.shape, device=owner.device)
        has_passage = drawn > _WITHOUT_PASSAGE
        others = min(self.config.reading.distractors, len(read) - 1)
        others = others if bool(torch.rand(()) < _WITH_DISTRACTORS) else 0
        rivals = scores.detach().scatter(1, owner[:, None], -torch.inf).topk(others, dim=1).indices
        hidden = (~has_passage[:, None]).expand(-1, 1 + others)
        weights = torch.zeros(hidden.shape, device=owner.device).masked_fill(hidden, HIDDEN)
        return passages.side_by_side(torch.cat([owner[:, None], rivals], dim=1), weights), has_passage

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

    def pretrained_parameters(self) -> list[nn.Parameter]:
        return list(self.amortizer.trunk.blocks.parameters())

    def training_state(self) -> dict[str, Tensor]:
        """The queue: every process has its own."""
        return self.queue.state()

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        self.queue.load_state(state)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return (losses * counted).sum() / counted.sum().clamp_min(1)
