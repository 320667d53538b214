"""The T5 amortization network: a text becomes T context vectors in one forward pass (MBC section 3.1).

Documents and questions are read by two networks of this same form.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import T5Config, T5Model

from mbc_cli.model.per_slot import PerSlotLayerNorm, PerSlotLinear


class SlotProjection(nn.Module):
    """One residual MLP per slot from the T5's width to the LLM's: (B, T, inputs) -> (B, T, outputs).

    skip(x) + Linear(tanh(Linear(LayerNorm(x)))), where skip is the identity if the widths agree.
    """

    def __init__(self, slots: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.skip = nn.Identity() if inputs == outputs else PerSlotLinear(slots, inputs, outputs)
        self.norm = PerSlotLayerNorm(slots, inputs)
        self.enter = PerSlotLinear(slots, inputs, outputs)
        self.leave = PerSlotLinear(slots, outputs, outputs)

    def forward(self, x: Float[Tensor, "B T inputs"]) -> Float[Tensor, "B T outputs"]:
        return self.skip(x) + self.leave(torch.tanh(self.enter(self.norm(x))))


class T5SlotEncoder(nn.Module):
    """A T5 whose decoder reads T learned prompt vectors instead of tokens, then a projection per slot.

    ``attend_to_padding`` lets the decoder attend to the encoder's padding positions, as the published
    implementation does; the result then depends on how far a text is padded.
    """

    def __init__(self, t5: T5Model, slots: int, outputs: int, attend_to_padding: bool = False) -> None:
        super().__init__()
        self.encoder = t5.encoder
        self.decoder = t5.decoder
        # The decoder reads vectors: dropping its token table keeps it out of checkpoints and optimisers.
        self.decoder.embed_tokens = nn.Identity()
        width = t5.config.d_model
        self.prompts = nn.Parameter(torch.randn(1, slots, width))
        self.projection = SlotProjection(slots, width, outputs)
        self.attend_to_padding = attend_to_padding

    @property
    def t5_config(self) -> T5Config:
        """The T5's own configuration, enough to build it again without its weights."""
        return self.encoder.config

    def forward(
        self, input_ids: Int[Tensor, "B S"], attention_mask: Int[Tensor, "B S"]
    ) -> Float[Tensor, "B T outputs"]:
        """Ids and mask (B, S) -> (B, T, outputs)."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        decoded = self.decoder(
            inputs_embeds=self.prompts.expand(input_ids.shape[0], -1, -1),
            encoder_hidden_states=states,
            encoder_attention_mask=None if self.attend_to_padding else attention_mask,
            use_cache=False,
        ).last_hidden_state
        return self.projection(decoded)
