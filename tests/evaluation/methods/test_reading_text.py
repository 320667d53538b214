"""Passages read as text: by the memory's own reader, or in a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError, UsageError
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.registry import make_method
from mbc_cli.evaluation.methods.text_method import TextMethod
from mbc_cli.evaluation.online import Stream, online
from mbc_cli.evaluation.text_reader import PromptReader, ReadingOptions, text_reader
from mbc_cli.memory import Memory
from mbc_cli.model.llm.backbone import GeneratedTokens
from mbc_cli.model.llm.pretrained import load_tokenizer
from mbc_cli.news.generator import generate_news
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import telegram_config

COLOURS = ("red", "green", "blue", "black", "white", "grey", "pink", "gold")
DOCUMENTS = [Document(f"d{n}", f"House {n} is {colour}.") for n, colour in enumerate(COLOURS)]
QUESTIONS = [
    Question(f"q{n}", f"What is house {n}?", (colour,), (f"d{n}",)) for n, colour in enumerate(COLOURS)
]


class ReadsColours:
    """In place of the LLM: says the colour that the prompt's text gives the house that is asked about."""

    def __init__(self, memory: Memory) -> None:
        self._tokenizer = memory.tokenizers.language_tokenizer

    def __call__(
        self, prefix: None, ids: torch.Tensor, mask: torch.Tensor, **options: Any
    ) -> Iterator[GeneratedTokens]:
        said = [
            self._tokenizer(self._answer(self._tokenizer.decode(row[seen > 0].tolist())))["input_ids"]
            for row, seen in zip(ids, mask, strict=True)
        ]
        end = self._tokenizer.eos_token_id
        for place in range(1 + max(map(len, said))):
            step = [answer[place] if place < len(answer) else end for answer in said]
            yield GeneratedTokens(torch.tensor(step), torch.zeros(len(said)))

    @staticmethod
    def _answer(prompt: str) -> str:
        (asked,) = re.findall(r"What is house (\d+)\?", prompt)
        found = re.findall(rf"House {asked} is (\w+)", prompt)
        return f" {found[0]}\nmore" if found else " none"


@pytest.fixture
def whole_telegrams(tmp_path: Path) -> Memory:
    """A memory of telegrams that keeps every token."""
    adapter = save_adapter_directory(
        tmp_path,
        "llama",
        make_config=telegram_config,
        context_vectors=24,
        quantizer={"kind": "vocabulary", "kept": 1.0},
    )
    return Memory.create(tmp_path / "whole.mbc", adapter, device="cpu")


