"""Protocols on planted methods, whose figures can be worked out by hand, and on tiny real memories."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import InputError, UsageError
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.method import Method, MethodBytes, Reply, Setting
from mbc_cli.evaluation.methods.registry import METHODS, MethodKind, make_method
from mbc_cli.evaluation.online import Stream
from mbc_cli.evaluation.protocols.adapt_again import adapt_again
from mbc_cli.evaluation.protocols.equal_memory import equal_memory
from mbc_cli.evaluation.protocols.knowledge import knowledge, recovered_bits
from mbc_cli.evaluation.protocols.locality import general_questions, locality
from mbc_cli.evaluation.protocols.probes import probes
from mbc_cli.evaluation.protocols.registry import PROTOCOLS
from mbc_cli.evaluation.protocols.retention import retention
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.evaluation.protocols.updates import CHANGED, contradictions, updates
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.memory import Memory
from mbc_cli.metrics import scorable
from mbc_cli.news.generator import generate_news, possible_answers
from tests.support.tiny_memories import numbered_documents

DOCUMENTS = tuple(numbered_documents(20))
QUESTIONS = tuple(Question(f"q{n}", f"Who opened museum {n}?", (f"Mira {n}",), (f"d{n}",)) for n in range(20))


@dataclass
class Keeping(Method):
    """Answers right about the documents it still holds: all of them, or the newest ``most``."""

    most: int | None = None
    name: str = "keeping"
    threshold: float | None = None
    held: list[Document] = field(default_factory=list)

    def encode(self, documents: Sequence[Document], *, batch_size: int) -> None:
        self.held = [*self.held, *documents]
        if self.most is not None:
            self.held = self.held[-self.most :]

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        names = {document.id for document in self.held}
        return [
            Reply(each.answers[0] if names.issuperset(each.document_ids) else "nobody") for each in questions
        ]

    def bytes(self) -> MethodBytes:
        return MethodBytes({"codes": float(sum(len(each.text) for each in self.held))})


@dataclass
class Reading(Keeping):
    """Finds the number that belongs to a question in the first, or the last, text that has its names."""

    last: bool = False

    def reply(self, questions: Sequence[Question], *, batch_size: int) -> list[Reply]:
        found = []
        for each in questions:
            names = re.findall(r"[A-Z]\w+ [A-Z]\w+", each.question)
            texts = [document.text for document in self.held if any(name in document.text for name in names)]
            numbers = [number for text in texts for number in re.findall(r"\b\d{2,3}\b", text)]
            found.append(Reply(" ".join(numbers[-1:] if self.last else numbers[:1])))
        return found


def setting(memory: AnyMemory, folder: Path, *methods: str, **changes: Any) -> ProtocolSetting:
    folder.mkdir(exist_ok=True)
    count = iter(range(1000))

    @contextmanager
    def make(name: str, options: Mapping[str, object]) -> Iterator[Method]:
        own = folder / f"method-{next(count)}"
        own.mkdir()
        yield make_method(name, Setting(fresh_memory(memory, own), own, options=options))

    given: dict[str, Any] = {"documents": DOCUMENTS, "questions": QUESTIONS, **changes}
    return ProtocolSetting(make=make, memory=memory, methods=methods, folder=folder, **given)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, make in {
        "keeps-all": lambda _: Keeping(),
        "forgets": lambda _: Keeping(8),
        "reads-first": lambda _: Reading(),
        "reads-last": lambda _: Reading(last=True),
    }.items():
        monkeypatch.setitem(METHODS, name, MethodKind(name, "planted", make))  # type: ignore[arg-type]


# Retention.


def test_retention_is_what_is_still_answered_of_the_first_documents(memory: Memory, tmp_path: Path) -> None:
    given = setting(memory, tmp_path / "p", "keeps-all", "forgets", options={"first": 6, "every": 3})
    found = retention(given).figures
    assert found["keeps-all"]["sizes"] == [6, 9, 12, 15, 18, 20]
    assert found["keeps-all"]["exact_match"] == [1] * 6
    # Of the first six the newest eight of 6, 9, 12, 15 documents hold 6, 5, 2 and 0.
    assert found["forgets"]["exact_match"] == [1, pytest.approx(5 / 6), pytest.approx(2 / 6), 0, 0, 0]
    assert (found["forgets"]["retained"], found["forgets"]["lowest"]) == (0, 0)
    assert found["forgets"]["largest_drop"] == pytest.approx(3 / 6)
    assert (found["keeps-all"]["retained"], found["keeps-all"]["largest_drop"]) == (1, 0)


def test_what_was_never_known_cannot_be_retained(memory: Memory, tmp_path: Path) -> None:
    result = retention(setting(memory, tmp_path / "p", "none", options={"first": 5}))
    assert result.figures["none"]["retained"] is None
    assert result.tables[0].rows[0][3] is None
    assert result.plots[0].series == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first": 0}, "at least 1"),
        ({"first": "many"}, "whole number"),
        ({"frist": 3}, "no setting 'frist'"),
        ({"first": 20}, "more documents than the first 20"),
    ],
)
def test_settings_that_make_no_sense_are_refused(
    memory: Memory, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises((UsageError, InputError), match=message):
        retention(setting(memory, tmp_path / "p", "none", options=options))


# Updates.


def test_contradictions_differ_in_one_number_and_ask_for_it() -> None:
    pairs, others = contradictions(12, seed=4)
    assert (len(pairs), len(others)) == (12, 120)
    assert (pairs, others) == contradictions(12, seed=4)
    for pair in pairs:
        old, new = pair.old.text.split(), pair.new.text.split()
        differing = [(a, b) for a, b in zip(old, new, strict=True) if a != b]
        assert len(differing) == 1
        assert pair.old_answer in differing[0][0]
        assert pair.new_answer in differing[0][1]
        assert pair.old.timestamp is not None
        assert pair.new.timestamp is not None
        assert pair.old.timestamp < pair.new.timestamp
    assert not {pair.old.text for pair in pairs} & {other.text for other in others}


def test_who_wins_a_contradiction_is_counted(memory: Memory, tmp_path: Path) -> None:
    given = setting(memory, tmp_path / "p", "reads-first", "reads-last", "none", options={"pairs": 10})
    found = updates(given).figures
    assert found["reads-first"]["old"] > 0.4
    assert found["reads-first"]["new"] == 0
    assert found["reads-last"]["new"] > 0.4
    assert found["no memory"]["neither"] == 1


def test_what_was_replaced_or_lies_before_the_filter_is_never_read(
    select_memory: Memory, tmp_path: Path
) -> None:
    result = updates(setting(select_memory, tmp_path / "p", options={"pairs": 3}))
    labels = [row[0] for row in result.tables[0].rows]
    assert labels == [
        *("memory, since the change", "memory, before the change"),
        *("memory, newer preferred", "memory, replaced"),
    ]  # fmt: skip
    store = Memory.open(tmp_path / "p" / "replaced" / "bank.mbc", select_memory.adapter_name, device="cpu")
    assert store.document_count == 3 + 120
    pairs, _ = contradictions(3, seed=0)
    both = Memory.open(tmp_path / "p" / "both" / "bank.mbc", select_memory.adapter_name, device="cpu")
    sources = both.search([pair.question for pair in pairs], top_k=200, since=CHANGED)
    assert {source.document_id for each in sources for source in each} == {pair.new.id for pair in pairs}


def test_a_memory_that_cannot_rank_has_a_dash_where_newer_ones_would_be_preferred(
    memory: Memory, tmp_path: Path
) -> None:
    result = updates(setting(memory, tmp_path / "p", options={"pairs": 2}))
    rows = {row[0]: row[1:] for row in result.tables[0].rows}
    assert rows["memory, newer preferred"] == [None, None, None]
    assert rows["memory, since the change"] != [None, None, None]


# Equal memory.


def test_a_method_that_keeps_fewer_documents_answers_about_fewer(memory: Memory, tmp_path: Path) -> None:
    given = setting(memory, tmp_path / "p", "keeps-all", "none", options={"shares": [0.5, 1.0]})
    result = equal_memory(given)
    assert result.figures.keys() == {"keeps-all"}  # what keeps nothing has no curve
    found = result.figures["keeps-all"]
    assert found["exact_match"] == [0.5, 1.0]
    lengths = [len(document.text) for document in DOCUMENTS]
    assert found["bytes"] == [sum(lengths[10:]), sum(lengths)]
    assert found["area"] == pytest.approx(0.75, abs=0.01)  # a straight line from 0.5 to 1 over the logarithm


def test_a_method_that_needs_more_bytes_has_less_area_though_it_answers_as_much(
    memory: Memory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heavy(Keeping):
        def bytes(self) -> MethodBytes:
            return MethodBytes({"vectors": 16 * super().bytes().total})

    monkeypatch.setitem(METHODS, "heavy", MethodKind("heavy", "planted", lambda _: Heavy()))  # type: ignore[arg-type]
    found = equal_memory(
        setting(memory, tmp_path / "p", "keeps-all", "heavy", options={"shares": [0.5, 1.0]})
    ).figures
    lengths = [len(document.text) for document in DOCUMENTS]
    least, most = math.log(sum(lengths[10:])), math.log(16 * sum(lengths))
    full, heavy = math.log(sum(lengths)), math.log(16 * sum(lengths[10:]))
    light_area = (0.75 * (full - least) + most - full) / (most - least)
    assert found["keeps-all"]["area"] == pytest.approx(light_area, abs=0.01)
    assert found["heavy"]["area"] == pytest.approx(0.75 * (most - heavy) / (most - least), abs=0.01)


@pytest.mark.parametrize("shares", [[], [0], [1.5], ["half"], True])
def test_shares_that_are_none_are_refused(memory: Memory, tmp_path: Path, shares: object) -> None:
    with pytest.raises(UsageError, match="setting shares is"):
        equal_memory(setting(memory, tmp_path / "p", "none", options={"shares": shares}))


# Knowledge.


def test_bits_recovered_lie_between_none_and_all_and_rise_with_what_is_right() -> None:
    for values in (2, 3, 28, 400):
        steps = [recovered_bits(values, share / 100) for share in range(101)]
        assert steps[0] == 0
        assert steps[100] == pytest.approx(torch.tensor(float(values)).log2().item(), abs=1e-5)
        assert all(a <= b + 1e-9 for a, b in pairwise(steps))
    assert recovered_bits(8, 1 / 8) == 0


def test_kinds_of_answers_are_drawn_from_as_many_values_as_are_counted() -> None:
    values = possible_answers()
    seen: dict[str, set[str]] = {}
    for item in generate_news(2500, seed=5, split="test", vocabulary="closed"):
        for kind, question in zip(item.answer_kinds, item.questions, strict=True):
            seen.setdefault(kind, set()).add(question.answers[0])
    assert seen.keys() == values.keys()
    for kind in ("role", "place", "number", "date"):
        assert 0.8 * values[kind] <= len(seen[kind]) <= values[kind], kind
    assert all(len(seen[kind]) <= values[kind] for kind in values)


def test_a_method_that_knows_everything_recovers_every_bit(memory: Memory, tmp_path: Path) -> None:
    given = setting(memory, tmp_path / "p", "keeps-all", "none", options={"documents": 30, "questions": 200})
    found = knowledge(given).figures
    assert found["keeps-all"]["share"] == pytest.approx(1)
    assert found["none"]["recovered_bits"] == 0
    assert found["none"]["per_code_bit"] is None
    size = sum(
        len(item.document.text) for item in generate_news(30, seed=0, split="test", vocabulary="closed")
    )
    assert found["keeps-all"]["per_code_bit"] == pytest.approx(found["bits"] / (8 * size))


# Locality, probes.


def test_questions_of_general_knowledge_are_forty_and_each_has_an_answer() -> None:
    questions = general_questions()
    assert len({question.question for question in questions}) == 40
    assert all(scorable(question.answers) for question in questions)


def test_the_llm_alone_answers_like_itself(memory: Memory, tmp_path: Path) -> None:
    result = locality(setting(memory, tmp_path / "p"))
    assert [row[0] for row in result.tables[0].rows] == ["memory, always read"]  # never calibrated
    assert result.figures["memory, always read"]["read"] == 1
    assert 0 <= result.figures["memory, always read"]["alike"] < 1


@pytest.mark.parametrize("kind", ["memory", "select_memory"])
def test_probes_compare_the_memory_with_the_llm_alone(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    made: Memory = request.getfixturevalue(kind)
    result = probes(setting(made, tmp_path / "p", options={"most": 7}))
    assert result.figures.keys() == {"memory", "no memory"}
    for figures in result.figures.values():
        assert 0 <= figures["recognised"] <= 1
        assert 0 <= figures["recalled"] <= 1


# Adapting again.


@pytest.mark.slow
def test_adapting_again_compares_four_adapters_and_leaves_the_memory_as_it_was(
    select_memory: Memory, tmp_path: Path
) -> None:
    before = {name: value.clone() for name, value in select_memory.model.memory_state_dict().items()}
    result = adapt_again(setting(select_memory, tmp_path / "p", options={"steps": 2}, batch_size=4))
    after = select_memory.model.memory_state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    labels = [row[0] for row in result.tables[0].rows]
    assert labels == [
        "as it was", "new period", "new period and replay", "mean of the weights before and after",
    ]  # fmt: skip
    changed = [result.figures[label]["codes_changed"] for label in labels]
    assert changed[0] == 0
    assert all(0 <= each <= 1 for each in changed)
    assert max(changed) > 0


def test_adapting_again_needs_something_to_learn_from_in_both_halves(memory: Memory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="in each half of the stream"):
        adapt_again(setting(memory, tmp_path / "p", questions=QUESTIONS[:5]))


def test_every_protocol_says_what_it_is() -> None:
    assert all(kind.what for kind in PROTOCOLS.values())
    assert Stream.of(DOCUMENTS, QUESTIONS).questions == QUESTIONS
