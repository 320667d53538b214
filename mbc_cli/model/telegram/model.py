"""The memory of telegrams: codes are tokens of the LLM itself (docs/how-it-works.md#telegrams).

passage -> its most salient tokens -> codes; question -> late interaction with codes -> the top k telegrams
-> read by the LLM through KV-LoRA. The codebook is the LLM's own embedding table: nothing to learn in it and
nothing to collapse, and every LLM of the tokenizer reads what another has kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn
from torch.nn import functional as F

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
from mbc_cli.model.telegram.foresight import Foresight, foresee
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
        answered: Callable[[], Prefix] | None = None
        passages = _Passages(bank, self.reader)
        if candidates:
            assert prompts is not None
            only_best = top_k == 1 and times is None
            scores, order, foresight = self._ranked_again(
                scores, rows[:, :candidates], prompts, passages, only_best=only_best
            )
            rows = rows.gather(1, order)
            if only_best:
                best = order[:, 0]
                answered = cache(lambda: foresight.after(best))
        if times is not None:
            rows = rows.gather(1, newest_first(scores, rows, times))
        scores, rows = scores[:, :top_k], rows[:, :top_k]
        weights = scores.log_softmax(1) if rows.shape[1] > 1 else None
        return Reading(
            rows=rows,
            scores=scores,
            prefix_length=self.reader.prefix_length(self.amortizer.slots),
            prefix=lambda: passages.read(rows).side_by_side(passages.places(rows), weights),
            prompted=answered,
        )

    def _ranked_again(
        self,
        scores: Tensor,
        candidates: Tensor,
        prompts: TokenBatch,
        passages: _Passages,
        *,
        only_best: bool,
    ) -> tuple[Tensor, Tensor, Foresight]:
        """Scores (B, n), best first, and their order, once the LLM has read the first c of n passages found.

        A passage gains ``reading.foresight`` times what it tells of the question beforehand. Those not read
        stay behind those read. ``candidates`` (B, c) are rows of the bank. Where the ``only_best`` is asked
        for, those that the first leaves further behind than foresight makes good are not read.
        """
        count, weight = candidates.shape[1], self.config.reading.foresight
        found = scores[:, :count]
        read = torch.ones_like(candidates, dtype=torch.bool)
        if only_best:
            read = found[:, :1] - found <= weight * self.config.reading.margin
        prefix = passages.read(candidates[read])
        places = passages.places(candidates)
        foresight = foresee(self.backbone, prompts, prefix, places, read)
        # What is read comes first among the candidates: they are sorted by score.
        judged = (found + weight * foresight.gained).masked_fill(~read, -torch.inf)
        order = judged.sort(dim=1, descending=True, stable=True).indices
        behind = torch.arange(count, scores.shape[1], device=order.device).expand(len(order), -1)
        order = torch.cat([order, behind], dim=1)
        last = judged.masked_fill(~read, torch.inf).amin(1, keepdim=True)
        known = F.pad(read, (0, scores.shape[1] - count), value=False)
        rest = scores.masked_fill(known, -torch.inf).amax(1, keepdim=True)
        shifted = scores + (last - rest).clamp_max(0)
        judged = torch.where(known, F.pad(judged, (0, scores.shape[1] - count)), shifted)
        return judged.gather(1, order), order, foresight

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


class _Passages:
    """Passages of a bank, each read once, however many questions find it, and only if something is asked."""

    def __init__(self, bank: Bank, reader: TelegramReader) -> None:
        self._bank = bank
        self._reader = reader
        self._rows = torch.empty(0, dtype=torch.int64)
        self._prefix: Prefix | None = None

    def read(self, rows: Int[Tensor, "*rows"]) -> Prefix:
        """Passages that hold those at ``rows`` of any shape, at `places`."""
        if self._prefix is None or not bool(torch.isin(rows, self._rows).all()):
            self._rows = rows.unique()
            self._prefix = self._reader.in_parts(self._bank.take(self._rows)[..., 0])
        return self._prefix

    def places(self, rows: Int[Tensor, "*rows"]) -> Int[Tensor, "*rows"]:
        """Where passages at ``rows`` are in what was read; any place for those that were not."""
        return torch.searchsorted(self._rows, rows.contiguous()).clamp_max(len(self._rows) - 1)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return (losses * counted).sum() / counted.sum().clamp_min(1)
