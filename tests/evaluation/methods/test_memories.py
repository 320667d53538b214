"""The methods that are memories: what their codes hold in words, and which adapters they accept."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.held_answers import contains_answer, holds_answer
from mbc_cli.evaluation.method import Setting
from mbc_cli.evaluation.methods.memory import kept_words
from mbc_cli.evaluation.methods.registry import make_method
from mbc_cli.memory import Memory
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import memory_config, save_language_model


@pytest.fixture
def telegrams(telegram_adapter_directory: Path, tmp_path: Path) -> Memory:
    return Memory.create(tmp_path / "t.mbc", telegram_adapter_directory, keep_text=False, device="cpu")


def test_the_words_kept_are_those_that_a_source_shows(telegrams: Memory) -> None:
    telegrams.encode(numbered_documents(5))
    for source in telegrams.search(["Who opened the museum?"], top_k=9)[0]:
        place = source.document_id, source.passage
        shown = kept_words(telegrams, [place])[place]
        assert shown
        assert source.telegram == " ".join(shown.split())


def test_a_telegram_holds_an_answer_only_if_its_words_were_kept(telegrams: Memory, tmp_path: Path) -> None:
    method = make_method("memory", Setting(telegrams, tmp_path))
    document = Document("d", "Mira Okafor opened the harbour museum.")
    method.encode([document], batch_size=2)
    kept = kept_words(telegrams, [("d", 0)])["d", 0]
    words = kept.split()
    lost = [word for word in document.text.rstrip(".").split() if word not in words]
    assert lost
    asked = [
        Question("kept", "Who?", (words[-1],), ("d",)),
        Question("lost", "Who?", (" ".join(document.text.rstrip(".").split()),), ("d",)),
        Question("in other words", "Who?", ("a person",), ("d",)),
        Question("unanswerable", "Who?", (), ()),
    ]
    replies = method.explain(asked, method.reply(asked, batch_size=2), batch_size=2)
    assert [reply.holds_answer for reply in replies] == [True, False, None, None]


def test_codes_that_are_no_words_say_nothing_of_answers(select_memory: Memory, tmp_path: Path) -> None:
    method = make_method("memory", Setting(select_memory, tmp_path))
    method.encode(numbered_documents(3), batch_size=2)
    asked = [Question("q", "Who?", ("Mira Okafor",), ("d0",))]
    (reply,) = method.explain(asked, method.reply(asked, batch_size=2), batch_size=2)
    assert reply.holds_answer is None


@pytest.mark.parametrize(
    ("text", "answers", "contained"),
    [
        ("It was opened by Mira Okafor.", ["the Mira Okafor!"], True),
        ("It was opened by Mira Okafor.", ["Mir", "kafor"], False),
        ("A score of 27.5 points", ["27.5"], True),
        ("A score of 275 points", ["27"], False),
        ("Anything", ["The", "$"], False),
        ("", ["x"], False),
        ("東京は日本の首都です", ["日本"], True),
        ("東京は日本の首都です", ["大阪"], False),
        ("Der Straßenname", ["straßenname"], True),
        ("One of two", ["three", "two"], True),
        ("x", [], False),
    ],
)
def test_an_answer_stands_in_a_text_as_whole_words(text: str, answers: list[str], contained: bool) -> None:
    assert contains_answer(text, answers) is contained


def test_what_was_lost_was_there() -> None:
    assert holds_answer("museum Okafor", ["Okafor"], ["Mira Okafor"]) is True
    assert holds_answer("museum", ["Okafor"], ["nothing", "Mira Okafor"]) is False
    assert holds_answer("museum", ["Okafor"], ["nothing"]) is None
    assert holds_answer("museum", ["Okafor"], []) is None


def test_vectors_of_exact_codes_are_refused(telegrams: Memory, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave vectors out: memory is the same"):
        make_method("vectors", Setting(telegrams, tmp_path))


def test_whole_bank_wants_an_adapter_of_its_method_and_of_the_same_llm(
    select_memory: Memory,
    memory: Memory,
    select_adapter_directory: Path,
    adapter_directory: Path,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    other = save_adapter_directory(
        tmp_path_factory.mktemp("other"), make_config=memory_config, base_model=str(other_llm(tmp_path))
    )

    def make(of: Memory, adapter: Path | None) -> object:
        options = {} if adapter is None else {"adapter": str(adapter)}
        return make_method("whole-bank", Setting(of, tmp_path, options=options))

    for of, adapter, message in (
        (select_memory, None, "no adapter is given"),
        (select_memory, select_adapter_directory, "has method 'select'"),
        (select_memory, other, "another LLM"),
        (memory, adapter_directory, "leave whole-bank out: memory is the same"),
    ):
        with pytest.raises(UsageError, match=message):
            make(of, adapter)


def other_llm(folder: Path) -> Path:
    return save_language_model(folder / "other-llm", seed=9)


def test_whole_bank_answers_as_a_memory_of_its_adapter(
    select_memory: Memory, memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    method = make_method(
        "whole-bank", Setting(select_memory, tmp_path / "own", options={"adapter": str(adapter_directory)})
    )
    documents = numbered_documents(6)
    method.encode(documents, batch_size=4)
    memory.encode(documents)
    asked = [Question("q", "Who opened the museum?", ("Mira Okafor",), ("d0",))]
    (reply,) = method.explain(asked, method.reply(asked, batch_size=2), batch_size=2)
    assert reply.answer == memory.answer(["Who opened the museum?"])[0].text
    assert (reply.sources, reply.ranked, reply.relevance) == ((), None, None)
    assert select_memory.document_count == 0
