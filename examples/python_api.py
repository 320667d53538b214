"""Encode, ask and evaluate from Python, without the command line.

    python examples/python_api.py [ADAPTER]

ADAPTER is a directory written by `mbc adapt`, a hub id, or nothing for the bundled default.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.evaluation.protocol import evaluate
from mbc_cli.memory import Memory

DOCUMENTS = [
    Document("museum", "Mira Okafor opened the harbour museum in Lindholm on 14 March.", title="Museum"),
    Document("treasurer", "The council of Tarn elected Jonas Weil as its treasurer.", title="Council"),
    Document("ferry", "Ada Brandt took over the ferry company of Osby in June.", title="Ferry"),
]
QUESTIONS = [
    Question("q1", "Who opened the harbour museum in Lindholm?", ("Mira Okafor",), ("museum",)),
    Question("q2", "Who did the council of Tarn elect as treasurer?", ("Jonas Weil",), ("treasurer",)),
    Question("q3", "Who took over the ferry company of Osby?", ("Ada Brandt",), ("ferry",)),
]


def main(adapter: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as directory:
        memory = Memory.create(Path(directory) / "news.mbc", adapter)
        report = memory.encode(DOCUMENTS)
        print(f"encoded {report.added} documents in {report.seconds:.2f} s")
        print("again:  ", memory.encode(DOCUMENTS).unchanged, "unchanged, no forward pass")

        for answer in memory.answer([question.question for question in QUESTIONS]):
            sources = ", ".join(source.document_id for source in answer.sources) or "the whole bank"
            origin = sources if answer.from_memory else "the LLM alone"
            print(f"{answer.question}  ->  {answer.text!r}  from {origin}")

        (answer,) = memory.answer(["Which prize went to Tove Sandgren?"], require_memory=True)
        print(f"{answer.question}  ->  {'not in memory' if answer.abstained else answer.text}")

        (stage,) = evaluate(memory, DOCUMENTS, QUESTIONS, baselines=["none"]).stages
        print(f"exact match {stage.scores.exact_match:.0%}, F1 {stage.scores.f1:.0%},", end=" ")
        print(f"without memory {stage.baselines['none'].exact_match:.0%};", end=" ")
        print(f"{stage.bytes.packed} bytes of codes per document")


if __name__ == "__main__":
    main(*sys.argv[1:2])
