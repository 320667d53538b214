"""Training: it learns, it repeats, it stops when told, and it leaves the frozen LLM alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.errors import MbcError
from mbc_cli.inference.encode import encode_texts
from mbc_cli.inference.forward import Windows
from mbc_cli.model.adapter import load_adapter
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.adapt import AdaptReport, ValidationData, adapt
from mbc_cli.training.checkpoints import read_metrics
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.data import build_training_set
from mbc_cli.training.loop import ProgressReport
from tests.support.training import (
    documents,
    questions,
    tiny_config,
    tiny_select_config,
    tiny_training,
)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> MemoryConfig:
    return tiny_config(tmp_path_factory.mktemp("models"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def run(
    config: MemoryConfig,
    output: Path,
    training: TrainingConfig,
    validation: ValidationData | None = None,
    **options: Any,
) -> AdaptReport:
    return adapt(config, training, documents(), questions(), validation, output, device="cpu", **options)


def metrics(tmp_path: Path, name: str, kind: str = "train") -> list[dict[str, Any]]:
    """The lines of one kind, without the clock."""
    rows = read_metrics(tmp_path / name / "training" / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows if row["kind"] == kind]


@pytest.mark.slow
def test_the_loss_falls_in_training_and_on_validation(tmp_path: Path) -> None:
    training = tiny_training(
        max_steps=40, batch_size=10, questions_per_document=2, learning_rate=5e-3, validate_every=20
    )
    config = tiny_config(tmp_path / "models", dropout=0.0)
    report = run(config, tmp_path / "out", training, validation=(documents(), questions()))
    losses = [row["answer"] for row in metrics(tmp_path, "out")]
    assert losses[-1] < losses[0] / 2
    assert (report.steps, report.stopped, report.questions) == (40, "all steps done", 10)
    validations = metrics(tmp_path, "out", "validation")
    assert [row["step"] for row in validations] == [20, 40]
    assert validations[1]["loss"] < validations[0]["loss"]
    loaded = load_adapter(tmp_path / "out", device="cpu")
    assert set(load_file(tmp_path / "out" / "memory.safetensors"))
    assert loaded.model.config == config
    windows = Windows.of(loaded.model, loaded.tokenizers)
    learned = build_training_set(documents(), questions(), loaded.tokenizers, windows)
    texts = [item.passage.text for item in learned.passages]
    _, errors = encode_texts(loaded.model, loaded.tokenizers, texts, batch_size=3)
    assert loaded.provenance["quantization_error"] == pytest.approx(errors.mean(), rel=1e-4)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(
    tmp_path: Path, config: MemoryConfig
) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        run(config, tmp_path / name, tiny_training(seed=seed))
    assert metrics(tmp_path, "a") == metrics(tmp_path, "b") != metrics(tmp_path, "c")
    first, second = (load_file(tmp_path / name / "memory.safetensors") for name in "ab")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_two_accumulated_batches_equal_one_of_twice_the_size(tmp_path: Path) -> None:
    # Copies of one document: whatever batch they fall into, the bank is that document, so a batch of four
    # and two accumulated batches of two have the same gradient.
    texts = [Document(f"d{n}", "Mira went to Tarn and stayed there.") for n in range(4)]
    asked = [Question(f"q{n}", "Where did Mira go?", ("Tarn",), (f"d{n}",)) for n in range(4)]
    config = tiny_config(
        tmp_path / "models", dropout=0.0, quantizer={"codebook_size": 16, "threshold_ema_dead_code": 0.0}
    )
    for name, size, count in (("doubled", 4, 1), ("accumulated", 2, 2)):
        training = tiny_training(batch_size=size, gradient_accumulation=count, max_steps=4)
        adapt(config, training, texts, asked, None, tmp_path / name, device="cpu")
    doubled, accumulated = (metrics(tmp_path, name) for name in ("doubled", "accumulated"))
    assert [row["step"] for row in accumulated] == [1, 2, 3, 4]
    for one, other in zip(doubled, accumulated, strict=True):
        assert one["answer"] == pytest.approx(other["answer"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=1e-3)


def test_the_frozen_llm_does_not_change_by_a_bit(tmp_path: Path, config: MemoryConfig) -> None:
    before = (Path(config.base_model) / "model.safetensors").read_bytes()
    run(config, tmp_path / "out", tiny_training())
    assert (Path(config.base_model) / "model.safetensors").read_bytes() == before
    loaded = load_adapter(tmp_path / "out", device="cpu").model.backbone.language_model.state_dict()
    frozen = load_file(Path(config.base_model) / "model.safetensors")
    trained = {name.replace("base_layer.", ""): value for name, value in loaded.items()}
    matched = 0
    for name, value in frozen.items():
        for candidate in [key for key in trained if key.endswith(name)]:
            assert torch.equal(trained[candidate], value)
            matched += 1
    assert matched >= len(frozen)


def test_training_stops_when_validation_no_longer_improves(tmp_path: Path, config: MemoryConfig) -> None:
    # A vanishing learning rate: no validation after the first can be better by loss than rounding allows.
    training = tiny_training(max_steps=50, learning_rate=1e-30, validate_every=2, patience=3, select_by="em")
    report = run(config, tmp_path / "out", training, validation=(documents(), questions()))
    assert report.stopped == "no better validation"
    assert report.steps == 8
    assert report.best_step == 2


def test_training_stops_after_its_minutes(tmp_path: Path, config: MemoryConfig) -> None:
    report = run(config, tmp_path / "out", tiny_training(max_steps=10_000, max_minutes=0.01))
    assert report.stopped == "out of time"
    assert 0 < report.steps < 10_000
    assert report.seconds >= 0.6


@pytest.mark.slow
def test_the_adapter_holds_the_best_weights_not_the_last(tmp_path: Path, config: MemoryConfig) -> None:
    seen: list[ProgressReport] = []
    # A huge rate after a small one ruins the model, so the best validation is not the last.
    training = tiny_training(
        max_steps=8,
        learning_rate=0.5,
        schedule={"kind": "constant", "warmup": 0.99},
        validate_every=1,
        select_by="loss",
        clip_norm=None,
    )
    report = run(
        config, tmp_path / "out", training, validation=(documents(), questions()), on_progress=seen.append
    )
    losses = {r.step: r.validation.loss for r in seen if r.validation is not None}
    best = min(losses, key=lambda step: losses[step])
    assert report.best_step == best < 8
    assert report.validation_loss == losses[best]
    kept = sorted(path.name for path in (tmp_path / "out/training/checkpoints").iterdir())
    assert kept == [f"step-{best:08d}", "step-00000008"]
    state = torch.load(tmp_path / f"out/training/checkpoints/step-{best:08d}/state.pt")["model"]
    model = load_adapter(tmp_path / "out", device="cpu").model
    saved = model.memory_state_dict()
    model.load_memory_state_dict(state)
    model.finish_training()  # which numbers the codes by usage, and so an adapter's are
    best_weights = model.memory_state_dict()
    assert all(torch.equal(best_weights[name], saved[name]) for name in saved)


def test_validation_changes_nothing_in_the_run(tmp_path: Path, config: MemoryConfig) -> None:
    run(config, tmp_path / "without", tiny_training())
    run(
        config,
        tmp_path / "with",
        tiny_training(validate_every=2),
        validation=(documents()[:2], questions()[:4]),
    )
    assert metrics(tmp_path, "with") == metrics(tmp_path, "without")


@pytest.mark.slow
def test_validation_reads_what_the_model_keeps_in_every_phase(tmp_path: Path) -> None:
    select = tiny_select_config(tmp_path / "select")  # vectors at first, then codes
    without_codes = tiny_config(tmp_path / "none", quantizer={"kind": "none"})
    for name, config in (("select", select), ("none", without_codes)):
        training = tiny_training(validate_every=3)
        run(config, tmp_path / "out" / name, training, validation=(documents(), questions()))
        validations = metrics(tmp_path / "out", name, "validation")
        assert [row["step"] for row in validations] == [3, 6]
        assert all(0 <= row["em"] <= row["f1"] <= 1 for row in validations)


def test_validation_asks_a_bounded_sample(tmp_path: Path, config: MemoryConfig) -> None:
    training = tiny_training(validate_every=3, validation_questions=3, validation_fraction=0.4)
    report = run(config, tmp_path / "out", training)
    assert report.passages == 3  # of five documents, two are held out
    assert len(metrics(tmp_path, "out", "validation")) == 2
    em = metrics(tmp_path, "out", "validation")[0]["em"]
    assert em * 3 == pytest.approx(round(em * 3))


def test_bfloat16_trains_and_keeps_the_weights_in_float32(tmp_path: Path, config: MemoryConfig) -> None:
    run(config, tmp_path / "out", tiny_training(mixed_precision="bf16", max_steps=3))
    assert {value.dtype for value in load_file(tmp_path / "out" / "memory.safetensors").values()} == {
        torch.float32
    }
    run(config, tmp_path / "plain", tiny_training(max_steps=3))
    low, full = (metrics(tmp_path, name)[0]["answer"] for name in ("out", "plain"))
    assert low != full
    assert low == pytest.approx(full, rel=0.05)


def test_float16_without_a_gpu_is_one_clear_error(tmp_path: Path, config: MemoryConfig) -> None:
    with pytest.raises(MbcError, match="fp16"):
        run(config, tmp_path / "out", tiny_training(mixed_precision="fp16"))


def test_metrics_reach_tensorboard_as_well(tmp_path: Path, config: MemoryConfig) -> None:
    run(config, tmp_path / "out", tiny_training(trackers=["tensorboard"], max_steps=2))
    assert list((tmp_path / "out/training").rglob("events.out.tfevents.*"))


def test_a_tracker_that_is_not_installed_is_named(
    tmp_path: Path, config: MemoryConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbc_cli.training.adapt.find_spec", lambda name: None)
    with pytest.raises(MbcError, match="tensorboard") as caught:
        run(config, tmp_path / "out", tiny_training(trackers=["tensorboard"]))
    assert "mbc-memory[tensorboard]" in str(caught.value.hint)


def test_a_diverging_loss_ends_the_run_with_its_step(tmp_path: Path, config: MemoryConfig) -> None:
    with pytest.raises(MbcError, match=r"the loss is (nan|inf) at step \d+"):
        run(config, tmp_path / "out", tiny_training(learning_rate=1e30, clip_norm=None, max_steps=20))


def test_the_report_and_the_card_say_what_was_learned_from(tmp_path: Path, config: MemoryConfig) -> None:
    report = run(config, tmp_path / "out", tiny_training(max_steps=2))
    assert replace(report, seconds=0.0) == AdaptReport(
        directory=tmp_path / "out",
        steps=2,
        total_steps=2,
        seconds=0.0,
        stopped="all steps done",
        passages=5,
        questions=10,
        skipped_questions=0,
        best_step=None,
        validation_loss=None,
        validation_em=None,
    )
    progress = json.loads((tmp_path / "out/training/checkpoints/step-00000002/progress.json").read_text())
    assert progress["step"] == 2


def test_documents_without_questions_train_on_those_made_from_their_text(
    tmp_path: Path, config: MemoryConfig
) -> None:
    training = tiny_training(max_steps=3, made_questions=2, validation_fraction=0.4)
    report = adapt(config, training, documents(), [], None, tmp_path / "made", device="cpu")
    assert 0 < report.questions <= 2 * len(documents())
    assert report.validation_loss is not None


def test_made_questions_stand_beside_those_that_are_given(tmp_path: Path, config: MemoryConfig) -> None:
    alone = run(config, tmp_path / "given", tiny_training(max_steps=1))
    both = run(config, tmp_path / "both", tiny_training(max_steps=1, made_questions=1))
    assert alone.questions < both.questions <= alone.questions + len(documents())
