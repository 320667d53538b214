"""Encode, ask and evaluate from Python, without the command line.

    python examples/python_api.py [ADAPTER]

ADAPTER is a directory written by `mbc adapt`, a hub id, or nothing for the bundled default.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mbc_cli import Document, Memory, Question
from mbc_cli.evaluation.measures import MEASURES
from mbc_cli.evaluation.methods.memory import MemoryMethod
from mbc_cli.evaluation.methods.no_memory import NoMemory
from mbc_cli.evaluation.online import Stream, online

DOCUMENTS = [
    Document("museum", "Mira Okafor opened the harbour museum in Lindholm.", title="Museum"),
    Document("vote", "Thomas Marlow, the treasurer of Brant Studios, was elected in Osby on 4 August."),
    Document("fire", "Ada Brandt escaped when flames swept Granta Hospital in Pool.", timestamp="2026-05-01"),
]
QUESTIONS = [
    Question("q1", "Who opened the harbour museum in Lindholm?", ("Mira Okafor",), ("museum",)),
    Question("q2", "Which firm or body is tied to Thomas Marlow?", ("Brant Studios",), ("vote",)),
    Question("q3", "Who was mentioned with Granta Hospital in Pool?", ("Ada Brandt",), ("fire",)),
]


def main(adapter: str | None = None) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        Memory.create(Path(directory) / "news.mbc", adapter) as memory,
    ):
        report = memory.encode(DOCUMENTS)
        print(f"encoded {report.added} documents in {report.seconds:.2f} s")
        print("again:  ", memory.encode(DOCUMENTS).unchanged, "unchanged, no forward pass")

        for answer in memory.answer([question.question for question in QUESTIONS]):
            sources = ", ".join(source.document_id for source in answer.sources) or "the whole bank"
            origin = sources if answer.from_memory else "the LLM alone"
            print(f"{answer.question}  ->  {answer.text!r}  from {origin}")

        (answer,) = memory.answer(["Which prize went to Tove Sandgren?"], require_memory=True)
        print(f"{answer.question}  ->  {'not in memory' if answer.abstained else answer.text}")

        stream = Stream.of(DOCUMENTS, QUESTIONS)
        for method in (NoMemory(memory), MemoryMethod(memory)):
            (stage,) = online(method, stream)
            figures = {name: MEASURES[name].value(stage.predictions) or 0.0 for name in ("exact_match", "f1")}
            print(
                f"{method.name}: exact match {figures['exact_match']:.0%}, F1 {figures['f1']:.0%},", end=" "
            )
            print(f"{stage.bytes.total / len(DOCUMENTS):.0f} bytes per document")


if __name__ == "__main__":
    main(*sys.argv[1:2])
