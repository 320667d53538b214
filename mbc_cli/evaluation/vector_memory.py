"""A bank of context vectors kept in memory as MAC keeps it: no codes, no store, nothing lost to quantising.

It shows what an adapter reads before its codes, and is the only memory of an adapter without quantiser
(quantizer.kind 'none').
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from mbc_store import StoredPassage
from torch import Tensor

from mbc_cli.corpus.documents import Document
from mbc_cli.inference.adapters import Loading, load_on, resolve_adapter
from mbc_cli.inference.answer import Answer, Source
from mbc_cli.inference.answerer import Answerer
from mbc_cli.inference.encode import EncodeReport
from mbc_cli.inference.forward import TokenRows, Windows, encoded_passages
from mbc_cli.inference.memory_filter import MemoryFilter
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import read_description
from mbc_cli.model.bank import Bank, TensorBank
from mbc_cli.model.config import WholeBankConfig
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers

_EVERYTHING = MemoryFilter()


class VectorBank(TensorBank):
    """Context vectors (rows, T, C) float32 and the passages they are of; it cannot be filtered."""

    def __init__(self, vectors: Tensor, passages: Sequence[StoredPassage]) -> None:
        super().__init__(vectors)
        self._stored = passages

    def filtered(self, filter: MemoryFilter) -> Bank:
        return self

    def passage_count(self, filter: MemoryFilter) -> int:
        return len(self._stored)

    def passages(self, rows: np.ndarray) -> list[StoredPassage]:
        return [self._stored[row] for row in rows]


class VectorMemory:
    """Documents in, answers out, with nothing on disk; the questions' side is that of ``Memory``."""

    def __init__(self, model: MemoryModel, tokenizers: Tokenizers, *, adapter_name: str) -> None:
        self.model = model.eval()
        self.tokenizers = tokenizers
        self.adapter_name = adapter_name
        self.document_count = 0
        self._vectors: list[Tensor] = []
        self._passages: list[StoredPassage] = []

    @classmethod
    def load(cls, adapter: str | Path | None = None, **loading: Unpack[Loading]) -> VectorMemory:
        """An empty memory for an adapter, found as ``Memory.create`` finds it.

        Raises:
            MbcError: the adapter or its LLM cannot be loaded.
        """
        location = resolve_adapter(adapter)
        loaded = load_on(location, **loading)
        return cls(loaded.model, loaded.tokenizers, adapter_name=location.name)

    @staticmethod
    def is_needed(adapter: str | Path | None = None) -> bool:
        """Whether the adapter makes no codes, so that its bank can only be kept as vectors."""
        description = read_description(resolve_adapter(adapter).directory)
        return bool(description["model"].quantizer.kind == "none")

    @property
    def selects(self) -> bool:
        """Whether the adapter reads selected passages."""
        return self.model.ranks_passages

    @property
    def passage_count(self) -> int:
        """Rows of the bank."""
        return len(self._passages)

    @property
    def float32_bytes(self) -> int:
        """What the vectors take."""
        return sum(vectors.numel() * 4 for vectors in self._vectors)

    def encode(self, documents: Iterable[Document], *, batch_size: int = 16) -> EncodeReport:
        """Append ``documents``; every id is taken to be new."""
        start = time.perf_counter()
        added = list(documents)
        windows = Windows.of(self.model, self.tokenizers)
        passages = [passage for document in added for passage in windows.split(self.tokenizers, document)]
        texts = [passage.text for passage in passages]
        tokens = TokenRows.of(self.model, self.tokenizers, texts, batch_size=batch_size)
        batches = list(encoded_passages(self.model, self.tokenizers, tokens))
        if batches:
            order = torch.tensor([index for indices, _ in batches for index in indices])
            self._vectors.append(torch.cat([encoded.passages for _, encoded in batches])[order.argsort()])
        self._passages += [
            StoredPassage(p.document_id, p.index, p.start, p.end, None, p.text, None, {}) for p in passages
        ]
        self.document_count += len(added)
        return EncodeReport(added=len(added), passages=len(passages), seconds=time.perf_counter() - start)

    def answer(
        self, questions: Sequence[str], *, threshold: float | None = None, batch_size: int = 16
    ) -> list[Answer]:
        """Answer ``questions``, in order; ``threshold`` can only be 0, as no vectors were calibrated."""
        return self._answerer().answer(
            questions, filter=_EVERYTHING, threshold=threshold, batch_size=batch_size
        )

    def answer_without_memory(self, questions: Sequence[str], *, batch_size: int = 16) -> list[Answer]:
        """What the LLM answers by itself."""
        return self._answerer().without_memory(questions, batch_size=batch_size)

    def search(
        self, questions: Sequence[str], *, top_k: int = 5, batch_size: int = 16
    ) -> list[tuple[Source, ...]]:
        """The passages that speak most to each question, best first; only for adapters that select."""
        return self._answerer().search(questions, filter=_EVERYTHING, top_k=top_k, batch_size=batch_size)

    def bank(self) -> VectorBank:
        """All passages, for the model to read."""
        if len(self._vectors) > 1:
            self._vectors = [torch.cat(self._vectors)]
        nothing = torch.empty(0, self.model.config.context_vectors, 1, device=self.model.device)
        return VectorBank(self._vectors[0] if self._vectors else nothing, self._passages)

    def _answerer(self) -> Answerer:
        return Answerer(self.model, self.tokenizers, self.bank())


AnyMemory = Memory | VectorMemory


def passages_read(memory: AnyMemory) -> int:
    """How many passages the adapter of ``memory`` reads for a question; 1 where it does not select."""
    config = memory.model.config
    return 1 if isinstance(config, WholeBankConfig) else config.selection.top_k
