"""An auxiliary objective: the tokens of the answer must be readable from the latent itself.

It tells the reader what to look for long before the LLM has learned to make use of a prefix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.select.trunk import RawEmbeddings


class AnswerHead(nn.Module):
    """Each latent vector names tokens through the LLM's raw embeddings; together they are a mixture."""

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

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
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
