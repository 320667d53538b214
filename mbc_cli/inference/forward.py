"""The forward pass over documents: cut into passages, batched by tokens, no gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mbc_cli.corpus.documents import Document, Passage
from mbc_cli.corpus.passages import split_document
from mbc_cli.errors import AdapterError, UsageError
from mbc_cli.model.bank import EncodedPassages
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers

# Neighbouring passages share this fraction of a window, so that a sentence cut by one is whole in the next.
OVERLAP = 1 / 8
# From so many tokens on a batch takes no passage that would fill less than this part of its row.
ENOUGH_TOKENS, LEAST_FILLED = 1024, 7 / 8


@dataclass(frozen=True, slots=True)
class Windows:
    """How documents are cut into passages, in tokens."""

    window: int
    overlap: int

    @classmethod
    def of(
        cls, model: MemoryModel, tokenizers: Tokenizers, window: int | None = None, overlap: int | None = None
    ) -> Windows:
        """Windows of the model's whole length, special tokens left aside, or shorter ones if given.

        Raises:
            UsageError: the window is longer than the model's, or the overlap is half of it or more.
        """
        special = tokenizers.document_tokenizer.num_special_tokens_to_add(pair=False)
        longest = model.config.amortization.document_tokens - special
        window = longest if window is None else window
        if not 1 <= window <= longest:
            raise UsageError(f"window is {window} tokens, but this adapter reads 1 to {longest}")
        overlap = int(window * OVERLAP) if overlap is None else overlap
        if not 0 <= overlap <= (window - 1) // 2:
            raise UsageError(
                f"overlap is {overlap} tokens, but windows of {window} can share 0 to {(window - 1) // 2}"
            )
        return cls(window, overlap)

    def split(self, tokenizers: Tokenizers, document: Document) -> list[Passage]:
        """Cut ``document`` into passages."""
        return split_document(document, tokenizers.token_offsets, window=self.window, overlap=self.overlap)


@dataclass(frozen=True, slots=True)
class TokenRows:
    """Passages as the model will read them: the ids of each, and how many go through it together."""

    rows: list[np.ndarray]
    batches: list[list[int]]  # places in ``rows``, by length, so that a batch holds little padding

    @classmethod
    def of(
        cls, model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str], *, batch_size: int
    ) -> TokenRows:
        """A batch holds no more tokens, padding included, than ``batch_size`` of the longest passages."""
        rows = tokenizers.document_ids(texts)
        longest = model.config.amortization.document_tokens
        least = longest if model.config.attends_to_padding else 1
        batches: list[list[int]] = []
        # From the longest on: what takes most memory comes first.
        for place in sorted(range(len(rows)), key=lambda place: len(rows[place]), reverse=True):
            width = max(least, len(rows[batches[-1][0]])) if batches else 0
            tokens = len(batches[-1]) * width if batches else 0
            is_full = tokens + width > batch_size * longest
            mostly_padding = max(least, len(rows[place])) < LEAST_FILLED * width
            if not batches or is_full or (mostly_padding and tokens >= ENOUGH_TOKENS):
                batches.append([])
            batches[-1].append(place)
        return cls(rows, batches)


@torch.inference_mode()
def encoded_passages(
    model: MemoryModel, tokenizers: Tokenizers, passages: TokenRows
) -> Iterator[tuple[Sequence[int], EncodedPassages]]:
    """Encode ``passages`` batch by batch: yields their places, and what became of those.

    Raises:
        AdapterError: a vector is not finite. Its codes would say nothing of the text.
    """
    model.eval()
    for places in passages.batches:
        batch = tokenizers.document_batch([passages.rows[place] for place in places]).to(model.device)
        encoded = model.encode_passages(batch.input_ids, batch.attention_mask)
        if not encoded.is_finite:
            raise AdapterError(
                f"the adapter for {model.config.base_model} (fingerprint {model.fingerprint()}) makes "
                "vectors that are not finite: its weights are damaged, or too large for their precision",
                "check it with mbc adapter verify, and get or train it again",
            )
        yield places, encoded
