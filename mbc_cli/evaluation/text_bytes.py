"""What a stream of documents weighs as text: raw, as zstd, and at the LLM's own cross-entropy.

What would be stored is each document by itself at zstd level 19 with a dictionary trained on every second
document, of the size that makes texts and dictionary least together: any document can then be read alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import zstandard

from mbc_cli.evaluation.cross_entropy import text_bits
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers

LEVEL = 19
DICTIONARY_SIZES = (1 << 10, 1 << 12, 1 << 14, 1 << 16, 110 << 10)
"""In bytes; the last is the usual default of zstd."""


@dataclass(frozen=True, slots=True)
class CompressedText:
    """Bytes of some texts: ``documents`` with ``dictionary``, and ``archive``, all in one without one."""

    documents: int
    dictionary: int
    archive: int


def stored_text(texts: Sequence[str]) -> tuple[Mapping[str, float], Mapping[str, float]]:
    """The bytes of ``texts`` as they would be stored: what grows with them, and what does not."""
    found = _compressed(tuple(texts))
    fixed = {"dictionary": float(found.dictionary)} if found.dictionary else {}
    return {"text": float(found.documents)}, fixed


def text_alternatives(
    model: MemoryModel, tokenizers: Tokenizers, texts: Sequence[str]
) -> Mapping[str, float]:
    """The bytes of ``texts`` in other forms, by name; cross-entropy is by the untouched LLM of ``model``."""
    found = _compressed(tuple(texts))
    return {
        "text, raw": float(sum(len(text.encode()) for text in texts)),
        "text, zstd with dictionary": float(found.documents + found.dictionary),
        "text, zstd archive": float(found.archive),
        "text, LLM cross-entropy": sum(text_bits(model, tokenizers, texts)) / 8,
    }


@lru_cache(maxsize=16)  # every method of a run asks for the same stream
def _compressed(texts: tuple[str, ...]) -> CompressedText:
    contents: list[bytes | bytearray | memoryview[int]] = [text.encode() for text in texts]
    archive = len(zstandard.ZstdCompressor(level=LEVEL).compress(b"\n".join(contents))) if contents else 0
    tried = [CompressedText(_sum(contents, None), 0, archive)]
    for size in DICTIONARY_SIZES:
        try:
            dictionary = zstandard.train_dictionary(size, contents[::2], level=LEVEL)
        except zstandard.ZstdError:  # too little text to learn from
            continue
        tried.append(CompressedText(_sum(contents, dictionary), len(dictionary.as_bytes()), archive))
    return min(tried, key=lambda each: each.documents + each.dictionary)


def _sum(
    contents: Sequence[bytes | bytearray | memoryview[int]], dictionary: zstandard.ZstdCompressionDict | None
) -> int:
    # No check sums, and no name of the dictionary: there is only one.
    compressor = zstandard.ZstdCompressor(
        level=LEVEL, dict_data=dictionary, write_checksum=False, write_dict_id=False
    )
    return sum(len(compressor.compress(content)) for content in contents)
