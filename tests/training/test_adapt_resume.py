"""A run that was killed and resumed has the losses of one that was not; a changed run does not resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import MbcError
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.adapt import adapt
from mbc_cli.training.checkpoints import Checkpoints, read_metrics
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.interruption import DeferredSignals
from mbc_cli.training.loop import ProgressReport
from tests.support.training import (
    documents,
    questions,
    tiny_config,
    tiny_select_config,
    tiny_training,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def config(tmp_path: Path) -> MemoryConfig:
    return tiny_config(tmp_path / "models")


def start(config: MemoryConfig, training: TrainingConfig, output: Path, **options: Any) -> None:
    data = options.pop("documents", documents())
    adapt(config, training, data, questions(), None, output, device="cpu", **options)


def losses(output: Path) -> list[dict[str, Any]]:
    rows = read_metrics(output / "training" / "metrics.jsonl")
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def assert_equal_runs(first: Path, second: Path) -> None:
    assert losses(first) == losses(second)
    weights = [load_file(path / "memory.safetensors") for path in (first, second)]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def worker(models: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "tests.support.adapt_worker", str(models), str(output)]


def write_worker_settings(models: Path, config: MemoryConfig, training: TrainingConfig) -> None:
    (models / "memory.json").write_text(config.model_dump_json())
    (models / "training.json").write_text(training.model_dump_json())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "settings"),
    [(signal.SIGKILL, {"save_every": 4}), (signal.SIGTERM, {"save_every": 100})],
    ids=["killed", "terminated"],
)
def test_a_process_that_a_signal_ends_resumes_to_the_same_losses_bit_for_bit(
    number: signal.Signals, settings: dict[str, Any], tmp_path: Path, config: MemoryConfig
) -> None:
    training = tiny_training(max_steps=40, log_every=1, **settings)
    start(config, training, tmp_path / "whole")
    write_worker_settings(tmp_path / "models", config, training)
    ended = tmp_path / "ended"
    process = subprocess.Popen(
        worker(tmp_path / "models", ended), cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    log = ended / "training" / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while not log.exists() or len(read_metrics(log)) < 6:
        assert process.poll() is None, "the worker ended before it was sent the signal"
        assert time.monotonic() < deadline, "the worker did not reach step 6 in time"
        time.sleep(0.01)
    process.send_signal(number)
    assert process.wait() == -number
    steps = Checkpoints(ended / "training" / "checkpoints").steps()
    assert steps
    assert max(steps) < 40
    start(config, training, ended, resume=True)
    assert_equal_runs(tmp_path / "whole", ended)


def assert_a_run_cut_at(step: int, config: MemoryConfig, training: TrainingConfig, directory: Path) -> None:
    """A run that fails at ``step`` and is resumed equals one that was never cut."""
    start(config, training, directory / "whole")

    def cut(report: ProgressReport) -> None:
        if report.step == step:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        start(config, training, directory / "cut", on_progress=cut)
    assert Checkpoints(directory / "cut/training/checkpoints").steps() == [step - 1]
    start(config, training, directory / "cut", resume=True)
    assert_equal_runs(directory / "whole", directory / "cut")


@pytest.mark.slow
def test_resuming_between_two_reports_keeps_the_running_means(tmp_path: Path, config: MemoryConfig) -> None:
    training = tiny_training(max_steps=8, save_every=3, log_every=4, gradient_accumulation=2)
    assert_a_run_cut_at(4, config, training, tmp_path)


@pytest.mark.slow
def test_select_then_read_resumes_before_it_starts_to_quantise(tmp_path: Path) -> None:
    # What it remembers of earlier batches decides its negatives and where k-means places its codes.
    config = tiny_select_config(tmp_path / "models")
    assert_a_run_cut_at(5, config, tiny_training(max_steps=10, save_every=4), tmp_path)
    rows = losses(tmp_path / "cut")
    assert ["perplexity" in row for row in rows] == [False] * 5 + [True] * 5


@pytest.mark.slow
def test_an_interrupted_run_saves_where_it_stopped(tmp_path: Path, config: MemoryConfig) -> None:
    training = tiny_training(max_steps=9)
    start(config, training, tmp_path / "whole")

    def press_control_c(report: ProgressReport) -> None:
        if report.step == 5:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        start(config, training, tmp_path / "stopped", on_progress=press_control_c)
    assert Checkpoints(tmp_path / "stopped/training/checkpoints").steps() == [5]
    start(config, training, tmp_path / "stopped", resume=True)
    assert_equal_runs(tmp_path / "whole", tmp_path / "stopped")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_the_end_of_the_block_a_second_one_does_not_and_an_ignored_one_never_comes(
    number: signal.Signals,
) -> None:
    def handle(received: int, frame: object) -> None:
        raise InterruptedError(received)

    reached: list[int | None] = []

    def send(times: int) -> None:
        with DeferredSignals() as signals:
            for _ in range(times):
                os.kill(os.getpid(), number)
            reached.append(signals.pending)

    before = signal.signal(number, handle)
    try:
        for times in (1, 2):
            with pytest.raises(InterruptedError):
                send(times)
            assert reached == [number]
            assert signal.getsignal(number) == handle
        signal.signal(number, signal.SIG_IGN)
        send(1)
        assert reached == [number, None]
    finally:
        signal.signal(number, before)


def test_a_finished_run_resumes_to_itself(tmp_path: Path, config: MemoryConfig) -> None:
    training = tiny_training(max_steps=2)
    start(config, training, tmp_path / "out")
    before = losses(tmp_path / "out")
    start(config, training, tmp_path / "out", resume=True)
    assert losses(tmp_path / "out") == before


def test_resume_refuses_changed_settings_and_names_them(tmp_path: Path, config: MemoryConfig) -> None:
    start(config, tiny_training(max_steps=2), tmp_path / "out")
    with pytest.raises(MbcError, match=r"training\.learning_rate was 0\.003, is 0\.5") as caught:
        start(config, tiny_training(max_steps=2, learning_rate=0.5), tmp_path / "out", resume=True)
    assert "max_steps" not in caught.value.message
    changed = config.model_copy(update={"answer_tokens": 7})
    with pytest.raises(MbcError, match=r"model\.answer_tokens was 3, is 7"):
        start(changed, tiny_training(max_steps=2), tmp_path / "out", resume=True)


def test_resume_refuses_changed_data(tmp_path: Path, config: MemoryConfig) -> None:
    start(config, tiny_training(max_steps=2), tmp_path / "out")
    other = [Document("d-Mira", "Mira stayed at home."), *documents()[1:]]
    with pytest.raises(MbcError, match="data was"):
        start(config, tiny_training(max_steps=2), tmp_path / "out", resume=True, documents=other)


@pytest.mark.slow
def test_a_time_limit_may_be_raised_when_resuming(tmp_path: Path, config: MemoryConfig) -> None:
    start(config, tiny_training(max_steps=4, max_minutes=1e-6), tmp_path / "out")
    assert len(losses(tmp_path / "out")) == 1
    start(config, tiny_training(max_steps=4, max_minutes=5), tmp_path / "out", resume=True)
    assert len(losses(tmp_path / "out")) == 4


def test_a_directory_with_a_run_is_not_overwritten(tmp_path: Path, config: MemoryConfig) -> None:
    start(config, tiny_training(max_steps=1), tmp_path / "out")
    with pytest.raises(MbcError, match="already holds"):
        start(config, tiny_training(max_steps=1), tmp_path / "out")


def test_a_damaged_checkpoint_is_named(tmp_path: Path, config: MemoryConfig) -> None:
    start(config, tiny_training(max_steps=1), tmp_path / "out")
    path = tmp_path / "out/training/checkpoints/step-00000001/state.pt"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(MbcError, match="step-00000001"):
        start(config, tiny_training(max_steps=1), tmp_path / "out", resume=True)


def test_checkpoints_without_the_record_of_their_run_are_refused(
    tmp_path: Path, config: MemoryConfig
) -> None:
    start(config, tiny_training(max_steps=1), tmp_path / "out")
    (tmp_path / "out/training/run.yaml").unlink()
    with pytest.raises(MbcError, match=r"checkpoints but no run\.yaml"):
        start(config, tiny_training(max_steps=2), tmp_path / "out", resume=True)


def test_leftovers_of_a_killed_write_are_not_checkpoints(tmp_path: Path, config: MemoryConfig) -> None:
    directory = tmp_path / "out/training/checkpoints"
    (directory / ".writing-step-00000002").mkdir(parents=True)
    (directory / ".writing-step-00000002/state.pt").write_bytes(b"half")
    start(config, tiny_training(max_steps=1), tmp_path / "out", resume=True)
    assert [path.name for path in directory.iterdir()] == ["step-00000001"]
