"""What select-then-read learns beside the answers: which tokens and slots count, and to hold the answer."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.select.trunk import RawEmbeddings


def salience_loss(
    salience: Float[Tensor, "M S"], batch: TrainingBatch, answer_weight: float = 1.0
) -> Float[Tensor, ""]:
    """Binary cross-entropy that ranks the tokens of documents by how likely a question needs them.

    A token that an answer contains is wanted. One that a question of this passage contains is wanted as far
    as other questions do not contain it: names are, "which" and "the" are not. ``salience`` (B, S) are
    logits of the batch's document tokens. ``answer_weight`` is how much a token of an answer counts beside
    one of a question: a lost word of a question makes a passage harder to find, one of an answer is lost.
    """
    asked, mentioned = [], []
    for row in range(batch.document_ids.shape[0]):
        own = batch.question_document == row
        labels = batch.answer_labels[own]
        asked.append(labels[labels >= 0])
        mentioned.append(batch.question_ids[own][batch.question_mask[own] > 0])
    wanted, weight = torch.zeros_like(salience), batch.document_mask.float()
    everywhere = torch.cat([ids.unique() for ids in mentioned if len(ids)])
    share = torch.bincount(everywhere, minlength=int(batch.document_ids.max()) + 1).float()
    share = (share - 1).clamp_min(0) / max(1, len(mentioned) - 1)
    for row, (answers, questions) in enumerate(zip(asked, mentioned, strict=True)):
        ids = batch.document_ids[row]
        rarity = torch.isin(ids, questions) * (1 - share[ids])
        answering = torch.isin(ids, answers)
        wanted[row] = torch.where(answering, 1.0, rarity.clamp(0, 1))
        weight[row] *= torch.where(answering, answer_weight, 1.0)
    loss = F.binary_cross_entropy_with_logits(salience.float(), wanted, reduction="none")
    return (loss * weight).sum() / weight.sum()


def selection_loss(
    scores: Float[Tensor, "B P"],
    owner: Int[Tensor, " B"],
    texts: Int[Tensor, " M"],
    queued: Int[Tensor, " N"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of finding each question's document among M of the batch and N of the queue, P in all.

    ``owner`` is the row of each question's document; ``texts`` and ``queued`` are identities of texts. Also
    the share of questions whose document scores highest.
    """
    # A document that was met before is no negative of itself.
    itself = texts[owner, None] == queued[None]
    scores = scores.masked_fill(F.pad(itself, (len(texts), 0)), -torch.inf)
    return F.cross_entropy(scores, owner), (scores.argmax(1) == owner).float().mean()


def tokens_of_questions_and_answers(batch: TrainingBatch) -> list[Int[Tensor, " _"]]:
    """Per question, the token ids of itself and of its answer."""
    return [
        torch.cat([question[mask > 0], labels[labels >= 0]])
        for question, mask, labels in zip(
            batch.question_ids, batch.question_mask, batch.answer_labels, strict=True
        )
    ]


def relevance_loss(
    scores: Float[Tensor, "B T"], slot_ids: Int[Tensor, "B T"], wanted: list[Int[Tensor, " _"]]
) -> Float[Tensor, ""]:
    """Binary cross-entropy: relevant are the slots whose token the question or its answer contains.

    Args:
        scores: logits (B, T).
        slot_ids: the token that each slot stands for, (B, T) int64; -1 where it stands for none.
        wanted: per question, the token ids of itself and its answer.
    """
    target = torch.stack([torch.isin(ids, own) for ids, own in zip(slot_ids, wanted, strict=True)])
    loss = F.binary_cross_entropy_with_logits(scores, target.float(), reduction="none")
    used = slot_ids >= 0
    return (loss * used).sum() / used.sum().clamp_min(1)


class AnswerHead(nn.Module):
    """The tokens of the answer must be readable from the latent itself, through the LLM's raw embeddings.

    Each latent vector names tokens; together they are a mixture. It tells the reader what to look for long
    before the LLM has learned to make use of a prefix.
    """

    def __init__(self, backbone: Backbone, embeddings: RawEmbeddings) -> None:
        super().__init__()
        width = backbone.shape.hidden_size
        self.vocabulary = backbone.shape.vocabulary
        self._end = backbone.transformer.config.eos_token_id
        self._embeddings = (embeddings,)  # registered by the amortizer
        self.map = nn.Linear(width, width)
        nn.init.eye_(self.map.weight)
        nn.init.zeros_(self.map.bias)
        # A vector equal to a token's embedding then has logit 15 for it.
        self.scale = nn.Parameter(torch.tensor(15.0 / width))

    def forward(self, latent: Float[Tensor, "B P D"], labels: Int[Tensor, "B S"]) -> Float[Tensor, ""]:
        """Mean negative log-likelihood of the answers' tokens, in nats.

        ``latent`` (B, P, D); ``labels`` (B, S) are token ids, -100 outside the answer. The token that ends an
        answer says nothing of what was read and does not count.
        """
        table = self._embeddings[0](torch.arange(self.vocabulary, device=latent.device)[None])[0]
        chances = ((self.map(latent).float() @ table.T) * self.scale).log_softmax(-1)
        ids = labels.clamp_min(0)[:, None].expand(-1, latent.shape[1], -1)
        mixture = chances.gather(2, ids).logsumexp(1) - math.log(latent.shape[1])
        counted = labels >= 0
        if isinstance(self._end, int):
            counted = counted & (labels != self._end)
        return -(mixture * counted).sum() / counted.sum().clamp_min(1)
