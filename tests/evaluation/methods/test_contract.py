"""What every method keeps to, whatever it does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.method import RANKED, Method, Setting
from mbc_cli.evaluation.methods.registry import METHODS, kind_of, make_method
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.memory import Memory
from tests.support.tiny_memories import numbered_documents

Made = Callable[[str], Method]
DOCUMENTS = numbered_documents(7)
QUESTIONS = [
    Question("q0", "Who opened the museum?", ("Mira Okafor",), ("d2",)),
    Question("q1", "Who is the treasurer? No. 3", ("Jonas Weil", "Weil"), ("d3",)),
    Question("q2", "Where did it rain?", (), ()),
    Question("q3", "How many guests came?", ("312",), ("d4", "d6")),
]
CASES = [("select", name) for name in METHODS] + [
    ("telegram", name) for name in METHODS if name not in ("vectors", "whole-bank")
]


@pytest.fixture(params=CASES, ids=lambda case: " ".join(case))
def case(request: pytest.FixtureRequest) -> tuple[str, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def memories(
    select_adapter_directory: Path, telegram_adapter_directory: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Memory]:
    """Empty ones, which stay so."""
    folder = tmp_path_factory.mktemp("memories")
    adapters = {"select": select_adapter_directory, "telegram": telegram_adapter_directory}
    return {
        kind: Memory.create(folder / f"{kind}.mbc", adapter, device="cpu")
        for kind, adapter in adapters.items()
    }


@pytest.fixture
def memory(case: tuple[str, str], memories: Mapping[str, Memory]) -> Memory:
    return memories[case[0]]


@pytest.fixture
def options(case: tuple[str, str], adapter_directory: Path, encoder_directory: Path) -> Mapping[str, object]:
    of_method: dict[str, dict[str, object]] = {
        "whole-bank": {"adapter": str(adapter_directory)},
        "dense": {"encoder": str(encoder_directory)},
        "fine-tuning": {"batch": 2, "learning_rate": 1e-2},
        "bm25": {"top_k": 2},
    }
    return of_method.get(case[1], {})


@pytest.fixture
def make(case: tuple[str, str], memory: Memory, options: Mapping[str, object], tmp_path: Path) -> Made:
    """Makes the case's method anew, with a folder of that name."""

    def made(folder: str) -> Method:
        (tmp_path / folder).mkdir()
        # The method called memory fills the very memory that it is given.
        of = fresh_memory(memory, tmp_path / folder, keep_text=False) if case[1] == "memory" else memory
        return make_method(case[1], Setting(of, tmp_path / folder, seed=5, options=options))

    return made


def digest(memory: AnyMemory) -> str:
    state = hashlib.sha256()
    for name, tensor in memory.model.state_dict().items():
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        state.update(tensor.float().numpy().tobytes())
    return state.hexdigest()


def test_a_stream_in_parts_answers_as_one_taken_in_at_once(make: Made) -> None:
    parts, whole = make("parts"), make("whole")
    for first, last in ((0, 3), (3, 4), (4, 7)):
        parts.encode(DOCUMENTS[first:last], batch_size=2)
        parts.reply(QUESTIONS, batch_size=2)
    whole.encode(DOCUMENTS, batch_size=2)
    replies = [method.reply(QUESTIONS, batch_size=3) for method in (parts, whole)]
    assert [each.answer for each in replies[0]] == [each.answer for each in replies[1]]
    assert [each.sources for each in replies[0]] == [each.sources for each in replies[1]]


def test_the_shared_model_stays_as_it_was(make: Made, memory: Memory) -> None:
    asked = [question.question for question in QUESTIONS]
    before = digest(memory), [each.text for each in memory.answer_without_memory(asked)]
    trainable = [name for name, each in memory.model.named_parameters() if each.requires_grad]
    method = make("own")
    method.encode(DOCUMENTS, batch_size=4)
    replies = method.reply(QUESTIONS, batch_size=4)
    method.explain(QUESTIONS, replies, batch_size=4)
    method.bytes()
    assert (digest(memory), [each.text for each in memory.answer_without_memory(asked)]) == before
    assert [name for name, each in memory.model.named_parameters() if each.requires_grad] == trainable


def test_answers_do_not_depend_on_what_is_accepted(make: Made) -> None:
    method = make("own")
    method.encode(DOCUMENTS, batch_size=4)
    others = [replace(question, answers=("rain",)) for question in QUESTIONS]
    assert method.reply(QUESTIONS, batch_size=4) == method.reply(others, batch_size=4)


def test_explaining_leaves_answers_and_what_was_read(make: Made) -> None:
    method = make("own")
    method.encode(DOCUMENTS, batch_size=4)
    replies = method.reply(QUESTIONS, batch_size=4)
    explained = method.explain(QUESTIONS, replies, batch_size=4)
    assert [(e.answer, e.sources, e.relevance) for e in explained] == [
        (r.answer, r.sources, r.relevance) for r in replies
    ]
    for reply in explained:
        if reply.ranked is not None:
            read = tuple(dict.fromkeys(reply.sources))
            assert reply.ranked[: len(read)] == read
            assert len(set(reply.ranked)) == len(reply.ranked) <= RANKED


def test_what_grows_grows_with_the_documents_and_what_is_fixed_does_not(make: Made) -> None:
    method = make("own")
    method.encode(DOCUMENTS[:2], batch_size=4)
    few = method.bytes()
    method.encode(DOCUMENTS[2:], batch_size=4)
    many = method.bytes()
    assert few.growing.keys() == many.growing.keys()
    assert all(0 < few.growing[part] <= many.growing[part] for part in few.growing)
    assert sum(few.growing.values()) < sum(many.growing.values()) or not many.growing
    assert {k: v for k, v in few.fixed.items() if k != "dictionary"} == {
        k: v for k, v in many.fixed.items() if k != "dictionary"
    }
    assert many.total == sum(many.growing.values()) + sum(many.fixed.values())
    if many.growing:
        raw = sum(len(document.text.encode()) for document in DOCUMENTS)
        assert many.alternatives["text, raw"] == raw


def test_no_questions_have_no_replies(make: Made) -> None:
    method = make("own")
    method.encode(DOCUMENTS[:2], batch_size=4)
    assert method.reply([], batch_size=4) == []
    assert method.explain([], [], batch_size=4) == []


def test_an_option_that_is_not_known_is_named_with_the_method(
    case: tuple[str, str], memory: Memory, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=f"method {case[1]}: unknown 'tpo_k'"):
        make_method(case[1], Setting(memory, tmp_path, options={"tpo_k": 3}))


def test_every_setting_of_the_grid_is_accepted_and_the_first_is_the_usual_one(
    case: tuple[str, str], memory: Memory, options: Mapping[str, object], tmp_path: Path
) -> None:
    grid = kind_of(case[1]).grid
    assert grid[0] == {}
    for number, settings in enumerate(grid):
        folder = tmp_path / f"grid-{number}"
        folder.mkdir()
        make_method(case[1], Setting(memory, folder, options={**options, **settings}))
