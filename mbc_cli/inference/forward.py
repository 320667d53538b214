"""The forward pass over documents: cut into passages, batched by length, no gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Document, Passage
from mbc_cli.corpus.passages import split_document
from mbc_cli.errors import AdapterError, UsageError
from mbc_cli.model.bank import EncodedPassages
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers

# Neighbouring passages share this fraction of a window, so that a sentence cut by one is whole in the next.
OVERLAP = 1 / 8


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


@torch.inference_mode()
def encoded_passages(
    model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str], *, batch_size: int
) -> Iterator[tuple[Sequence[int], EncodedPassages]]:
    """Encode ``texts`` batch by batch: yields indices into ``texts``, and what became of those.

    Texts go through the model sorted by length, so that a batch holds little padding.

    Raises:
        AdapterError: a vector is not finite. Its codes would say nothing of the text.
    """
    model.eval()
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    for indices in batched(by_length, batch_size):
        batch = tokenizers.encode_documents([texts[index] for index in indices]).to(model.device)
        encoded = model.encode_passages(batch.input_ids, batch.attention_mask)
        if not encoded.is_finite:
            raise AdapterError(
                f"the adapter for {model.config.base_model} (fingerprint {model.fingerprint()}) makes "
                "vectors that are not finite: its weights are damaged, or too large for their precision",
                "check it with mbc adapter verify, and get or train it again",
            )
        yield indices, encoded
