"""Reading as published, but in the selected passages only: cross-attention to a latent, then modulation.

P vectors of the question attend to the decoded slots of its passages, and each becomes one prefix token in
every layer of the LLM.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.config import AggregationConfig, ModulationConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.prefix import Prefix
from mbc_cli.model.select.layer_maps import LayerMaps
from mbc_cli.model.select.reader import OwnReading, Reader
from mbc_cli.model.select.slot_pooling import SlotPooling
from mbc_cli.model.whole_bank.aggregation import Aggregator, Bank, CrossAttention, QuestionEncoding
from mbc_cli.model.whole_bank.modulation import Modulation

# Values and outputs of the cross-attention start as this times the identity: from the first step what is
# attended to is found in the latent.
_COPY = 0.7


class SlotReader(Reader):
    """Question vectors -> attention over the passages' slots -> latent -> a key and value in each layer."""

    def __init__(
        self, backbone: Backbone, aggregation: AggregationConfig, modulation: ModulationConfig
    ) -> None:
        super().__init__()
        width = backbone.shape.hidden_size
        self.score = nn.Linear(width, 1, bias=False)  # the salience of a question's tokens
        self.pooling = SlotPooling(modulation.prefix_tokens, width)
        self.aggregator = Aggregator(width, aggregation.blocks, aggregation.heads, aggregation.head_dimension)
        for part in self.aggregator.modules():
            if isinstance(part, CrossAttention):
                _start_as_copy(part)
        self.norm = nn.LayerNorm(width)
        self.modulation = Modulation(
            backbone.shape, modulation.prefix_tokens, modulation.hidden, LayerMaps(backbone)
        )

    def question_vectors(self, raw: Tensor, states: Tensor, attention_mask: Tensor) -> Tensor:
        """(B, P, D)."""
        vectors: Tensor = self.pooling(raw, states, self.score(states)[..., 0], attention_mask)
        return vectors

    def latent(self, question: QuestionEncoding, vectors: Tensor, log_weights: Tensor | None) -> Tensor:
        """What was read, (B, P, D), from passages (B, k, T, D) with log weights (B, k)."""
        if log_weights is not None:
            log_weights = log_weights.repeat_interleave(vectors.shape[2], dim=1)
        return self.norm(self.aggregator(question, Bank(vectors.flatten(1, 2), log_weights)))

    def prefix_length(self, passages: int, slots: int) -> int:
        return self.modulation.prefix_tokens

    def forward(self, question: QuestionEncoding, vectors: Tensor, log_weights: Tensor | None) -> Prefix:
        """A prefix of P tokens, whatever k."""
        return self.modulation(self.latent(question, vectors, log_weights))

    def read_own(self, question: QuestionEncoding, vectors: Tensor, rows: Tensor) -> OwnReading:
        latent = self.latent(question, vectors[rows, None], None)
        return OwnReading(self.modulation(latent), latent)


@torch.no_grad()
def _start_as_copy(attention: CrossAttention) -> None:
    """Let values and output pass on what is attended to, as far as the heads' width allows."""
    inner, width = attention.to_v.weight.shape
    if attention.to_v.weight.is_meta:
        return
    # Heads wider than the vectors hold several copies of a column, heads narrower not all columns.
    copies = F.one_hot(torch.arange(inner) % width, width).float()
    for weight, start in (
        (attention.to_v.weight, copies),
        (attention.to_out.weight, (copies / copies.sum(0).clamp_min(1)).T),
    ):
        weight.copy_(_COPY * start + 0.01 * torch.randn_like(start))
    nn.init.zeros_(attention.to_out.bias)
