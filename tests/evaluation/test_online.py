"""The online-adaptation protocol on a real store, with figures that can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Question
from mbc_cli.errors import MbcError
from mbc_cli.evaluation.bank_bytes import bank_bytes
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.methods.memory import MemoryMethod, VectorsMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory
from mbc_cli.evaluation.online import Stage, Stream, online
from mbc_cli.evaluation.vector_memory import VectorMemory
from mbc_cli.memory import Memory
from mbc_cli.model.config import MemoryConfig
from tests.support.planted_methods import Planted
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import memory_config, select_config

DOCUMENTS = numbered_documents(10)


def ask(number: int, *answers: str) -> Question:
    return Question(f"q{number}", f"Who opened museum {number}?", answers, (f"d{number}",))


def measured(stage: Stage, name: str) -> float | None:
    return MEASURES[name].value(stage.predictions)


def test_scores_are_those_of_the_memorys_own_answers(memory: Memory, tmp_path: Path) -> None:
    # Accept what this memory answers once it holds everything, for two questions of four.
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", memory.adapter_name, device="cpu")
    rehearsal.encode(DOCUMENTS)
    said = [answer.text for answer in rehearsal.answer([ask(number).question for number in range(4)])]
    assert all(text.split() for text in said)
    questions = [ask(number, said[number] if number < 2 else "something else") for number in range(4)]

    (stage,) = online(MemoryMethod(memory), Stream.of(DOCUMENTS, questions))

    assert (stage.documents, stage.arrived, len(stage.predictions)) == (10, 10, 4)
    assert measured(stage, "exact_match") == 0.5
    assert [prediction.reply.answer for prediction in stage.predictions] == said
    assert stage.peak_memory > 0


def test_a_question_is_asked_once_its_documents_are_in_the_bank(memory: Memory) -> None:
    questions = [ask(number, "Mira") for number in (0, 1, 5, 8)]
    questions.append(Question("both", "Who?", ("Mira",), ("d1", "d5")))
    questions.append(Question("anywhere", "Who?", ("Mira",)))

    stages = list(online(MemoryMethod(memory), Stream.of(DOCUMENTS, questions, [6, 3, 50])))

    assert [(stage.documents, len(stage.predictions)) for stage in stages] == [(3, 3), (6, 5), (10, 6)]
    assert memory.store.snapshot().document_count == 10


def test_questions_without_an_answer_are_asked_and_scored_by_nothing_but_abstaining(memory: Memory) -> None:
    stream = Stream.of(DOCUMENTS, [ask(0, "Mira"), ask(1), ask(2, "the")])
    assert [question.id for question in stream.questions] == ["q0", "q1"]
    assert [question.id for question in stream.left_out] == ["q2"]
    (stage,) = online(MemoryMethod(memory), stream)
    assert [prediction.scores is None for prediction in stage.predictions] == [False, True]


def test_the_no_memory_method_is_the_untouched_llm(memory: Memory) -> None:
    untouched = memory.answer_without_memory([ask(number).question for number in range(2)])
    questions = [ask(0, untouched[0].text), ask(1, "something else")]

    stages = online(NoMemory(memory), Stream.of(DOCUMENTS, questions, [1]))

    assert [measured(stage, "exact_match") for stage in stages] == [1.0, 0.5]
    assert memory.document_count == 0


def test_evaluating_twice_gives_the_same_predictions(memory: Memory, tmp_path: Path) -> None:
    stream = Stream.of(DOCUMENTS, [ask(number, "Mira") for number in range(4)], [4])
    second = Memory.create(tmp_path / "second.mbc", memory.adapter_name, device="cpu")
    first, again = (
        [stage.predictions for stage in online(MemoryMethod(each), stream)] for each in (memory, second)
    )
    assert first == again


def test_bytes_per_document_count_what_they_say(memory: Memory) -> None:
    memory.encode(DOCUMENTS)
    sizes = bank_bytes(memory)
    per_document = memory.store.snapshot().passage_count / 10
    assert sizes.packed == per_document * 5 * 4 / 8  # T=5 codes of 4 bits (K=16)
    assert sizes.float32 == per_document * 5 * 48 * 4  # T=5 vectors of the LLM's width, 48
    assert 0 < sizes.entropy <= sizes.packed
    assert sizes.stored > sizes.stored_codes > 0


@pytest.mark.parametrize(
    ("sizes", "message"), [([0], "at least 1"), ([1], "no question asks about the first 1 documents")]
)
def test_a_stream_that_cannot_be_followed_is_refused(sizes: list[int], message: str) -> None:
    with pytest.raises(MbcError, match=message):
        Stream.of(DOCUMENTS, [ask(3, "Mira")], sizes)


def test_no_documents_is_an_error() -> None:
    with pytest.raises(MbcError, match="no documents"):
        Stream.of([], [ask(0, "Mira")])


def test_unquantised_vectors_are_a_method_that_sees_the_same_stream(select_memory: Memory) -> None:
    questions = [ask(number, "Mira") for number in (0, 1, 7)]
    vectors = VectorMemory(select_memory.model, select_memory.tokenizers, adapter_name="same")
    vectors.encode(DOCUMENTS[:4])
    vectors.encode(DOCUMENTS[4:])
    said = [answer.text for answer in vectors.answer([question.question for question in questions])]
    accepting = [replace(question, answers=(text,)) for question, text in zip(questions, said, strict=True)]
    stream = Stream.of(DOCUMENTS, accepting, [4])

    other = VectorMemory(select_memory.model, select_memory.tokenizers, adapter_name="same")
    *_, of_vectors = online(VectorsMethod(other), stream)
    *_, of_codes = online(MemoryMethod(select_memory), stream)

    assert measured(of_vectors, "exact_match") == 1.0
    assert of_codes.predictions != of_vectors.predictions
    assert of_vectors.bytes.growing.keys() == {"vectors"}


def test_recall_is_the_share_of_questions_whose_document_is_among_the_best_passages(
    select_memory: Memory, tmp_path: Path
) -> None:
    rehearsal = Memory.create(tmp_path / "rehearsal.mbc", select_memory.adapter_name, device="cpu")
    rehearsal.encode(DOCUMENTS)
    texts = [ask(number).question for number in range(3)]
    found = [[source.document_id for source in sources] for sources in rehearsal.search(texts, top_k=50)]
    ranked = [list(dict.fromkeys(each)) for each in found]
    gold = (ranked[0][0], ranked[1][3], next(name for name in ranked[2] if name not in ranked[2][:5]))
    questions = [
        Question(f"q{number}", text, ("Mira",), (name,))
        for number, (text, name) in enumerate(zip(texts, gold, strict=True))
    ]

    (stage,) = online(MemoryMethod(select_memory), Stream.of(DOCUMENTS, questions))

    assert measured(stage, "recall_at_1") == pytest.approx(1 / 3)
    assert measured(stage, "recall_at_5") == pytest.approx(2 / 3)
    place = ranked[2].index(gold[2]) + 1
    assert measured(stage, "mrr") == pytest.approx((1 + 1 / 4 + 1 / place) / 3)


@pytest.mark.parametrize("make_config", [memory_config, select_config])
def test_an_adapter_without_quantiser_is_evaluated_from_vectors_in_memory(
    tmp_path: Path, make_config: Callable[..., MemoryConfig]
) -> None:
    directory = save_adapter_directory(tmp_path, make_config=make_config, quantizer={"kind": "none"})
    memory = VectorMemory.load(directory, device="cpu")
    assert VectorMemory.is_needed(directory)
    questions = [ask(number, "Mira") for number in range(3)]

    stages = list(online(MemoryMethod(memory), Stream.of(DOCUMENTS, questions, [3])))

    assert [stage.documents for stage in stages] == [3, 10]
    vector = memory.model.config.context_vectors * 48 * 4  # float32, of the LLM's width
    assert stages[1].bytes.growing == {"vectors": memory.passage_count * vector}


def test_only_taking_in_and_answering_are_timed() -> None:
    class Slow(Planted):
        def explain(self, questions, replies, *, batch_size):  # type: ignore[no-untyped-def]
            self.explained = len(questions)
            return [replace(reply, holds_answer=True) for reply in replies]

    method = Slow(says={"q0": "Mira"})
    (stage,) = online(method, Stream.of(DOCUMENTS, [ask(0, "Mira")]))
    assert method.explained == 1
    assert stage.predictions[0].reply.holds_answer
    assert stage.bytes.total == 7 * 10 + 3


def test_fewer_questions_are_drawn_by_the_seed_and_asked_in_their_order() -> None:
    stream = Stream.of(DOCUMENTS, [ask(number, "Mira") for number in range(10)], [6])
    drawn = stream.asking(5, seed=3)
    assert drawn == stream.asking(5, seed=3)
    assert drawn != stream.asking(5, seed=4)
    numbers = [stream.questions.index(question) for question in drawn.questions]
    assert len(numbers) == 5
    assert numbers == sorted(numbers)
    assert stream.asking(99, seed=3).questions == stream.questions
