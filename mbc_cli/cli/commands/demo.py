"""``mbc demo``: see the memory at work on news that nobody has read before."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.options import Adapter, Device, Json, count


def demo(
    documents: Annotated[int, count("--documents", "News items to remember.")] = 1665,
    questions: Annotated[int, count("--questions", "Questions to ask about them.")] = 200,
    seed: Annotated[int, count("--seed", "Which news; the same seed, the same news.", least=0)] = 7,
    held_out: Annotated[
        bool,
        typer.Option("--held-out-templates", help="Sentences and questions in forms training never showed."),
    ] = False,
    adapter: Adapter = None,
    device: Device = "auto",
    json: Json = False,
) -> None:
    """Remember invented news, ask about it with and without the memory, show what it weighs.

    Names of people, companies and places are invented anew and occur in nothing the model was trained on,
    so an answer can only come from the memory. Questions about other such news show whether it is noticed
    that nothing in memory speaks to them.

    Examples:

      mbc demo

      mbc demo --documents 100 --questions 20 --seed 3

      mbc demo --held-out-templates --json
    """
    with output.progress("loading PyTorch"):
        from mbc_cli.evaluation.demonstration import demonstrate
    from mbc_cli.evaluation.measures import MEASURES
    from mbc_cli.evaluation.summary import stage_as_json
    from mbc_cli.memory import Memory

    with TemporaryDirectory(prefix="mbc-demo-") as directory:
        memory = Memory.create(Path(directory) / "demo.store", adapter, keep_text=False, device=device)
        output.note(f"remembering {documents} invented news items, then asking {questions} questions ...")
        shown = demonstrate(
            memory,
            documents=documents,
            questions=questions,
            seed=seed,
            templates="held-out" if held_out else "seen",
        )
    stage = shown.remembered
    sizes = [  # name in JSON, name in the table, bytes
        ("raw_text", "raw text", shown.text_bytes),
        ("text_zstd", "text, zstd", shown.zstd_text_bytes),
        ("vectors_float32", "vectors, float32", shown.vector_bytes),
        ("bank", "bank (codes on disk)", shown.code_bytes),
        ("store_without_texts", "store without texts", shown.store_bytes),
    ]
    if json:
        absent = {"questions": shown.absent_questions, "recognised": shown.recognised}
        output.write_json(
            {
                "memory": stage_as_json(stage, seed=seed),
                "none": stage_as_json(shown.without, seed=seed),
                "absent": absent,
                "bytes": {name: size for name, _, size in sizes},
            }
        )
        return
    for prediction in stage.predictions[:5]:
        mark = "right" if prediction.outcome == "right" else f"wrong, it is {prediction.question.answers[0]}"
        output.write(f"Q: {prediction.question.question}")
        output.write(f"A: {prediction.reply.answer}  ({mark})")
    questions = len(stage.predictions)
    exact, missed = (MEASURES[name].value for name in ("exact_match", "false_abstentions"))
    output.write_table(
        ["answered right", "questions", "of", "percent"],
        [
            ["with memory", *_share(exact(stage.predictions) or 0.0, questions)],
            ["without memory", *_share(exact(shown.without.predictions) or 0.0, questions)],
        ],
    )
    if shown.recognised is not None:
        output.write_table(
            ["found not to be in memory", "questions", "of", "percent"],
            [
                [
                    "questions about other news",
                    *_share(shown.recognised / shown.absent_questions, shown.absent_questions),
                ],
                ["questions about this news", *_share(missed(stage.predictions) or 0.0, questions)],
            ],
        )
    output.write_table(
        ["what is kept", "bytes", "per document"],
        [[label, size, round(size / stage.documents, 1)] for _, label, size in sizes],
    )
    output.write_table(
        ["time", "milliseconds"],
        [
            ["per document encoded", round(1000 * stage.encode_seconds / stage.documents, 2)],
            ["per question answered", round(1000 * stage.answer_seconds / questions, 2)],
        ],
    )


def _share(fraction: float, count: int) -> list[object]:
    return [round(fraction * count), count, round(100 * fraction, 1)]
