"""How text is found: by words, by vectors, by the memory's own selection."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModel, AutoTokenizer

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import MissingPackageError, ModelError, UsageError
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.bm25 import Bm25Index
from mbc_cli.evaluation.methods.registry import make_method
from mbc_cli.evaluation.methods.text_method import TextMethod
from mbc_cli.memory import Memory
from tests.support.calibrated_memories import TEST_SEED, people, save_calibrated_adapter
from tests.support.tiny_memories import numbered_documents

WORDS = st.sampled_from(
    ["the", "The", "museum", "Museum,", "harbour;", "of", "Åland", "14", "14th", "naïve", "東京"]
)
TEXTS = st.lists(WORDS, max_size=9).map(" ".join)


def naive_bm25(texts: Sequence[str], question: str, k1: float, b: float) -> list[float]:
    """Robertson and Zaragoza's formula with Lucene's idf and without the constant factor k1 + 1."""
    documents = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    lengths = [sum(words.values()) for words in documents]
    mean = sum(lengths) / len(lengths)
    scores = [0.0] * len(texts)
    for word in re.findall(r"\w+", question.lower()):
        having = sum(word in words for words in documents)
        idf = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
        for row, words in enumerate(documents):
            if words[word]:
                damping = k1 * (1 - b + b * lengths[row] / mean)
                scores[row] += idf * words[word] / (words[word] + damping)
    return scores


@given(st.lists(TEXTS, min_size=1, max_size=6), TEXTS, st.floats(0.1, 3), st.floats(0, 1))
def test_bm25_scores_as_its_formula(texts: list[str], question: str, k1: float, b: float) -> None:
    found = Bm25Index(texts, k1, b).scores(question)
    np.testing.assert_allclose(found, naive_bm25(texts, question, k1, b), rtol=1e-4, atol=1e-6)


def found_by(method: TextMethod, question: str, depth: int) -> list[tuple[str, int]]:
    (found,) = method.find([Question("q", question, ())], depth, batch_size=4)
    return [(each.passage.document_id, each.passage.index) for each in found]


def test_bm25_ranks_the_memorys_own_passages_the_latest_of_equals_first(
    select_memory: Memory, tmp_path: Path
) -> None:
    method = make_method("bm25", Setting(select_memory, tmp_path))
    assert isinstance(method, TextMethod)
    documents = [*numbered_documents(5), Document("again", numbered_documents(5)[3].text)]
    method.encode(documents, batch_size=4)
    select_memory.encode(documents)
    passages = method.texts.passages
    with select_memory.store.snapshot() as snapshot:
        kept = snapshot.passages(np.arange(snapshot.row_count))
        assert [(p.document_id, p.text) for p in passages] == [(p.document_id, p.text) for p in kept]
    scores = naive_bm25([passage.text for passage in passages], "museum treasurer No. 3", 1.5, 0.75)
    expected = sorted(
        (row for row, score in enumerate(scores) if score > 0), key=lambda row: (-round(scores[row], 5), -row)
    )
    found = found_by(method, "museum treasurer No. 3", len(passages))
    assert found == [(passages[row].document_id, passages[row].index) for row in expected]
    assert found.index(("again", 0)) < found.index(("d3", 0))


def test_a_document_that_comes_again_is_found_as_it_is_now(select_memory: Memory, tmp_path: Path) -> None:
    method = make_method("bm25", Setting(select_memory, tmp_path))
    assert isinstance(method, TextMethod)
    method.encode([Document("a", "An old harbour."), Document("b", "Rain.")], batch_size=4)
    assert found_by(method, "harbour", 3) == [("a", 0)]
    method.encode([Document("a", "A new museum.")], batch_size=4)
    assert found_by(method, "harbour", 3) == []
    assert found_by(method, "museum", 3) == [("a", 0)]


@pytest.mark.parametrize("name", ["bm25", "gold-text"])
def test_without_its_library_bm25_says_how_to_install_it(
    name: str, select_memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(MissingPackageError, match=r"bm25s.*mbc-memory\[evaluate\]"):
        make_method(name, Setting(select_memory, tmp_path))


def test_nothing_is_found_in_an_empty_bank(
    select_memory: Memory, encoder_directory: Path, tmp_path: Path
) -> None:
    for name, options in (("bm25", {}), ("dense", {"encoder": str(encoder_directory)})):
        method = make_method(name, Setting(select_memory, tmp_path, options=options))
        assert isinstance(method, TextMethod)
        assert found_by(method, "Who?", 3) == []


def test_dense_ranks_by_the_cosine_of_mean_states(
    select_memory: Memory, encoder_directory: Path, tmp_path: Path
) -> None:
    options = {"encoder": str(encoder_directory), "question_prefix": "q: ", "passage_prefix": "p: "}
    method = make_method("dense", Setting(select_memory, tmp_path, options=options))
    assert isinstance(method, TextMethod)
    documents = numbered_documents(9)
    method.encode(documents[:4], batch_size=3)
    method.encode(documents[4:], batch_size=3)
    tokenizer = AutoTokenizer.from_pretrained(encoder_directory)
    model = AutoModel.from_pretrained(encoder_directory).eval()

    @torch.no_grad()
    def vector(text: str) -> torch.Tensor:
        ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=64)
        return torch.nn.functional.normalize(model(**ids).last_hidden_state[0].mean(0), dim=0)

    question = "Who opened the museum?"
    passages = method.texts.passages
    asked = vector("q: " + question)
    expected = {passage: float(asked @ vector("p: " + passage.text)) for passage in passages}
    (found,) = method.find([Question("q", question, ())], len(passages), batch_size=2)
    assert {each.passage for each in found} == set(passages)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    assert [each.score for each in found] == pytest.approx(
        [expected[each.passage] for each in found], abs=1e-5
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, UsageError, "no encoder is given"),
        ({"encoder": "/nowhere/at/all"}, ModelError, "/nowhere/at/all"),
    ],
)
def test_dense_says_what_is_wrong_with_its_encoder(
    options: dict[str, object], error: type[Exception], message: str, select_memory: Memory, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        make_method("dense", Setting(select_memory, tmp_path, options=options))


@pytest.mark.slow
def test_text_finds_what_the_memory_finds_and_is_as_sure_of_it(tmp_path: Path) -> None:
    documents, questions = people(20, TEST_SEED)
    adapter = save_calibrated_adapter(tmp_path)
    memory = Memory.create(tmp_path / "memory.mbc", adapter, device="cpu")
    explained = []
    for name in ("memory", "text"):
        (tmp_path / name).mkdir()
        method = make_method(name, Setting(memory, tmp_path / name))
        method.encode(documents, batch_size=8)
        replies = method.reply(questions, batch_size=8)
        explained.append(method.explain(questions, replies, batch_size=8))
        assert method.threshold == 0.5
    for coded, text in zip(*explained, strict=True):
        assert coded.sources == text.sources
        assert coded.ranked == text.ranked
        assert coded.relevance == pytest.approx(text.relevance, abs=1e-5)
        assert coded.relevance_elsewhere == pytest.approx(text.relevance_elsewhere, abs=1e-5)
    assert all(reply.relevance is not None for reply in explained[1])


def test_an_adapter_that_reads_the_whole_bank_selects_no_text(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="reads the whole bank"):
        make_method("text", Setting(memory, tmp_path))
