"""Select-then-read: every passage is scored from its codes, and the best are read and named."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest
import torch

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import MbcError
from mbc_cli.inference import bank
from mbc_cli.memory import Memory
from tests.support.tiny_memories import CountedCalls, numbered_documents

QUESTIONS = ["Who opened the museum in Lindholm?", "Jonas Weil?", "How many guests came?", "Rain at Tarn?"]
DOCUMENTS = [
    Document(f"d{number}", document.text, timestamp=number, metadata={"source": "abc"[number % 3]})
    for number, document in enumerate(numbered_documents(23))
]


def scores_by_hand(memory: Memory) -> tuple[np.ndarray, list[tuple[str, int]]]:
    """Scores (questions, rows) over all living passages at once, and what each row is."""
    snapshot = memory.store.snapshot()
    rows = np.flatnonzero(snapshot.alive())
    question = memory.tokenizers.encode_questions(QUESTIONS)
    with torch.inference_mode():
        encoding = memory.model.encode_questions(question.input_ids, question.attention_mask)
        scores = memory.model.score(encoding, torch.from_numpy(snapshot.codes(rows).astype(np.int64)))
    return scores.numpy(), [(passage.document_id, passage.index) for passage in snapshot.passages(rows)]


def test_sources_are_the_best_scored_passages_best_first(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    scores, names = scores_by_hand(select_memory)
    for top_k in (1, 3, 20):
        answers = select_memory.answer(QUESTIONS, top_k=top_k)
        for answer, row in zip(answers, scores, strict=True):
            expected = np.sort(row)[::-1][:top_k]
            np.testing.assert_allclose([source.score for source in answer.sources], expected, rtol=1e-5)
            for source in answer.sources:
                named = row[names.index((source.document_id, source.passage))]
                assert named == pytest.approx(source.score, rel=1e-5)


def test_sources_carry_the_passages_own_text(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    texts = {document.id: document.text for document in DOCUMENTS}
    for answer in select_memory.answer(QUESTIONS):
        assert answer.from_memory
        assert len(answer.sources) == 2  # the adapter's own top_k
        for source in answer.sources:
            assert source.text == texts[source.document_id][source.start : source.end]


def test_the_answer_is_what_the_model_reads_in_its_sources(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    model, tokenizers, snapshot = (
        select_memory.model,
        select_memory.tokenizers,
        select_memory.store.snapshot(),
    )
    (answer,) = select_memory.answer(QUESTIONS[:1])
    rows = []
    for source in answer.sources:
        document = snapshot.document(source.document_id)
        assert document is not None
        rows.append(document.rows[source.passage])
    question, prompt = tokenizers.encode_questions(QUESTIONS[:1]), tokenizers.encode_prompts(QUESTIONS[:1])
    with torch.inference_mode():
        encoding = model.encode_questions(question.input_ids, question.attention_mask)
        codes = torch.from_numpy(snapshot.codes(rows).astype(np.int64))[None]
        prefix = model.prefix(encoding, codes, torch.tensor([[s.score for s in answer.sources]]))
        tokens = model.generate(
            prefix, prompt.input_ids, prompt.attention_mask, stop_tokens=tokenizers.stop_tokens
        )
    assert tokenizers.decode_answers(tokens) == [answer.text]


def test_a_batch_of_questions_equals_one_by_one(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    together = select_memory.answer(QUESTIONS, batch_size=len(QUESTIONS))
    for answer, question in zip(together, QUESTIONS, strict=True):
        (alone,) = select_memory.answer([question])
        assert alone.text == answer.text
        assert [(s.document_id, s.passage) for s in alone.sources] == [
            (s.document_id, s.passage) for s in answer.sources
        ]


@pytest.mark.parametrize("cached_bytes", [0, 2**20])
def test_reading_the_codes_in_chunks_changes_nothing(
    select_memory: Memory, monkeypatch: pytest.MonkeyPatch, cached_bytes: int
) -> None:
    select_memory.encode(DOCUMENTS)
    whole = select_memory.search(QUESTIONS, top_k=7)
    monkeypatch.setattr(bank, "ROWS_READ", 7)
    monkeypatch.setattr(bank, "CACHED_CODE_BYTES", cached_bytes)
    again = Memory.open(str(select_memory.store.location), device="cpu")
    for _ in ("streamed", "kept where it fits"):
        chunked = again.search(QUESTIONS, top_k=7)
        for one, other in zip(whole, chunked, strict=True):
            np.testing.assert_allclose([s.score for s in one], [s.score for s in other], rtol=1e-5)
            assert [(s.document_id, s.passage) for s in one] == [(s.document_id, s.passage) for s in other]


def test_of_equally_good_passages_the_newest_is_read(select_memory: Memory) -> None:
    select_memory.encode([Document(name, "The same in every one.") for name in "caebd"])
    (sources,) = select_memory.search(QUESTIONS[:1], top_k=3)
    assert [source.document_id for source in sources] == ["d", "b", "e"]
    assert len({source.score for source in sources}) == 1


def test_the_newest_of_near_equal_passages_is_read_only_where_that_is_preferred(
    select_memory: Memory,
) -> None:
    text = DOCUMENTS[0].text
    for name, time in (("newer", "2026-05-03"), ("older", "2026-05-01"), ("timeless", None)):
        select_memory.encode([Document(name, text, timestamp=time)])
    (plain,) = select_memory.answer(QUESTIONS[:1], top_k=1)
    (preferring,) = select_memory.answer(QUESTIONS[:1], top_k=1, prefer_newer=True)
    assert plain.sources[0].document_id == "timeless"  # written last
    assert preferring.sources[0].document_id == "newer"
    assert preferring.score == plain.score
    (found,) = select_memory.search(QUESTIONS[:1], top_k=3, prefer_newer=True)
    assert [source.document_id for source in found] == ["newer", "older", "timeless"]
    stream = select_memory.stream(QUESTIONS[0], top_k=1, prefer_newer=True)
    assert stream.sources == preferring.sources


def test_a_whole_bank_has_no_newest_passage_to_prefer(memory: Memory) -> None:
    memory.encode(DOCUMENTS[:2])
    with pytest.raises(MbcError, match="prefer_newer"):
        memory.answer(QUESTIONS[:1], prefer_newer=True)


def test_more_than_the_llm_can_hold_is_refused_in_one_line(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    with pytest.raises(MbcError, match="the LLM has 256") as caught:
        select_memory.answer(QUESTIONS, top_k=1000)
    assert "top_k" in (caught.value.hint or "")
    with pytest.raises(MbcError, match="shorter question"):
        select_memory.answer(["Who? " * 200])
    with pytest.raises(MbcError, match="shorter question"):
        select_memory.answer_without_memory(["Who? " * 200])


def test_codes_stay_in_memory_from_the_second_reading_on(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    select_memory.search(QUESTIONS)
    assert select_memory._bank is not None
    assert select_memory._bank._chunks is None
    select_memory.search(QUESTIONS)
    with CountedCalls(select_memory._bank.snapshot, "iter_codes") as calls:
        select_memory.search(QUESTIONS, batch_size=1)
    assert calls.count == 0


def test_forgotten_and_replaced_passages_are_never_selected(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    best = select_memory.search(QUESTIONS[:1], top_k=2)[0]
    with select_memory.store.transaction("forget") as transaction:
        transaction.forget([best[0].document_id])
    select_memory.encode([Document(best[1].document_id, "Nothing happened.")])

    found = select_memory.search(QUESTIONS[:1], top_k=1000)[0]

    assert best[0].document_id not in {source.document_id for source in found}
    replaced = [source for source in found if source.document_id == best[1].document_id]
    assert [source.text for source in replaced] == ["Nothing happened."]
    assert len(found) == select_memory.store.snapshot().passage_count


def test_filters_select_only_among_the_documents_that_match(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    first, last = (datetime(1970, 1, 1, microsecond=number) for number in (3, 17))
    for sources in select_memory.search(
        QUESTIONS, top_k=1000, since=first, until=last, where={"source": "b"}
    ):
        assert {source.document_id for source in sources} == {"d4", "d7", "d10", "d13", "d16"}
    nothing = select_memory.answer(QUESTIONS, where={"source": "nowhere"})
    assert not any(answer.from_memory or answer.sources for answer in nothing)
    assert nothing == select_memory.answer_without_memory(QUESTIONS)


def test_a_streamed_answer_names_its_sources_before_its_text(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS)
    stream = select_memory.stream(QUESTIONS[0])
    (answer,) = select_memory.answer(QUESTIONS[:1])
    assert stream.sources == answer.sources
    assert "".join(stream) == answer.text


def test_padding_does_not_change_the_codes(select_memory: Memory) -> None:
    select_memory.encode(DOCUMENTS, batch_size=23)
    alone = Memory.create(f"{select_memory.store.location}-alone", select_memory.adapter_name, device="cpu")
    alone.encode(DOCUMENTS, batch_size=1)
    for document in DOCUMENTS:
        together = select_memory.store.snapshot().record(document.id).codes
        np.testing.assert_array_equal(together, alone.store.snapshot().record(document.id).codes)
