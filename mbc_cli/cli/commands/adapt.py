"""``mbc adapt``: learn the memory modules for a frozen LLM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mbc_cli.cli import output, process
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.calibration_report import describe_calibration
from mbc_cli.cli.completion import presets
from mbc_cli.cli.options import Delimiter, Device, InputFormat, Json, OnError
from mbc_cli.errors import UsageError

if TYPE_CHECKING:
    from mbc_cli.corpus.documents import Document
    from mbc_cli.reporting import Advance
    from mbc_cli.training.config import TrainingConfig
    from mbc_cli.training.loop import ProgressReport

MADE_QUESTIONS = 4
"""Of each document, where none are given and the settings do not say how many."""


def adapt(
    train: Annotated[
        str,
        typer.Argument(metavar="TRAIN", help="Documents, or a dataset's file.", show_default=False),
    ],
    output_directory: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="DIR", help="Where the adapter goes.", show_default=False),
    ],
    questions: Annotated[
        str | None,
        typer.Option(
            "--questions", metavar="FILE", help="Questions on them, with answers; else they are made."
        ),
    ] = None,
    validation: Annotated[
        str | None, typer.Option("--validation", metavar="FILE", help="Documents to validate on.")
    ] = None,
    validation_questions: Annotated[
        str | None, typer.Option("--validation-questions", metavar="FILE", help="Questions to validate on.")
    ] = None,
    dataset: Annotated[
        str,
        typer.Option("--dataset", help="jsonl (two files); squad, streamingqa, archivalqa (one)."),
    ] = "jsonl",
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset", metavar="NAME|FILE", help="By name, or a YAML file.", autocompletion=presets
        ),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Such as training.epochs=3. Repeatable."),
    ] = None,
    show_questions: Annotated[
        int | None,
        typer.Option("--show-questions", metavar="N", min=1, help="Show N that are made, and stop."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --output.")
    ] = False,
    format: InputFormat = None,
    delimiter: Delimiter = None,
    on_error: OnError = "skip",
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Learn a memory for a frozen LLM from documents, questions and answers; writes an adapter folder.

    The LLM itself is not changed. A preset names it, with all dimensions and the training settings; --set
    changes single keys. Metrics, and the best and last checkpoints, lie in the adapter's folder 'training'.
    Validation also calibrates when an adapter that selects passages takes its memory to speak to a question.

    Without --questions they are made from the documents' own sentences, training.made_questions of each (4 if
    that is not set): a name, number, date or thing is left out and asked for. With --questions both are used.

    Examples:

      mbc adapt docs.jsonl --questions questions.jsonl --preset distilgpt2 -o news-adapter

      mbc adapt docs.jsonl --preset distilgpt2 -o news-adapter --show-questions 10

      mbc adapt train.csv --dataset streamingqa --preset gpt2-large --set training.epochs=10 -o adapter

      mbc adapt docs.jsonl --questions questions.jsonl --preset distilgpt2 -o news-adapter --resume
    """
    from mbc_cli.corpus.datasets import load_dataset
    from mbc_cli.presets import load_preset, preset_names

    if preset is None:
        raise UsageError("no preset is named", "name one with --preset: " + ", ".join(preset_names()))
    settings = load_preset(preset, assignments or [])

    bad = counted_bad_inputs(on_error)
    data = load_dataset(
        dataset,
        documents=train,
        questions=questions,
        split="train",
        bad=bad,
        needs_questions=False,
        sample=False,
        format=format,
        delimiter=delimiter,
    )
    training = settings.training
    if not data.answerable and not training.made_questions:
        training = training.model_copy(update={"made_questions": MADE_QUESTIONS})
    if show_questions is not None:
        _show_questions(data.documents, training, show_questions, json)
        return
    held_out = None
    if validation is not None:
        loaded = load_dataset(
            dataset,
            documents=validation,
            questions=validation_questions,
            bad=bad,
            needs_questions=False,
            format=format,
            delimiter=delimiter,
        )
        held_out = (loaded.documents, loaded.answerable)
    elif validation_questions is not None:
        raise UsageError("--validation-questions is given without --validation", "name the documents too")
    made = f", and {training.made_questions} made from each document" if training.made_questions else ""
    output.note(
        f"{len(data.documents):,} documents and {len(data.answerable):,} questions to learn from{made}"
    )

    with output.progress("loading PyTorch"):
        from mbc_cli.training.adapt import adapt as run

    with (
        process.told_if_interrupted(lambda: _saved(output_directory)),
        output.progress("adapting", unit="steps") as advance,
    ):
        on_progress = _shown(advance)
        report = run(
            settings.model,
            training,
            data.documents,
            data.answerable,
            held_out,
            output_directory,
            resume=resume,
            device=device,
            on_progress=on_progress,
        )
    found = report.calibration
    fields: dict[str, Any] = asdict(replace(report, calibration=None)) | {
        "directory": str(report.directory),
        "calibration": None if found is None else found.model_dump(),
        "skipped": bad.count,
    }
    if json:
        output.write_json(fields)
    else:
        shown = fields | {"calibration": None if found is None else describe_calibration(found)}
        output.write_fields({name.replace("_", " "): value for name, value in shown.items()})
    if settings.model.scores_can_be_calibrated and found is None:
        output.warn(
            "not calibrated: there was no validation, or too little to tell when the memory speaks to a "
            "question, so queries always read it; mbc adapter calibrate does it with more documents"
        )
    exit_if_skipped(bad)


def _show_questions(documents: Sequence[Document], training: TrainingConfig, count: int, json: bool) -> None:
    """Write a sample of the questions that training would make."""
    import random

    from mbc_cli.corpus.made_questions import all_made_questions

    made = all_made_questions(documents, per_document=training.made_questions, seed=training.seed)
    sample = random.Random(training.seed).sample(made, min(count, len(made)))
    for question in sample:
        if json:
            output.write_json(question)
        else:
            output.write(f"{question.question}\t{question.answers[0]}")


def _shown(advance: Advance) -> Any:
    """Return what moves the progress bar on, and tells of validations."""
    done = 0

    def on_progress(report: ProgressReport) -> None:
        nonlocal done
        advance(report.step - done, total=report.total_steps)
        done = report.step
        place = f"step {report.step}/{report.total_steps}"
        learned = [] if report.loss is None else [f"loss {report.loss:.4f}"]
        if report.validation is not None:
            found = report.validation
            tested = f"validation loss {found.loss:.4f}, EM {found.em:.1%}, F1 {found.f1:.1%}"
            output.note(f"{place}: {'; '.join([*learned, tested])}")
        elif learned and not output.stderr_is_terminal():
            output.detail(f"{place}: {learned[0]}")

    return on_progress


def _saved(output_directory: Path) -> str:
    """What an interrupted training leaves behind, and how it goes on."""
    from mbc_cli.training.checkpoints import Checkpoints

    steps = Checkpoints(output_directory / "training" / "checkpoints").steps()
    if not steps:
        return "no checkpoint was saved yet"
    return f"a checkpoint of step {steps[-1]} is saved in {output_directory}; go on from it with --resume"