@pytest.mark.parametrize("name", ["bm25", "gold-text"])
@pytest.mark.parametrize(("kept", "expected"), [(DOCUMENTS, 1.0), ([Document("d0", "Rain.")], 0.0)])
def test_a_perfect_reader_is_right_where_the_text_was_found_and_nowhere_else(
    name: str,
    kept: Sequence[Document],
    expected: float,
    select_memory: Memory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    method = make_method(name, Setting(select_memory, tmp_path))
    monkeypatch.setattr(select_memory.model, "stream", ReadsColours(select_memory))
    asked = QUESTIONS if len(kept) > 1 else QUESTIONS[:1]
    (stage,) = online(method, Stream.of(kept, asked), batch_size=3)
    assert MEASURES["exact_match"].value(stage.predictions) == expected
    assert {each.outcome for each in stage.predictions} <= {"right", "not kept", "misread", "not found"}
    if expected:
        assert [each.reply.sources[0] for each in stage.predictions] == [each.id for each in DOCUMENTS]
        assert all(each.reply.holds_answer for each in stage.predictions)
        if name == "bm25":
            assert MEASURES["recall_at_1"].value(stage.predictions) == 1.0


@pytest.mark.slow
def test_the_bundled_small_llm_reads_the_news_that_it_is_given(tmp_path: Path) -> None:
    items = list(generate_news(12, seed=8))
    questions = [question for item in items for question in item.questions][::4]
    memory = Memory.create(tmp_path / "news.mbc", "news", device="cpu")
    scores = {}
    for name in ("none", "gold-text"):
        method = make_method(name, Setting(memory, tmp_path / name))
        (stage,) = online(method, Stream.of([item.document for item in items], questions))
        scores[name] = MEASURES["exact_match"].value(stage.predictions)
    assert scores["none"] == 0
    assert scores["gold-text"] is not None
    assert scores["gold-text"] >= 0.9


def test_text_through_kv_lora_answers_as_a_memory_that_keeps_every_token(
    whole_telegrams: Memory, tmp_path: Path
) -> None:
    documents = numbered_documents(6)
    questions = [Question(f"q{n}", f"Who opened No. {n}?", ("x",), (f"d{n}",)) for n in range(6)]
    (tmp_path / "text").mkdir()
    text = make_method("text", Setting(whole_telegrams, tmp_path / "text"))
    memory = make_method("memory", Setting(whole_telegrams, tmp_path))
    replies = []
    for method in (text, memory):
        method.encode(documents, batch_size=4)
        said = method.reply(questions, batch_size=4)
        replies.append([(reply.answer, reply.sources) for reply in said])
    assert replies[0] == replies[1]
    assert any(answer for answer, _ in replies[0])


def test_questions_with_nothing_to_read_are_answered_as_without_memory(
    select_memory: Memory, tmp_path: Path
) -> None:
    method = make_method("gold-text", Setting(select_memory, tmp_path))
    method.encode(DOCUMENTS, batch_size=4)
    asked = [Question("q", "What is house 3?", (), ()), QUESTIONS[3]]
    unread, read = method.reply(asked, batch_size=4)
    alone = select_memory.answer_without_memory(["What is house 3?"])[0].text
    assert (unread.answer, unread.sources) == (alone, ())
    assert read.sources == ("d3",)


@pytest.mark.parametrize("reader", ["kv-lora", "prompt"])
def test_an_empty_document_can_be_read(reader: str, whole_telegrams: Memory, tmp_path: Path) -> None:
    method = make_method("gold-text", Setting(whole_telegrams, tmp_path, options={"reader": reader}))
    method.encode([Document("empty", ""), *DOCUMENTS[1:]], batch_size=4)
    asked = [Question("q", "What is house 0?", ("red",), ("empty",)), QUESTIONS[1]]
    replies = method.explain(asked, method.reply(asked, batch_size=2), batch_size=2)
    assert [(reply.sources, reply.holds_answer) for reply in replies] == [(("empty",), None), (("d1",), True)]


def test_gold_text_reads_those_passages_of_its_documents_that_are_most_alike(
    select_memory: Memory, tmp_path: Path
) -> None:
    long = Document("long", " ".join(f"Room {n} of the long house has the number {n}." for n in range(9)))
    question = Question("q", "Which number has room 7?", ("7",), ("long",))

    def read(**options: object) -> list[str]:
        method = make_method("gold-text", Setting(select_memory, tmp_path, options=options))
        assert isinstance(method, TextMethod)
        method.encode([*DOCUMENTS, long], batch_size=4)
        (found,) = method.find([question], method.top_k, batch_size=4)
        return [each.passage.text for each in found]

    everything = read(top_k=10)
    assert len(everything) > 2
    assert everything[0].startswith("Room 0")
    assert everything[-1].endswith("8.")
    (best,) = read(top_k=1)
    assert len(read()) == 2  # as many as the memory reads
    assert "7" in best
    assert best in everything


def test_a_prompt_holds_text_and_question_once_and_begins_as_texts_do(select_memory: Memory) -> None:
    seen: list[str] = []
    tokenizer = select_memory.tokenizers.language_tokenizer

    def watch(
        prefix: None, ids: torch.Tensor, mask: torch.Tensor, **options: Any
    ) -> Iterator[GeneratedTokens]:
        seen.extend(tokenizer.decode(row[kept > 0].tolist()) for row, kept in zip(ids, mask, strict=True))
        yield GeneratedTokens(torch.zeros(len(ids), dtype=torch.int64), torch.zeros(len(ids)))

    select_memory.model.stream = watch  # type: ignore[method-assign]
    options = ReadingOptions(prompt="Text: {passages} End. {question}?")
    reader = text_reader(select_memory, options)
    reader.read(["Where is {passages}"], [["Rain in {question}.", "Snow."]], [[0.0, 0.0]], batch_size=2)
    assert seen == ["<|endoftext|>Text: Rain in {question}.\n\nSnow. End. Where is {passages}?"]


def test_an_llm_with_a_chat_template_is_asked_in_it(
    select_memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = load_tokenizer(str(select_memory.tokenizers.language_tokenizer.directory))
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}: {{ m.content }}]{% endfor %}>>"
    monkeypatch.setattr("mbc_cli.evaluation.text_reader.load_tokenizer", lambda place: tokenizer)
    reader = PromptReader(select_memory)
    filled = reader._filled("Who?", "Some text.")
    assert filled.startswith("[user: Some text.")
    assert filled.endswith("]>>")
    assert filled.count("Who?") == 1
    plain = PromptReader(select_memory, chat=False)._filled("Who?", "Some text.")
    assert plain == "<|endoftext|>Some text." + select_memory.model.config.prompt.replace(
        "{question}", "Who?"
    )


def test_text_too_long_for_the_llm_loses_its_end_and_a_question_too_long_is_refused(
    select_memory: Memory,
) -> None:
    reader = text_reader(select_memory, ReadingOptions())
    passages = [f"Passage {n} says that it rained in Lindholm." for n in range(40)]
    read = reader.read_text("Where did it rain?", passages)
    assert "\n\n".join(passages).startswith(read)
    assert 0 < len(read) < len("\n\n".join(passages))
    (answer,) = reader.read(["Where did it rain?"], [passages], [[0.0] * 40], batch_size=2)
    assert isinstance(answer, str)
    with pytest.raises(InputError, match="leaves no room for text"):
        reader.read_text("Where " * 300, passages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt": "{question}"}, r"prompt: it lacks \{passages\}"),
        ({"prompt": "{passages} {question} {passages}"}, r"prompt: it holds \{passages\} more than once"),
        ({"top_k": 0}, r"top_k: .*greater than or equal to 1 \(received 0\)"),
        ({"reader": "kv-lora"}, "reader is 'kv-lora', but the adapter's method is 'select'"),
        ({"k1": -1.0}, "k1: "),
        ({"b": 1.5}, "b: "),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_one_line(
    options: dict[str, object], message: str, select_memory: Memory, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=message):
        make_method("bm25", Setting(select_memory, tmp_path, options=options))


def test_the_memorys_own_reader_refuses_a_question_that_leaves_no_room(whole_telegrams: Memory) -> None:
    reader = text_reader(whole_telegrams, ReadingOptions())
    with pytest.raises(InputError, match="but the LLM has 256"):
        reader.read(["Who? " * 99], [["Some text."]], [[0.0]], batch_size=2)


def test_a_prompt_for_the_memorys_own_reader_is_refused(whole_telegrams: Memory, tmp_path: Path) -> None:
    options = {"prompt": "{passages}{question}"}
    with pytest.raises(UsageError, match="reads text without one"):
        make_method("bm25", Setting(whole_telegrams, tmp_path, options=options))
