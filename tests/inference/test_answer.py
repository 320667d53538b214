"""Questions become answers: from the histogram of the whole bank, or from the passages selected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from mbc_store import Snapshot
from transformers import AutoModelForCausalLM

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import AdapterError, MbcError
from mbc_cli.memory import Memory
from tests.support.tiny_memories import numbered_documents

QUESTIONS = [
    "Who opened the museum?",
    "How many guests came to the opening in Lindholm?",
    "Where?",
    "When was the treasurer of Tarn elected, and by whom?",
    "What burned?",
]


def test_whole_bank_answers_never_read_the_codes(memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
    memory.encode(numbered_documents(6))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the codes were read")

    monkeypatch.setattr(Snapshot, "codes", refuse)
    monkeypatch.setattr(Snapshot, "iter_codes", refuse)

    answers = memory.answer(QUESTIONS)

    assert all(answer.from_memory and answer.sources == () for answer in answers)


def test_a_whole_bank_answer_reads_the_histogram_of_all_stored_codes(memory: Memory) -> None:
    memory.encode(numbered_documents(6))
    counts = np.zeros_like(memory.store.snapshot().code_counts())
    for _, codes, alive in memory.store.snapshot().iter_codes(100):
        for slot, level in np.ndindex(codes.shape[1:]):
            np.add.at(counts[slot, level], codes[alive, slot, level], 1)
    question = memory.tokenizers.encode_questions(QUESTIONS[:1])
    prompt = memory.tokenizers.encode_prompts(QUESTIONS[:1])
    with torch.inference_mode():
        encoding = memory.model.encode_questions(question.input_ids, question.attention_mask)
        prefix = memory.model.prefix(encoding, memory.model.attended_by_counts(torch.from_numpy(counts)))
        tokens = memory.model.generate(
            prefix, prompt.input_ids, prompt.attention_mask, stop_tokens=memory.tokenizers.stop_tokens
        )
    expected = memory.tokenizers.decode_answers(tokens)

    assert [answer.text for answer in memory.answer(QUESTIONS[:1])] == expected


def test_a_batch_of_questions_equals_one_by_one(memory: Memory) -> None:
    memory.encode(numbered_documents(6))
    together = memory.answer(QUESTIONS, batch_size=len(QUESTIONS))
    alone = [memory.answer([question])[0] for question in QUESTIONS]
    assert together == alone
    assert memory.answer(QUESTIONS, batch_size=2) == alone
    assert len({answer.text for answer in alone}) > 1
    assert memory.answer([]) == []


def test_a_streamed_answer_is_the_answer(memory: Memory) -> None:
    memory.encode(numbered_documents(6))
    for question in QUESTIONS:
        stream = memory.stream(question)
        pieces = list(stream)
        assert all(pieces)
        assert "".join(pieces) == memory.answer([question])[0].text
        assert stream.answer == memory.answer([question])[0]


def test_an_empty_memory_leaves_the_llm_untouched_and_says_so(memory: Memory) -> None:
    answers = memory.answer(QUESTIONS)

    assert not any(answer.from_memory for answer in answers)
    assert answers == memory.answer_without_memory(QUESTIONS)
    llm = AutoModelForCausalLM.from_pretrained(memory.model.config.base_model)
    prompt = memory.tokenizers.encode_prompts(QUESTIONS[:1])
    output = llm.generate(
        input_ids=prompt.input_ids,
        attention_mask=prompt.attention_mask,
        max_new_tokens=memory.model.config.answer_tokens,
        do_sample=False,
    )
    expected = memory.tokenizers.decode_answers(output[:, prompt.input_ids.shape[1] :])
    assert [answers[0].text] == expected


def test_a_stream_left_half_read_does_not_switch_kv_lora_off(memory: Memory) -> None:
    stream = memory.stream(QUESTIONS[0])  # of an empty memory, so without KV-LoRA
    next(iter(stream), None)
    memory.encode(numbered_documents(6))
    answers = memory.answer(QUESTIONS)
    del stream
    assert answers == memory.answer(QUESTIONS)


TWO, SEVEN = (f"1970-01-01T00:00:00.{number:06}Z" for number in (2, 7))


def test_filters_read_only_the_documents_that_match(
    memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    documents = [
        Document(f"d{number}", document.text, timestamp=number, metadata={"source": "abc"[number % 3]})
        for number, document in enumerate(numbered_documents(9))
    ]
    memory.encode(documents)
    only = Memory.create(tmp_path / "only.mbc", adapter_directory, device="cpu")
    only.encode([document for document in documents if 2 <= (document.timestamp or 0) < 7])
    narrow = Memory.create(tmp_path / "narrow.mbc", adapter_directory, device="cpu")
    narrow.encode([documents[4]])

    assert memory.answer(QUESTIONS, since=TWO, until=SEVEN) == only.answer(QUESTIONS)
    assert memory.answer(QUESTIONS, since=TWO, until=SEVEN, where={"source": "b"}) == narrow.answer(QUESTIONS)
    assert not memory.answer(QUESTIONS[:1], where={"source": "nowhere"})[0].from_memory


def test_an_adapter_that_reads_the_whole_bank_cannot_rank_passages(memory: Memory) -> None:
    with pytest.raises(MbcError, match="cannot rank"):
        memory.search(QUESTIONS)


@pytest.mark.parametrize(
    ("questions", "top_k", "message"),
    [(["Who?", "  "], None, "empty"), (["Who?"], 0, "at least 1"), ("Who?", None, "list of questions")],
)
def test_questions_that_cannot_be_asked_are_refused(
    memory: Memory, questions: list[str], top_k: int | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        memory.answer(questions, top_k=top_k)


def test_answers_depend_on_what_is_in_the_bank(
    memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    other = Memory.create(tmp_path / "other.mbc", adapter_directory, device="cpu")
    memory.encode(numbered_documents(3))
    other.encode([Document("x", "Storks are white."), Document("y", "Owls sleep.")])
    assert [a.text for a in memory.answer(QUESTIONS)] != [a.text for a in other.answer(QUESTIONS)]


def test_a_number_of_passages_is_refused_where_none_are_ranked(memory: Memory) -> None:
    memory.encode(numbered_documents(2))
    with pytest.raises(AdapterError, match="top_k is 3, but this adapter reads the whole bank"):
        memory.answer(QUESTIONS[:1], top_k=3)
