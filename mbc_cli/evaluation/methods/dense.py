"""``dense``: retrieval-augmented generation by vectors: a text encoder finds passages, the LLM reads them.

The encoder is a local model in Hugging Face form, such as those of sentence-transformers: the mean of its
last states over a text's tokens, at unit length, compared by inner product.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from mbc_cli.batching import batched
from mbc_cli.corpus.documents import Document, Passage, Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.method import MethodBytes, Setting
from mbc_cli.evaluation.methods.text_method import Found, TextMethod
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.text_reader import READING_GRID, ReadingOptions
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.model.llm.pretrained import load_text_encoder, load_tokenizer

_LONGEST = 512
"""Tokens of a text that are read, at most."""


class DenseOptions(ReadingOptions):
    """The encoder, and what it wants before its texts."""

    encoder: str | None = Field(None, description="Directory of the encoder. Must be given.")
    question_prefix: str = Field("", description="What stands before questions, such as 'query: '.")
    passage_prefix: str = Field("", description="What stands before passages, such as 'passage: '.")


class TextEncoder:
    """Texts as vectors of unit length."""

    def __init__(self, name: str, device: torch.device) -> None:
        self._tokenizer = load_tokenizer(name)
        self._model = load_text_encoder(name).eval().requires_grad_(False).to(device)
        self._device = device
        positions = getattr(self._model.config, "max_position_embeddings", None) or _LONGEST
        self._longest = min(_LONGEST, positions, self._tokenizer.model_max_length)

    @property
    def bytes(self) -> float:
        """What its weights take."""
        return float(sum(each.numel() * each.element_size() for each in self._model.parameters()))

    @torch.inference_mode()
    def encode(self, texts: Sequence[str], batch_size: int) -> Tensor:
        """Vectors (n, width) float32 on the CPU; longer texts are cut."""
        order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
        vectors: dict[int, Tensor] = {}
        for places in batched(order, batch_size):
            batch = self._tokenizer(
                [texts[place] for place in places],
                padding=True,
                truncation=True,
                max_length=self._longest,
                return_tensors="pt",
            ).to(self._device)
            states = self._model(**batch).last_hidden_state.float()
            mask = batch["attention_mask"][..., None]
            mean = (states * mask).sum(1) / mask.sum(1).clamp_min(1)
            vectors |= zip(places, F.normalize(mean, dim=1).cpu(), strict=True)
        return torch.stack([vectors[place] for place in range(len(texts))])


class DenseMethod(TextMethod):
    """Finds by vectors of a local encoder."""

    name = "dense"
    score_scale = 20.0  # that of the loss that sentence-transformers trains with, whose logits are log odds
    GRID: Sequence[Mapping[str, object]] = READING_GRID

    def __init__(self, memory: AnyMemory, options: DenseOptions) -> None:
        if options.encoder is None:
            raise UsageError(
                "method dense: no encoder is given",
                "name the directory of a sentence encoder with the option encoder, or leave the method out",
            )
        super().__init__(memory, options)
        self._options = options
        self._encoder = TextEncoder(options.encoder, memory.model.device)
        self._vectors: dict[Passage, Tensor] = {}

    @classmethod
    def make(cls, setting: Setting) -> DenseMethod:
        """With the setting's options: those of `DenseOptions`.

        Raises:
            UsageError: there is no encoder, or an option is not accepted.
            ModelError: the encoder cannot be loaded.
        """
        return cls(setting.memory, read_options(DenseOptions, cls.name, setting.options))

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        super().encode(documents, batch_size=batch_size)
        passages = self.texts.passages
        new = [passage for passage in passages if passage not in self._vectors]
        prefix = self._options.passage_prefix
        if new:
            made = self._encoder.encode([prefix + passage.text for passage in new], batch_size)
            self._vectors |= zip(new, made, strict=True)
        self._vectors = {passage: self._vectors[passage] for passage in passages}

    def find(self, questions: Sequence[Question], depth: int, *, batch_size: int) -> list[list[Found]]:
        passages = list(self._vectors)
        if not passages or not questions:
            return [[] for _ in questions]
        prefix = self._options.question_prefix
        asked = self._encoder.encode([prefix + each.question for each in questions], batch_size)
        # Newest first, so that of equals the one that came last is found, as the memory has it.
        scores = (asked @ torch.stack(list(self._vectors.values())).T).flip(1)
        best = scores.sort(dim=1, descending=True, stable=True)
        return [
            [Found(passages[-1 - row], score) for row, score in zip(rows[:depth], their[:depth], strict=True)]
            for rows, their in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        ]

    def index_bytes(self) -> MethodBytes:
        values = sum(vector.numel() for vector in self._vectors.values())
        return MethodBytes(
            {"index": 4.0 * values},
            {"encoder": self._encoder.bytes},
            {"index, float16": 2.0 * values, "index, int8": 1.0 * values},
        )
