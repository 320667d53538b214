"""Reading telegrams: the LLM reads their tokens as it reads any text, through KV-LoRA."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor, nn

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.select.trunk import RawEmbeddings


class TelegramReader(nn.Module):
    """Codes of the selected passages -> the prefix that the LLM makes of them."""

    def __init__(self, backbone: Backbone, embeddings: RawEmbeddings, vocabulary: int) -> None:
        super().__init__()
        self._backbone = (backbone,)
        self._embeddings = (embeddings,)  # registered by the amortizer
        self.empty = vocabulary
        # Stands before each passage, and parts it from the next; starts as what the LLM met before any text.
        beginning = backbone.transformer.config.bos_token_id
        start = torch.randn(backbone.shape.hidden_size) * 0.02
        if isinstance(beginning, int) and not embeddings.mean.is_meta:
            start = embeddings.embed(torch.tensor([[beginning]], device=backbone.device))[0, 0]
        self.start = nn.Parameter(start)

    def prefix_length(self, passages: int, slots: int) -> int:
        """The most positions of the LLM that reading takes."""
        return passages * (1 + slots)

    def forward(self, codes: Int[Tensor, "B k T"]) -> Prefix:
        """Telegrams (B, k, T) int64, best first -> a prefix, the best passage last, next to the question.

        Slots not in use take no position: each row's tokens are moved together and padded on the left.
        """
        batch, passages, _ = codes.shape
        marked = torch.cat([codes.new_full((batch, passages, 1), -1), codes.flip(1)], dim=2).flatten(1)
        used = marked != self.empty
        places = used.to(torch.int8).sort(dim=1, stable=True).indices
        width = int(used.sum(1).max())
        marked, used = marked.gather(1, places)[:, -width:], used.gather(1, places)[:, -width:]
        tokens = self._embeddings[0].embed(marked.clamp(0, self.empty - 1))
        tokens = torch.where((marked < 0)[..., None], self.start, tokens)
        if bool(used.all()):
            return self._backbone[0].read_embeddings(tokens)
        hidden = torch.finfo(torch.float32).min
        log_weights = torch.zeros_like(used, dtype=torch.float32).masked_fill(~used, hidden)
        return self._backbone[0].read_embeddings(tokens, log_weights, padding=(~used).sum(1))
