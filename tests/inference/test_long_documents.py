"""Long documents are tokenised in pieces: the passages are those of the whole text, with any tokenizer."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import mbc_cli.corpus.passages as passages_module
from mbc_cli.corpus.documents import Document
from mbc_cli.corpus.passages import TokenOffsets, split_document, text_offsets
from mbc_cli.inference.adapters import resolve_adapter
from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import SENTENCES, save_t5, save_tokenizer

PIECE, SHARED = 3000, 1000
WORDS = " ".join(SENTENCES).split()
OTHERS = [
    "naïve",
    "Zürich",
    "東京都",
    "🙂🙃",
    "don't",
    "3,141",
    "x" * 30,
    "-- ",
    "\n\n",
    "\t",
    "   ",
    "…",
    "a\u0301",
]


def byte_level(directory: Path) -> Tokenizer:
    save_tokenizer(directory, "causal")
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


def bundled(directory: Path) -> Tokenizer:
    """Strips the text and puts a space before it, so a piece's first and last tokens are its own."""
    tokenizer = Tokenizer.from_file(
        str(resolve_adapter("default").directory / "tokenizers/language/tokenizer.json")
    )
    tokenizer.no_truncation()
    return tokenizer


def unigram_with_metaspace(directory: Path) -> Tokenizer:
    """As T5's: a space is a part of the word behind it, and the text begins with one."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.UnigramTrainer(vocab_size=150, unk_token="<unk>", special_tokens=["<unk>"])
    )
    return tokenizer


def bpe_without_words(directory: Path) -> Tokenizer:
    """As Llama 2's: merges know no words, but no merged token has a space behind a letter."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer.pre_tokenizer = None
    return tokenizer


def word_piece(directory: Path) -> Tokenizer:
    """As BERT's: spaces are in no token, and a word that is not known is one token, however long."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(
        SENTENCES, trainers.WordPieceTrainer(vocab_size=200, special_tokens=["[UNK]"], show_progress=False)
    )
    return tokenizer


TOKENIZERS = [byte_level, bundled, unigram_with_metaspace, bpe_without_words, word_piece]


@pytest.fixture(params=TOKENIZERS, ids=lambda make: make.__name__)
def offsets(request: pytest.FixtureRequest, tmp_path: Path) -> TokenOffsets:
    make: Callable[[Path], Tokenizer] = request.param
    tokenizer = make(tmp_path)
    return lambda text: tokenizer.encode(text, add_special_tokens=False).offsets


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passages_module, "PIECE_CHARACTERS", PIECE)
    monkeypatch.setattr(passages_module, "SHARED_CHARACTERS", SHARED)


def random_text(seed: int, length: int) -> str:
    generator = random.Random(seed)
    words = []
    while length > 0:
        word = generator.choice(OTHERS if generator.random() < 0.2 else WORDS)
        words.append(word if generator.random() < 0.05 else f"{word} ")
        length -= len(words[-1])
    return "".join(words)


@pytest.mark.parametrize("seed", range(6))
def test_a_text_cut_in_pieces_has_the_passages_of_the_text_cut_at_once(
    seed: int, offsets: TokenOffsets, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = Document("d", random_text(seed, 20_000 + 501 * seed))
    asked: list[int] = []

    def watched(text: str) -> object:
        asked.append(len(text))
        return offsets(text)

    in_pieces = split_document(document, watched, window=31, overlap=5)
    assert max(asked) == PIECE
    assert len(asked) == len(range(SHARED, len(document.text), PIECE - SHARED))
    monkeypatch.setattr(passages_module, "PIECE_CHARACTERS", len(document.text))
    assert in_pieces == split_document(document, offsets, window=31, overlap=5)


@pytest.mark.parametrize(
    "word", ["x" * 9000, "xy" * 4600, " " * 9001, "Ünïcødé" * 1000, "7" * 8000, "🙂" * 7000]
)
def test_a_word_longer_than_a_piece_loses_no_character(
    word: str, offsets: TokenOffsets, small_pieces: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"{SENTENCES[0]} {word} {SENTENCES[1]}"
    in_pieces = text_offsets(text, offsets)
    monkeypatch.setattr(passages_module, "PIECE_CHARACTERS", len(text))
    at_once = text_offsets(text, offsets)
    assert (np.diff(in_pieces[:, 0]) >= 0).all()
    assert (np.diff(in_pieces[:, 1]) >= 0).all()
    covered = [np.zeros(len(text) + 1, dtype=bool) for _ in range(2)]
    for found, spans in zip(covered, (in_pieces, at_once), strict=True):
        for start, end in spans:
            found[start:end] = True
    visible = np.array([not character.isspace() for character in text] + [False])
    np.testing.assert_array_equal(covered[0] & visible, covered[1] & visible)


MEASURED = """
import resource, sys
from pathlib import Path
from mbc_cli import Document, Memory

def peak():  # in KiB; Linux's getrusage counts what the parent held when it started this process
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
    return status.read_text().split("VmHWM:")[1].split()[0]

memory = Memory.create(sys.argv[1], sys.argv[2], device="cpu")
text = Path(sys.argv[3]).read_text()
for length in (len(text) // 20, len(text)):
    report = memory.encode([Document(str(length), text[:length])])
    print(report.passages, peak())
"""


@pytest.mark.slow
def test_encoding_a_long_text_takes_a_few_bytes_of_memory_for_each_of_its_characters(tmp_path: Path) -> None:
    """By the operating system's count, after a text that is long enough to fill the batches.

    Bytes per character: the text and its passages 2, the spans of its tokens 4, twice while they are joined,
    and what is stored 4, as much again for what the allocator keeps. Tokenised at once it takes 270.
    """
    size, per_character = 2_400_000, 28
    adapter = save_adapter_directory(
        tmp_path,
        amortization={
            "document_t5": str(save_t5(tmp_path / "document-t5", layers=1)),
            "question_t5": str(save_t5(tmp_path / "question-t5", width=32, seed=2)),
            "document_tokens": 130,
            "question_tokens": 18,
        },
    )
    (tmp_path / "text").write_text(" ".join(SENTENCES) * (size // len(" ".join(SENTENCES)) + 1))
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(tmp_path / "store.mbc"), str(adapter), str(tmp_path / "text")],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (_, before), (passages, after) = [map(int, line.split()) for line in done.stdout.splitlines()]
    assert passages > 8000
    assert (after - before) * 1024 < size * per_character
