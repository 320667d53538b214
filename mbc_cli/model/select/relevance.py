"""Which slots of a passage a question is about: a passage may report several things.

A small LLM that reads two events at once mixes them: it answers "where?" with either place. The question
names what it is about, so the slots that match its words, and those around them that belong to them, can
count more than the rest.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.select.trunk import TokenStates

WIDTH, KERNEL, MATCHES = 64, 5, 4
# Features of order one; a cosine of unrelated words is near zero.
_CONTRAST = 4.0


class SlotRelevance(nn.Module):
    """Matches of slots with a question's words, carried to the slots around by dilated convolutions.

    What belongs together stands together, so convolutions learn in minutes what attention over the slots
    did not. Block i looks 2^(i+1) slots to either side: four blocks see 30 of them.
    """

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.importance = nn.Linear(width, 1)  # of a question's tokens: names find, "which" does not
        self.slot = nn.Linear(width, WIDTH)
        self.match = nn.Linear(MATCHES, WIDTH)
        self.question = nn.Linear(width, WIDTH)
        self.blocks = nn.ModuleList(_Block(2**layer) for layer in range(layers))
        self.norm = nn.LayerNorm(WIDTH)
        self.score = nn.Linear(WIDTH, 1)
        nn.init.zeros_(self.importance.weight)
        nn.init.zeros_(self.importance.bias)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def of_passages(self, question: TokenStates, vectors: Float[Tensor, "B k T D"]) -> Float[Tensor, "B k T"]:
        """Logits (B, k, T) float32 of how relevant the slots of passages (B, k, T, D) are to B questions."""
        asked = self.question_vectors(question).repeat_interleave(vectors.shape[1], dim=0)
        return self(asked, vectors.flatten(0, 1)).unflatten(0, vectors.shape[:2])

    def question_vectors(self, question: TokenStates) -> Float[Tensor, "B S D"]:
        """Raw embeddings scaled by how much each token matters, (B, S, D); zero on padding."""
        return question.raw * (2 * self.importance(question.states).sigmoid()) * question.mask[..., None]

    def forward(
        self, question: Float[Tensor, "B S D"], vectors: Float[Tensor, "B T D"]
    ) -> Float[Tensor, "B T"]:
        """Logits (B, T) float32 of how relevant slots (B, T, D) are to questions (B, S, D)."""
        tokens = question.any(-1).sum(1, keepdim=True).clamp_min(1)
        asked = self.question(question.sum(1) / tokens**0.5)
        x = self.slot(vectors) + self.match(_CONTRAST * _matches(question, vectors)) + asked[:, None]
        for block in self.blocks:
            x = block(x)
        return self.score(self.norm(x))[..., 0].float()


class _Block(nn.Module):
    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.around = nn.Conv1d(WIDTH, 2 * WIDTH, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation)
        self.leave = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: Float[Tensor, "B T width"]) -> Float[Tensor, "B T width"]:
        around = self.around(self.norm(x).transpose(1, 2)).transpose(1, 2)
        return x + self.leave(F.gelu(around))


def _matches(question: Tensor, vectors: Tensor) -> Tensor:
    """Each slot's best match in the question: alone, in a pair, amid three and amid five, (B, T, 4).

    A name is several tokens, and each of them alone is part of many names.
    """
    # Question tokens keep their lengths, which say how much they matter.
    alone = torch.einsum("bsd,btd->bst", question, F.normalize(vectors, dim=-1)) / question.shape[-1] ** 0.5
    padded = F.pad(alone, (2, 2, 2, 2))
    before2, before, _, after, after2 = (
        padded[:, shift : shift + alone.shape[1], shift : shift + alone.shape[2]] for shift in range(KERNEL)
    )
    pair = torch.maximum(alone + before, alone + after) / 2
    three = (before + alone + after) / 3
    five = (before2 + before + alone + after + after2) / 5
    return torch.stack([match.amax(1) for match in (alone, pair, three, five)], dim=-1)
