"""From latent vectors to the keys and values of every layer, starting from what the LLM's own layers do."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mbc_cli.model.llm.backbone import Backbone

# How far the value maps start out inverting their layers: fully in the last layers, where the next token is
# decided, less before, where it would disturb what later layers expect.
_GAIN_LAST, _GAIN_BEFORE, _LAST = 1.0, 0.3, 2
_SMALLEST_SINGULAR_VALUE = 0.05  # relative to the largest; smaller directions are not inverted


class LayerMaps(nn.Module):
    """A linear map to the keys and one to the values of each layer: (B, P N 2, D) -> (B, P N 2, kv_width).

    A value map starts as the pseudo-inverse of its layer's output projection: a prefix token then adds its
    latent vector, as it is, to the states that attend to it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        shape = backbone.shape
        self.layers = shape.layers
        maps = torch.randn(shape.layers, 2, shape.hidden_size, shape.kv_width)
        self.weight = nn.Parameter(maps * 0.25 / shape.hidden_size**0.5)
        if self.weight.is_meta:
            return
        with torch.no_grad():
            for layer, projection in enumerate(backbone.value_projections()):
                gain = _GAIN_LAST if layer >= shape.layers - _LAST else _GAIN_BEFORE
                inverse = torch.linalg.pinv(projection, rtol=_SMALLEST_SINGULAR_VALUE)
                self.weight[layer, 1] = gain * inverse.T

    def forward(self, x: Float[Tensor, "B slots D"]) -> Float[Tensor, "B slots kv_width"]:
        slots = x.unflatten(1, (-1, self.layers, 2))
        return torch.einsum("bplcd,lcdk->bplck", slots, self.weight).flatten(1, 3)
