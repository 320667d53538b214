"""Documents on their way to codes: cut into passages and tokenised, and then the records of a store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mbc_store import DocumentRecord

from mbc_cli.corpus.documents import Document, Passage
from mbc_cli.inference.forward import TokenRows, Windows
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers


@dataclass(frozen=True, slots=True)
class Prepared:
    """Documents of a chunk of ``size``, those that are to be stored: cut into passages and tokenised."""

    size: int
    documents: Sequence[Document]
    digests: Sequence[int]
    passages: Sequence[Sequence[Passage]]
    tokens: TokenRows

    @property
    def ids(self) -> set[str]:
        return {document.id for document in self.documents}

    @classmethod
    def of(
        cls,
        model: MemoryModel,
        tokenizers: Tokenizers,
        windows: Windows,
        documents: Sequence[tuple[Document, int]],
        *,
        size: int,
        batch_size: int,
    ) -> Prepared:
        """Cut and tokenise ``documents``, each of which comes with its digest."""
        passages = [windows.split(tokenizers, document) for document, _ in documents]
        texts = [passage.text for group in passages for passage in group]
        tokens = TokenRows.of(model, tokenizers, texts, batch_size=batch_size)
        each, digests = [document for document, _ in documents], [digest for _, digest in documents]
        return cls(size, each, digests, passages, tokens)

    def records(self, codes: np.ndarray, errors: np.ndarray | None) -> list[DocumentRecord]:
        """The records of the documents, in their order.

        Args:
            codes: (passages, T, L) of ``tokens``.
            errors: (passages,), or None where codes have none.
        """
        records = []
        first = 0
        for document, digest, group in zip(self.documents, self.digests, self.passages, strict=True):
            rows = slice(first, first + len(group))
            first += len(group)
            records.append(
                DocumentRecord(
                    id=document.id,
                    codes=codes[rows],
                    spans=np.array([(p.start, p.end) for p in group], dtype=np.int64).reshape(-1, 2),
                    digest=digest,
                    text=document.text,
                    title=document.title,
                    timestamp=document.timestamp,
                    metadata=document.metadata,
                    quantization_error=float(errors[rows].mean()) if group and errors is not None else None,
                )
            )
        return records
