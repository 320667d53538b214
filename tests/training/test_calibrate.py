"""Calibration: learned from validation data, true of other data and other sizes of the bank, kept on disk."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import mbc_cli.training.calibrate as calibrate_module
from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import MbcError
from mbc_cli.memory import Memory
from mbc_cli.model.adapter import load_adapter, read_description, save_adapter, write_calibration
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.calibration import AnswerCalibration, Calibration
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.adapt import adapt
from mbc_cli.training.calibrate import (
    _Answered,
    _of_answers,
    calibrate,
    can_calibrate,
    expected_calibration_error,
)
from tests.support.calibrated_memories import CALIBRATION_SEED, TEST_SEED, matching_model, people
from tests.support.tiny_memories import CountedCalls
from tests.support.tiny_models import memory_config, select_config
from tests.support.training import tiny_select_config, tiny_training

BY_HAND = Calibration(
    score_weight=0.5,
    size_weight=-1,
    bias=-2,
    questions=1,
    passages=1,
    held_out_questions=1,
    held_out_passages=1,
    false_answer_rate=0.25,
    false_abstention_rate=0.125,
)


@pytest.fixture(scope="module")
def matching(tmp_path_factory: pytest.TempPathFactory) -> tuple[SelectMemoryModel, Tokenizers]:
    return matching_model(tmp_path_factory.mktemp("matching"))


def test_relevance_is_the_logistic_function_of_score_and_log_size() -> None:
    assert BY_HAND.relevance(10.0, 5) == pytest.approx(1 / (1 + math.exp(-(5 - math.log(5) - 2))))
    assert (BY_HAND.relevance(1e6, 1), BY_HAND.relevance(-1e6, 1)) == (1.0, 0.0)


@pytest.mark.parametrize("size", [1, 3, 40, 200])
def test_what_is_in_the_bank_is_told_from_what_is_not_on_unseen_documents_at_any_size(
    matching: tuple[SelectMemoryModel, Tokenizers], tmp_path: Path, size: int
) -> None:
    found = calibrate(*matching, *people(80, CALIBRATION_SEED))
    assert found is not None
    save_adapter(matching[0], tmp_path / "adapter", matching[1], {}, found)
    documents, questions = people(260, TEST_SEED)
    memory = Memory.create(tmp_path / "bank.mbc", tmp_path / "adapter", device="cpu")
    memory.encode(documents[:size])

    present = memory.answer([question.question for question in questions[:size]], require_memory=True)
    absent = memory.answer([question.question for question in questions[200:]], require_memory=True)

    assert np.mean([answer.from_memory for answer in present]) >= 0.9
    assert np.mean([answer.from_memory for answer in absent]) <= 0.1


def test_the_rates_are_of_documents_that_the_fit_has_not_seen(
    matching: tuple[SelectMemoryModel, Tokenizers],
) -> None:
    documents, questions = people(80, CALIBRATION_SEED)
    found = calibrate(*matching, documents, questions)
    assert found is not None
    assert found.questions + found.held_out_questions == 80
    assert found.passages + found.held_out_passages == 80
    strict = calibrate(*matching, documents, questions, threshold=1.0)
    lax = calibrate(*matching, documents, questions, threshold=0.0)
    assert strict is not None
    assert lax is not None
    assert (strict.false_answer_rate, strict.false_abstention_rate) == (0.0, 1.0)
    assert (lax.false_answer_rate, lax.false_abstention_rate) == (1.0, 0.0)


def test_questions_put_to_the_wrong_documents_cannot_calibrate(
    matching: tuple[SelectMemoryModel, Tokenizers],
) -> None:
    documents, questions = people(80, CALIBRATION_SEED)
    # Each is said to be about a document with nothing in common, so the best score tells nothing.
    turned = [
        Question(each.id, each.question, each.answers, (documents[n - 40].id,))
        for n, each in enumerate(questions)
    ]
    found = calibrate(*matching, documents, turned)
    assert found is None or found.false_abstention_rate + found.false_answer_rate > 0.7


def test_an_answer_is_trusted_by_what_was_found_and_by_how_sure_the_llm_was() -> None:
    by_hand = AnswerCalibration(
        relevance_weight=0.5,
        likelihood_weight=2.0,
        bias=1.0,
        questions=1,
        held_out_questions=1,
        expected_calibration_error=0.1,
    )
    odds = math.log(0.8 / 0.2)
    assert by_hand.confidence(0.8, -0.3) == pytest.approx(1 / (1 + math.exp(-(0.5 * odds - 0.6 + 1))))
    assert by_hand.confidence(0.8, -0.3) > by_hand.confidence(0.8, -0.4)
    assert by_hand.confidence(0.9, -0.3) > by_hand.confidence(0.8, -0.3)
    assert 0 <= by_hand.confidence(1.0, -1000.0) < by_hand.confidence(0.0, 0.0) < 1


def test_answers_that_are_right_when_the_llm_is_sure_can_be_told_from_the_others() -> None:
    """Rightness drawn with the chance that a likelihood stands for: the fit finds it, up to a few percent."""
    generator = np.random.default_rng(3)

    def answered(count: int) -> _Answered:
        likelihood = -generator.exponential(1.5, count)
        return _Answered(np.full(count, 0.9), likelihood, generator.random(count) < np.exp(likelihood))

    found = _of_answers(answered(600), answered(600))
    assert found is not None
    assert found.likelihood_weight > 0
    assert found.expected_calibration_error < 0.1
    assert found.confidence(0.9, -0.05) > 0.8 > 0.2 > found.confidence(0.9, -3.0)


def test_no_answer_right_or_too_few_answers_are_no_ground_for_confidence() -> None:
    some = _Answered(np.full(40, 0.9), -np.arange(40.0), np.arange(40) < 20)
    assert _of_answers(some, some) is not None
    assert _of_answers(replace(some, right=np.zeros(40, bool)), some) is None
    few = _Answered(np.full(4, 0.9), -np.arange(4.0), np.arange(4) < 2)
    assert _of_answers(few, some) is None
    assert _of_answers(some, few) is None


def test_the_calibration_error_is_the_distance_of_confidence_from_the_share_that_is_right() -> None:
    right = np.array([True, False, True, True])
    assert expected_calibration_error(np.array([0.5, 0.5, 1.0, 1.0]), right) == 0
    assert expected_calibration_error(np.full(4, 0.95), right) == pytest.approx(0.2)
    assert expected_calibration_error(np.array([0.1, 0.95, 0.1, 0.1]), right) == pytest.approx(
        0.9 * 0.75 + 0.95 / 4
    )


def test_too_little_data_gives_no_calibration(matching: tuple[SelectMemoryModel, Tokenizers]) -> None:
    documents, questions = people(80, CALIBRATION_SEED)
    assert calibrate(*matching, documents[:12], questions[:12]) is None
    assert calibrate(*matching, documents, []) is None
    one = [Question(f"q{n}", f"Who is {n}?", ("x",), (documents[0].id,)) for n in range(40)]
    assert calibrate(*matching, documents, one) is None


def test_questions_that_name_no_or_unknown_documents_are_left_out(
    matching: tuple[SelectMemoryModel, Tokenizers],
) -> None:
    documents, questions = people(80, CALIBRATION_SEED)
    stray = [Question("a", "Who?", ("x",)), Question("b", "Who?", ("x",), ("nowhere", documents[0].id))]
    assert calibrate(*matching, documents, [*questions, *stray]) == calibrate(*matching, documents, questions)
    unasked = Document("unasked", "nobody asks")
    assert calibrate(*matching, [*documents, unasked], questions) == calibrate(
        *matching, documents, questions
    )


@pytest.mark.parametrize("kind", ["whole-bank", "unquantised"])
def test_only_models_that_select_from_codes_can_be_calibrated(tmp_path: Path, kind: str) -> None:
    config = (
        memory_config(tmp_path)
        if kind == "whole-bank"
        else select_config(tmp_path, quantizer={"kind": "none"})
    )
    model, tokenizers = create_memory_model(config)
    assert not can_calibrate(model)
    with pytest.raises(ValueError, match="select"):
        calibrate(model, tokenizers, *people(80, CALIBRATION_SEED))


def test_a_calibration_survives_saving_and_replacing_without_a_change_of_fingerprint(
    matching: tuple[SelectMemoryModel, Tokenizers], tmp_path: Path
) -> None:
    save_adapter(*_arguments(matching, tmp_path))
    before = read_description(tmp_path)
    assert before["calibration"] is None
    assert load_adapter(tmp_path).calibration is None

    write_calibration(tmp_path, BY_HAND)

    assert load_adapter(tmp_path).calibration == BY_HAND
    assert read_description(tmp_path) == before | {"calibration": BY_HAND}
    assert not list(tmp_path.glob("*.part"))
    other = BY_HAND.model_copy(update={"threshold": 0.75})
    write_calibration(tmp_path, other)
    assert load_adapter(tmp_path).calibration == other


def test_a_calibration_that_makes_no_sense_is_a_damaged_adapter(
    matching: tuple[SelectMemoryModel, Tokenizers], tmp_path: Path
) -> None:
    save_adapter(*_arguments(matching, tmp_path), BY_HAND)
    content = yaml.safe_load((tmp_path / "config.yaml").read_text())
    content["calibration"]["threshold"] = 3
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(MbcError, match="threshold"):
        read_description(tmp_path)


def test_adapt_calibrates_on_validation_documents_only(tmp_path: Path) -> None:
    learned, validation = people(30, CALIBRATION_SEED), people(60, TEST_SEED)
    config = tiny_select_config(tmp_path / "models")
    training = tiny_training(max_steps=4, batch_size=10, learning_rate=1e-5)
    with CountedCalls(calibrate_module, "encode_texts") as calls:
        report = adapt(config, training, *learned, validation, tmp_path / "out", device="cpu")
    assert calls.count == 2  # the two halves
    loaded = load_adapter(tmp_path / "out")
    assert loaded.calibration == report.calibration
    again = calibrate(loaded.model, loaded.tokenizers, *validation, batch_size=10, seed=training.seed)
    assert again == report.calibration
    assert report.calibration is not None
    assert report.calibration.passages + report.calibration.held_out_passages == 60


def _arguments(
    matching: tuple[SelectMemoryModel, Tokenizers], directory: Path
) -> tuple[SelectMemoryModel, Path, Tokenizers, dict[str, str]]:
    return matching[0], directory, matching[1], {}
