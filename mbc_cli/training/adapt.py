"""Learn the memory of a frozen LLM from documents and questions: the work of ``mbc adapt``.

The output directory becomes the adapter; its folder ``training`` holds the run: ``run.yaml`` (what it was
started with), ``metrics.jsonl`` and ``checkpoints/`` (the best and the last). Once the adapter is written
that folder may be deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.corpus.made_questions import all_made_questions
from mbc_cli.errors import (
    DeviceError,
    MissingPackageError,
    OutputError,
    TrainingError,
    install_hint,
)
from mbc_cli.inference.encode import mean_quantization_error
from mbc_cli.inference.forward import Windows
from mbc_cli.inference.trust import remember_adapter
from mbc_cli.model.adapter import save_adapter
from mbc_cli.model.adapter_files import check_unused
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.calibrate import calibrate, can_calibrate
from mbc_cli.training.checkpoints import (
    Checkpoints,
    MetricsLog,
    check_run_record,
    run_record,
    write_run_record,
)
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.data import TrainingSet, build_training_set, hold_out
from mbc_cli.training.loop import ProgressReport, StopReason, TrainingLoop
from mbc_cli.training.validation import Validator

MEASURED_PASSAGES = 256
"""How many passages the recorded quantisation error is a mean of, at most."""

ValidationData = tuple[Sequence[Document], Sequence[Question]]


@dataclass(frozen=True, slots=True)
class AdaptReport:
    """What a run did. ``validation_*`` are those of the step whose weights the adapter holds.

    ``calibration`` is None for adapters that read the whole bank, without validation, and where validation
    could not tell when the memory speaks to a question.
    """

    directory: Path
    steps: int
    total_steps: int
    seconds: float
    stopped: StopReason
    passages: int
    questions: int
    skipped_questions: int
    best_step: int | None
    validation_loss: float | None
    validation_em: float | None
    calibration: Calibration | None = None


def adapt(
    config: MemoryConfig,
    training: TrainingConfig,
    documents: Sequence[Document],
    questions: Sequence[Question],
    validation: ValidationData | None,
    output_directory: Path,
    *,
    resume: bool = False,
    device: str = "auto",
    on_progress: Callable[[ProgressReport], None] | None = None,
) -> AdaptReport:
    """Train a memory for ``config.base_model`` and write it to ``output_directory`` as an adapter.

    Under ``accelerate launch`` every process calls this; the first one writes. The adapter holds the
    weights that did best in validation, or the last ones where there is none. Validation also calibrates
    when an adapter that selects passages takes its memory to speak to a question.

    Args:
        questions: may be empty where ``training.made_questions`` says how many to make of each document.
        validation: documents and questions that are not learned from; None holds out
            ``training.validation_fraction`` of the documents. Without questions they are made as well.
        resume: continue the run in ``output_directory`` from its last checkpoint, if it has one.
        device: ``auto`` (the best there is, or the launcher's choice), ``cpu``, or the kind of a GPU.
        on_progress: called in the first process after every report and validation.

    Raises:
        MbcError: the data cannot be used, the directory holds another run, or a package, device or model
            is missing; training has diverged.
        KeyboardInterrupt: stopped by the user; a single process has written a checkpoint to resume from.
    """
    run_directory = output_directory / "training"
    checkpoints = Checkpoints(run_directory / "checkpoints")
    if not resume:
        check_unused(output_directory)
        if checkpoints.steps():
            raise OutputError(
                f"{output_directory} already holds a training run",
                "resume it (--resume), or choose another output directory",
            )
    accelerator = build_accelerator(config, training, run_directory, device)
    try:
        set_seed(training.seed)
        model, tokenizers = create_memory_model(config, device=accelerator.device)
        # Every process starts from the same weights; what it draws in training is its own.
        set_seed(training.seed, device_specific=True)

        windows = Windows.of(model, tokenizers)
        questions = [*questions, *_made(documents, training)]
        if validation is not None and not validation[1]:
            validation = (validation[0], _made(validation[0], training))
        if validation is None and training.validation_fraction:
            questions, held_out = hold_out(documents, questions, training.validation_fraction, training.seed)
            validation = (documents, held_out)
        data = build_training_set(documents, questions, tokenizers, windows)
        model.prepare_training(data.token_ids(tokenizers))
        validator = None
        if validation is not None:
            validator = Validator(
                model, tokenizers, build_training_set(*validation, tokenizers, windows), training
            )

        record = run_record(config, training, data.digest, accelerator.num_processes)
        if checkpoints.steps():
            check_run_record(run_directory / "run.yaml", record)
        loop = TrainingLoop(
            model, tokenizers, data, training, accelerator, checkpoints, validator, on_progress
        )
        loop.resume()
        log = None
        if accelerator.is_main_process:
            write_run_record(run_directory / "run.yaml", record)
            log = MetricsLog(run_directory / "metrics.jsonl", from_step=loop.progress.step)
        reason = loop.run(log)

        best = loop.progress.best_step
        if best is not None and best != loop.progress.step:
            model.load_memory_state_dict(checkpoints.load(best)[1]["model"])
        model.finish_training()
        report = _report(loop, data, reason, output_directory)
        if accelerator.is_main_process:
            model.eval()
            error = mean_quantization_error(model, tokenizers, _some(data), batch_size=training.batch_size)
            provenance = _provenance(report, training) | {"quantization_error": error}
            if validation is not None and can_calibrate(model):
                found = calibrate(
                    model, tokenizers, *validation, batch_size=training.batch_size, seed=training.seed
                )
                report = replace(report, calibration=found)
            save_adapter(model, output_directory, tokenizers, provenance, report.calibration)
            remember_adapter(output_directory, model.fingerprint())
        accelerator.wait_for_everyone()
    finally:
        accelerator.end_training()
    return report


def _made(documents: Sequence[Document], training: TrainingConfig) -> list[Question]:
    """The questions that are made from the documents' own texts."""
    count = training.made_questions
    return all_made_questions(documents, per_document=count, seed=training.seed) if count else []


def build_accelerator(
    config: MemoryConfig, training: TrainingConfig, directory: Path, device: str
) -> Accelerator:
    """The `accelerate` object of a run: device, processes, precision and trackers.

    Raises:
        MbcError: the device, or the precision on it, is not to be had, or a tracker is not installed.
    """
    for tracker in training.trackers:
        if find_spec(tracker) is None:  # accelerate would leave it out without a word
            raise MissingPackageError(
                f"training.trackers names {tracker}, which is not installed",
                install_hint(tracker),
            )
    # accelerate keeps the first precision of a process for good; a second run may have another.
    AcceleratorState._reset_state()
    try:
        accelerator = Accelerator(
            cpu=device == "cpu",
            mixed_precision=training.mixed_precision,
            log_with=list(training.trackers) or None,
            project_dir=str(directory),
            kwargs_handlers=[
                # The quantiser keeps its own buffers equal on all ranks; training for selection begins
                # unquantised, which leaves the codebooks without a gradient.
                DistributedDataParallelKwargs(
                    broadcast_buffers=False, find_unused_parameters=not config.always_quantizes
                )
            ],
        )
    except (ValueError, ImportError) as error:
        raise TrainingError(str(error).strip().partition("\n")[0]) from error
    if device not in ("auto", accelerator.device.type):
        raise DeviceError(
            f"device is {device!r}, but training would run on {str(accelerator.device)!r}",
            "use auto or cpu; choose among GPUs with CUDA_VISIBLE_DEVICES or accelerate launch --gpu_ids",
        )
    if training.mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise TrainingError(
            "training.mixed_precision is fp16, which needs a GPU, but the device is cpu",
            "set it to bf16 or no",
        )
    if training.trackers:
        directory.mkdir(parents=True, exist_ok=True)
        accelerator.init_trackers("mbc", config=_flat_settings(training))
    return accelerator


def _report(loop: TrainingLoop, data: TrainingSet, reason: StopReason, directory: Path) -> AdaptReport:
    progress = loop.progress
    return AdaptReport(
        directory=directory,
        steps=progress.step,
        total_steps=loop.total_steps,
        seconds=progress.seconds,
        stopped=reason,
        passages=len(data.passages),
        questions=data.question_count,
        skipped_questions=data.skipped,
        best_step=progress.best_step,
        validation_loss=progress.best_loss,
        validation_em=progress.best_em,
    )


def _provenance(report: AdaptReport, training: TrainingConfig) -> dict[str, Any]:
    """How the adapter came about, for its ``config.yaml`` and model card."""
    return {
        "steps": report.steps,
        "adapter_step": report.best_step or report.steps,
        "stopped": report.stopped,
        "passages": report.passages,
        "questions": report.questions,
        "validation_loss": report.validation_loss,
        "validation_em": report.validation_em,
        "training": training.model_dump(mode="json"),
    }


def _some(data: TrainingSet) -> list[str]:
    """Passages of all parts of the training data, few enough to be encoded once more."""
    step = -(-len(data.passages) // MEASURED_PASSAGES)
    return [item.passage.text for item in data.passages[::step]] if step else []


def _flat_settings(training: TrainingConfig) -> dict[str, Any]:
    """Settings as trackers take them: no nesting, scalars and text only."""
    fields = training.model_dump(mode="json")
    schedule = fields.pop("schedule")
    fields |= {f"schedule.{name}": value for name, value in schedule.items()}
    return {
        name: value if isinstance(value, int | float | str) else str(value) for name, value in fields.items()
    }
