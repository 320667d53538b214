"""``bm25``: retrieval-augmented generation by words: BM25 finds passages, the LLM reads them as text.

Okapi BM25 (Robertson and Zaragoza 2009) in Lucene's form, by the library bm25s, over lower-cased words.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import zstandard
from pydantic import Field

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import MissingPackageError, install_hint
from mbc_cli.evaluation.method import MethodBytes, Setting
from mbc_cli.evaluation.methods.text_method import Found, TextMethod
from mbc_cli.evaluation.options import read_options
from mbc_cli.evaluation.text_reader import READING_GRID, ReadingOptions
from mbc_cli.evaluation.vector_memory import AnyMemory

_WORD = re.compile(r"\w+")


class Bm25Options(ReadingOptions):
    """The two parameters of BM25 beside those of reading."""

    k1: float = Field(1.5, ge=0, description="How soon more of the same word counts no more.")
    b: float = Field(0.75, ge=0, le=1, description="How much long passages are held against them.")


class Bm25Index:
    """Texts by their words.

    Raises:
        MissingPackageError: bm25s is not installed.
    """

    def __init__(self, texts: Sequence[str], k1: float = 1.5, b: float = 0.75) -> None:
        require_bm25s()
        import bm25s

        self._count = len(texts)
        self._index: Any = None
        words = [bm25_words(text) for text in texts]
        if any(words):
            self._index = bm25s.BM25(k1=k1, b=b, method="lucene")
            self._index.index(words, show_progress=False)

    def scores(self, question: str) -> np.ndarray:
        """What each text (n,) float32 shares with ``question``; 0 is nothing."""
        known = (
            [] if self._index is None else [w for w in bm25_words(question) if w in self._index.vocab_dict]
        )
        if not known:
            return np.zeros(self._count, dtype=np.float32)
        scores: np.ndarray = self._index.get_scores(known)
        return scores

    @property
    def parts(self) -> list[bytes]:
        """What it consists of: the vocabulary, then the arrays of the index."""
        if self._index is None:
            return []
        # Words in their order: bm25s numbers them as Python's hashes have it, which differ between runs.
        words, held = sorted(filter(None, self._index.vocab_dict)), self._index.scores
        places = np.array([self._index.vocab_dict[word] for word in words])
        starts, ends = (np.asarray(held["indptr"])[places + offset] for offset in (0, 1))
        postings = np.concatenate([np.arange(*bounds) for bounds in zip(starts, ends, strict=True)])
        arrays = [np.asarray(held[name])[postings] for name in ("data", "indices")]
        counts = (ends - starts).astype(np.int32)
        return ["\n".join(words).encode(), *(array.tobytes() for array in (*arrays, counts))]


class Bm25Method(TextMethod):
    """Finds by words; a passage that shares none with a question is not read."""

    name = "bm25"
    GRID: Sequence[Mapping[str, object]] = (
        *READING_GRID,
        {"k1": 0.9, "b": 0.4},
        {"k1": 0.9, "b": 0.4, "top_k": 4},
    )

    def __init__(self, memory: AnyMemory, options: Bm25Options) -> None:
        super().__init__(memory, options)
        self._options = options
        self._built: tuple[list[str], Bm25Index] = ([], self._indexed([]))

    @classmethod
    def make(cls, setting: Setting) -> Bm25Method:
        """With the setting's options: those of `Bm25Options`.

        Raises:
            UsageError: an option is not accepted.
            MissingPackageError: bm25s is not installed.
        """
        return cls(setting.memory, read_options(Bm25Options, cls.name, setting.options))

    def find(self, questions: Sequence[Question], depth: int, *, batch_size: int) -> list[list[Found]]:
        passages, index = self.texts.passages, self._index()
        found = []
        for question in questions:
            scores = index.scores(question.question)
            # Of equals the one that came last, as the memory has it.
            order = np.lexsort((-np.arange(len(scores)), -scores))[:depth]
            found.append([Found(passages[row], float(scores[row])) for row in order if scores[row] > 0])
        return found

    def index_bytes(self) -> MethodBytes:
        parts = self._index().parts
        packed = zstandard.ZstdCompressor(level=19)
        # Made anew from the texts when they are opened, in seconds for 10,000 passages: not kept.
        return MethodBytes(
            {},
            {},
            {
                "index, zstd": float(sum(len(packed.compress(part)) for part in parts)),
                "index, uncompressed": float(sum(map(len, parts))),
            },
        )

    def _index(self) -> Bm25Index:
        """The index of the passages there are now: how rare a word is changes with each."""
        texts = [passage.text for passage in self.texts.passages]
        if self._built[0] != texts:
            self._built = texts, self._indexed(texts)
        return self._built[1]

    def _indexed(self, texts: Sequence[str]) -> Bm25Index:
        return Bm25Index(texts, self._options.k1, self._options.b)


def require_bm25s() -> None:
    """Raise MissingPackageError if bm25s is not installed."""
    if importlib.util.find_spec("bm25s") is None:
        raise MissingPackageError(
            "BM25 needs the package bm25s, which is not installed", hint=install_hint("evaluate")
        )


def bm25_words(text: str) -> list[str]:
    """What BM25 counts: runs of letters, digits and underscores, lower-cased."""
    return _WORD.findall(text.lower())
