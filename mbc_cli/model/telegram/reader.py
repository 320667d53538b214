"""Reading telegrams: the LLM reads their tokens as it reads any text, through KV-LoRA."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix, put_together
from mbc_cli.model.select.trunk import RawEmbeddings

_TOGETHER = 8  # passages in a pass: more of them leave the processor's caches, and are no faster


class TelegramReader(nn.Module):
    """Codes -> the prefix that the LLM makes of each passage."""

    def __init__(self, backbone: Backbone, embeddings: RawEmbeddings, vocabulary: int) -> None:
        super().__init__()
        self._backbone = (backbone,)
        self._embeddings = (embeddings,)  # registered by the amortizer
        self.empty = vocabulary
        # Stands before each passage; starts as what the LLM met before any text.
        beginning = backbone.transformer.config.bos_token_id
        start = torch.randn(backbone.shape.hidden_size) * 0.02
        if isinstance(beginning, int) and not embeddings.mean.is_meta:
            start = embeddings.embed(torch.tensor([[beginning]], device=backbone.device))[0, 0]
        self.start = nn.Parameter(start)

    def prefix_length(self, slots: int) -> int:
        """The most positions of the LLM that reading takes: passages stand side by side, not in a row."""
        return 1 + slots

    def forward(self, codes: Int[Tensor, "B T"]) -> Prefix:
        """Telegrams (B, T) int64, empty slots last, each read by itself."""
        used = codes != self.empty
        lengths = used.sum(1)
        codes, used = codes[:, : int(lengths.max())], used[:, : int(lengths.max())]
        tokens = self._embeddings[0].embed(codes.masked_fill(~used, 0))
        tokens = torch.cat([self.start.expand(len(codes), 1, -1), tokens], dim=1)
        return self._backbone[0].read_embeddings(tokens, lengths=None if bool(used.all()) else lengths + 1)

    def in_parts(self, codes: Int[Tensor, "B T"]) -> Prefix:
        """The same, a few passages of about one length in a pass."""
        order = (codes != self.empty).sum(1).argsort(stable=True)
        return put_together([(rows, self(codes[rows])) for rows in order.split(_TOGETHER)])
