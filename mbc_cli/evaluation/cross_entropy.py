"""What text would weigh at the LLM's own cross-entropy: the bits of an ideal arithmetic coder with this LLM.

A bound and not a format: decoding would take a step of the LLM for each token, and break with the last bit of
a float on another machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from weakref import WeakKeyDictionary

import torch

from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.reporting import progress

LONGEST = 1024
"""Tokens coded in one context; a longer text is coded piece by piece."""
_TOKENS_AT_ONCE = 2048

# By LLM, so that all methods of a run, which share it, have each text read once.
_known: WeakKeyDictionary[Backbone, dict[str, float]] = WeakKeyDictionary()


def text_bits(model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str]) -> list[float]:
    """Bits of each of ``texts`` by the untouched LLM, each by itself.

    The first token of a text, and of each of its pieces of as many tokens as the LLM has positions (at most
    :data:`LONGEST`), takes log2 of the vocabulary's size. Where a text ends is not coded.
    """
    known = _known.setdefault(model.backbone, {})
    missing = [text for text in dict.fromkeys(texts) if text not in known]
    if missing:
        known |= zip(missing, _bits(model, tokenizers, missing), strict=True)
    return [known[text] for text in texts]


@torch.inference_mode()
def _bits(model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str]) -> list[float]:
    tokenizer = tokenizers.language_tokenizer
    positions = getattr(model.backbone.transformer.config, "max_position_embeddings", None) or LONGEST
    longest = min(LONGEST, positions)
    rows = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    pieces = [
        (place, ids[first : first + longest])
        for place, ids in enumerate(rows)
        for first in range(0, len(ids), longest)
    ]
    nats = [0.0] * len(texts)
    first_token = math.log(len(tokenizer))
    with (
        progress("weighing the text by the LLM's cross-entropy", total=len(pieces), unit="texts") as advance,
        model.backbone.without_lora(),
    ):
        for part in _batches(sorted(pieces, key=lambda piece: len(piece[1]))):
            width = len(part[-1][1])
            ids = torch.zeros(len(part), width, dtype=torch.int64)
            mask = torch.zeros_like(ids)
            for row, (_, tokens) in enumerate(part):
                ids[row, : len(tokens)] = torch.tensor(tokens)
                mask[row, : len(tokens)] = 1
            losses = model.backbone.next_token_losses(ids.to(model.device), mask.to(model.device)).sum(1)
            for (place, _), loss in zip(part, losses.tolist(), strict=True):
                nats[place] += loss + first_token
            advance(len(part))
    return [each / math.log(2) for each in nats]


def _batches(pieces: Sequence[tuple[int, list[int]]]) -> Iterator[list[tuple[int, list[int]]]]:
    """``pieces``, which come by length, so many at a time that padded they are no more than memory takes."""
    batch: list[tuple[int, list[int]]] = []
    for piece in pieces:
        if batch and (len(batch) + 1) * len(piece[1]) > _TOKENS_AT_ONCE:
            yield batch
            batch = []
        batch.append(piece)
    if batch:
        yield batch
