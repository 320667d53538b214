"""Batches: a passage once however many questions, an order that is a function of the seed, long documents."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import MbcError
from mbc_cli.inference.forward import Windows
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.config import ScheduleConfig, TrainingConfig
from mbc_cli.training.data import (
    BatchOrder,
    TrainingSet,
    build_training_set,
    hold_out,
)
from tests.support.training import documents, questions, tiny_config, tiny_training

WINDOWS = Windows(24, 3)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> Tokenizers:
    return Tokenizers.from_pretrained(tiny_config(tmp_path_factory.mktemp("models")))


def asked_in_epoch(data: TrainingSet, training: TrainingConfig, epoch: int) -> list[tuple[int, str]]:
    order = BatchOrder(data, training)
    first = epoch * order.batches_per_epoch
    batches = [order.batch(index) for index in range(first, first + order.batches_per_epoch)]
    return [(v.passage, question) for batch in batches for v in batch for question, _ in v.questions]


def test_every_question_is_asked_once_per_epoch(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    asked = asked_in_epoch(data, tiny_training(batch_size=5), epoch=3)
    assert Counter(question for _, question in asked) == Counter(q.question for q in questions())


def test_a_passage_stands_once_in_a_batch_with_all_its_questions(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    examples = BatchOrder(data, tiny_training(batch_size=10)).batch(0)
    assert sorted(example.passage for example in examples) == [0, 1, 2, 3, 4]
    batch = data.batch(examples, tokenizers)
    assert batch.document_ids.shape[0] == 5
    assert batch.question_ids.shape[0] == batch.answer_labels.shape[0] == 10
    assert torch.bincount(batch.question_document).tolist() == [2] * 5


def test_a_question_points_at_its_own_document_and_answer(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    batch = data.batch(BatchOrder(data, tiny_training()).batch(1), tokenizers)
    for row in range(len(batch.question_ids)):
        document = int(batch.question_document[row])
        labels = batch.answer_labels[row]
        answer = tokenizers.decode_answers(labels[labels >= 0][None])[0]
        question = tokenizers.question_tokenizer.decode(batch.question_ids[row], skip_special_tokens=True)
        text = tokenizers.document_tokenizer.decode(batch.document_ids[document], skip_special_tokens=True)
        assert answer in text
        assert any(name in question and name in text for name in ("Mira", "Jonas", "Ada", "Weil", "Okafor"))


def test_padding_reaches_only_to_the_longest_text_of_the_batch(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    batch = data.batch(BatchOrder(data, tiny_training()).batch(0), tokenizers)
    assert batch.document_mask.sum(1).max() == batch.document_ids.shape[1] < WINDOWS.window + 1
    assert batch.answer_mask.sum(1).max() == batch.answer_input_ids.shape[1]


def test_questions_per_document_groups_questions_of_one_passage(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    order = BatchOrder(data, tiny_training(batch_size=5, questions_per_document=2))
    assert order.batches_per_epoch == 1
    assert [len(example.questions) for example in order.batch(0)] == [2] * 5


def test_the_order_depends_on_the_seed_and_the_index_alone(tokenizers: Tokenizers) -> None:
    data = build_training_set(documents(), questions(), tokenizers, WINDOWS)
    forwards = BatchOrder(data, tiny_training())
    backwards = BatchOrder(data, tiny_training())
    expected = [forwards.batch(index) for index in range(12)]
    assert [backwards.batch(index) for index in reversed(range(12))] == expected[::-1]
    assert expected[:3] != expected[3:6]  # epochs differ
    other = BatchOrder(data, tiny_training(seed=6))
    assert [other.batch(index) for index in range(12)] != expected


def test_every_accepted_answer_is_learned_in_some_epoch(tokenizers: Tokenizers) -> None:
    question = Question("q", "Where?", ("Tarn", "Lindholm", "March"), ("d-Mira",))
    data = build_training_set(documents(), [question], tokenizers, WINDOWS)
    order = BatchOrder(data, tiny_training())
    assert {order.batch(epoch)[0].questions[0][1] for epoch in range(30)} == set(question.answers)


def test_length_buckets_hold_similar_lengths_and_lose_no_question(tokenizers: Tokenizers) -> None:
    texts = [Document(f"d{n}", "word " * (n % 20 + 1)) for n in range(80)]
    asked = [Question(f"q{n}", f"Which is {n}?", ("word",), (f"d{n}",)) for n in range(80)]
    data = build_training_set(texts, asked, tokenizers, Windows(200, 25))

    def spread(bucketed: bool) -> float:
        order = BatchOrder(data, tiny_training(batch_size=8, bucket_by_length=bucketed))
        widths = [[data.passages[v.passage].tokens for v in order.batch(i)] for i in range(10)]
        return sum(max(row) - min(row) for row in widths)

    assert spread(True) < spread(False) / 2
    training = tiny_training(batch_size=8, bucket_by_length=True)
    assert len(set(asked_in_epoch(data, training, epoch=1))) == 80


def test_a_long_document_is_learned_from_the_passage_with_the_answer(tokenizers: Tokenizers) -> None:
    filler = "The council met again and nothing of note was said by anyone. " * 6
    document = Document("long", f"{filler}At last Jonas   found the\nsilver key. {filler}")
    found = Question("q1", "What did Jonas find?", ("the Silver Key.",), ("long",))
    lost = Question("q2", "Why?", ("no such words",), ("long",))
    data = build_training_set([document], [found, lost], tokenizers, WINDOWS)
    by_question = {q.id: item for item in data.passages for q in item.questions}
    assert "silver key" in by_question["q1"].passage.text
    assert by_question["q1"].passage.index > 0
    assert by_question["q2"].passage.index == 0
    assert all(item.tokens <= WINDOWS.window for item in data.passages)


def test_of_several_documents_the_one_with_the_answer_is_learned(tokenizers: Tokenizers) -> None:
    question = Question("q", "Where did Jonas go?", ("Lindholm",), ("missing", "d-Mira", "d-Jonas"))
    data = build_training_set(documents(), [question], tokenizers, WINDOWS)
    assert [item.passage.document_id for item in data.passages] == ["d-Jonas"]


def test_unusable_questions_are_counted_and_none_left_is_an_error(tokenizers: Tokenizers) -> None:
    unusable = [Question("a", "Who?", ("x",), ("nowhere",)), Question("b", "Who?", (), ("d-Mira",))]
    assert build_training_set(documents(), questions() + unusable, tokenizers, WINDOWS).skipped == 2
    with pytest.raises(MbcError, match="none of the 2 questions") as caught:
        build_training_set(documents(), unusable, tokenizers, WINDOWS)
    assert "document_ids" in str(caught.value.hint)


def test_the_digest_changes_with_any_text(tokenizers: Tokenizers) -> None:
    first = build_training_set(documents(), questions(), tokenizers, WINDOWS).digest
    changed = [Document("d-Mira", "Mira went elsewhere."), *documents()[1:]]
    assert build_training_set(documents(), questions(), tokenizers, WINDOWS).digest == first
    assert build_training_set(changed, questions(), tokenizers, WINDOWS).digest != first


def test_held_out_questions_share_no_document_with_training() -> None:
    both = Question("q", "Who?", ("x",), tuple(d.id for d in documents()))
    training, held = hold_out(documents(), [*questions(), both], fraction=0.4, seed=1)
    ids = [{name for q in side for name in q.document_ids} for side in (training, held)]
    assert len(ids[1]) == 2
    assert not ids[0] & ids[1]
    assert len(training) + len(held) == len(questions())
    assert hold_out(documents(), questions(), 0.4, 1) == hold_out(documents(), questions(), 0.4, 1)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]), ("linear", [0.5, 1, 1, 1, 1, 0.775, 0.55, 0.325])],
)
def test_the_schedule_rises_holds_and_falls(kind: str, expected: list[float]) -> None:
    schedule = ScheduleConfig(kind=kind, warmup=0.25, hold=0.5, final=0.1)
    assert [schedule.factor(step, 8) for step in range(8)] == pytest.approx(expected)


def test_the_cosine_schedule_passes_its_middle_and_ends_at_its_final_rate() -> None:
    schedule = ScheduleConfig(kind="cosine", warmup=0, hold=0.5, final=0.2)
    factors = [schedule.factor(step, 100) for step in range(101)]
    assert factors[:51] == [1.0] * 51
    assert factors[75] == pytest.approx(0.6)
    assert factors[100] == pytest.approx(0.2)
    assert all(later <= earlier for earlier, later in pairwise(factors))
