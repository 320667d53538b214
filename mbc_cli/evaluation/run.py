"""A whole run: every method through the stream, compared; then the protocols; into a folder on the way."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mbc_cli import reporting
from mbc_cli.errors import UsageError
from mbc_cli.evaluation.fresh_memory import fresh_memory
from mbc_cli.evaluation.machine import machine
from mbc_cli.evaluation.method import Method, Setting
from mbc_cli.evaluation.methods.registry import kind_of, make_method
from mbc_cli.evaluation.online import Stage, Stream, online
from mbc_cli.evaluation.predictions import Prediction
from mbc_cli.evaluation.protocols.registry import PROTOCOLS
from mbc_cli.evaluation.protocols.setting import ProtocolSetting
from mbc_cli.evaluation.report.html import write_report
from mbc_cli.evaluation.results import (
    PREDICTIONS,
    RESULTS,
    Results,
    read_predictions,
    read_results,
    write_predictions,
    write_results,
)
from mbc_cli.evaluation.summary import REFERENCE, paired_as_json, stage_as_json, write_summary
from mbc_cli.evaluation.tuning import choose
from mbc_cli.evaluation.vector_memory import AnyMemory
from mbc_cli.memory import Memory


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        methods: names of the registry, in the order they run; ``memory`` uses the memory that is given.
        protocols: names of theirs, run after the methods.
        options: settings of single methods, by method and name; they are not tuned.
        seed: of everything that is drawn.
        batch_size: passages or questions per forward pass.
        tuning: the stream that the other settings are chosen on, if any, and ``tuned_on`` what it is.
        described: how data and memory were named, for whoever repeats the run.
    """

    methods: tuple[str, ...] = (REFERENCE,)
    protocols: tuple[str, ...] = ()
    options: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 16
    tuning: Stream | None = None
    tuned_on: str = ""
    described: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self, memory: AnyMemory, stream: Stream) -> dict[str, Any]:
        """What two runs must share for one to go on with the other."""
        return {
            **self.described,
            "adapter": memory.adapter_name,
            "fingerprint": memory.model.fingerprint(),
            "options": {name: dict(options) for name, options in self.options.items()},
            "sizes": list(stream.sizes),
            "seed": self.seed,
            "batch_size": self.batch_size,
            "tuned_on": self.tuned_on,
        }


@dataclass(slots=True)
class Run:
    """A plan on its way; ``results`` and ``predictions`` (by method and size) hold what is done.

    With a ``folder`` they are written to it after each method and each protocol.
    """

    memory: AnyMemory
    stream: Stream
    plan: Plan
    data: Mapping[str, Any]
    folder: Path | None = None
    results: Results = field(init=False)
    predictions: dict[tuple[str, int], tuple[Prediction, ...]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.plan.methods:
            kind_of(name)
        if len(self.stream.sizes) > 1:
            _check_grows(self.memory, self.stream)
        data = {
            **self.data,
            "documents": len(self.stream.documents),
            "questions": len(self.stream.questions),
            "unanswerable": sum(not question.answers for question in self.stream.questions),
            "left_out": len(self.stream.left_out),
            "digest": digest(self.stream),
        }
        self.results = Results(
            self.plan.as_json(self.memory, self.stream), data, machine(self.memory.model.device)
        )

    def resume(self) -> None:
        """Take over what the folder holds of the same run, if anything.

        Raises:
            UsageError: it is of another run; the first thing that differs is named.
            InputError: it is damaged.
        """
        assert self.folder is not None
        if not (self.folder / RESULTS).exists():
            return
        before = read_results(self.folder)
        for what, mine, theirs in (
            ("run", self.results.run, before.run),
            ("data", self.results.data, before.data),
        ):
            for name in {**mine, **theirs}:
                if name != "command" and mine.get(name) != theirs.get(name):
                    raise UsageError(
                        f"{self.folder} holds another run: {what} {name} is {theirs.get(name)!r:.80} there "
                        f"and {mine.get(name)!r:.80} here",
                        "name another folder, or replace this one with --force",
                    )
        self.results.tuning, self.results.methods = before.tuning, before.methods
        self.results.protocols = before.protocols
        self.predictions = read_predictions(self.folder) if (self.folder / PREDICTIONS).exists() else {}

    def execute(self) -> Results:
        """Run what is not done yet.

        Raises:
            MbcError: a method or protocol cannot be run. What was done before is in the folder.
        """
        for name in self.plan.methods:
            if name not in self.results.methods:
                self._method(name)
                self._write()
        last = self.stream.sizes[-1]
        final = {name: part for (name, size), part in self.predictions.items() if size == last}
        self.results.paired = paired_as_json(final, seed=self.plan.seed)
        for name in self.plan.protocols:
            if name not in self.results.protocols:
                self._protocol(name)
                self._write()
        self._write()
        return self.results

    def _method(self, name: str) -> None:
        kind = kind_of(name)
        with reporting.progress(kind.label, total=len(self.stream.sizes), unit="sizes") as advance:
            options = self._options(name)
            stages: list[Stage] = []
            with self._made(name, options, self.memory if name == REFERENCE else None) as method:
                for stage in online(method, self.stream, batch_size=self.plan.batch_size):
                    stages.append(stage)
                    advance()
        for stage in stages:
            self.predictions[name, stage.documents] = stage.predictions
        self.results.methods[name] = {
            "label": kind.label,
            "what": kind.what,
            "options": dict(options),
            "stages": [stage_as_json(stage, seed=self.plan.seed) for stage in stages],
        }

    def _options(self, name: str) -> Mapping[str, object]:
        """The settings given for a method, or those that the tuning chooses."""
        given = self.plan.options.get(name, {})
        grid = kind_of(name).grid
        if given or self.plan.tuning is None or len(grid) < 2:
            return given

        chosen, tried = choose(
            lambda settings: self._made(name, settings),
            grid,
            self.plan.tuning,
            batch_size=self.plan.batch_size,
        )
        tuning = self.results.tuning or {
            "split": self.plan.tuned_on,
            "documents": len(self.plan.tuning.documents),
            "questions": len(self.plan.tuning.questions),
            "chosen": {},
        }
        tuning["chosen"][name] = {"settings": dict(chosen), "tried": tried}
        self.results.tuning = tuning
        return chosen

    def _settled(self, name: str) -> Mapping[str, object]:
        """The settings that a method had in this run, or was given."""
        done = self.results.methods.get(name)
        return self.plan.options.get(name, {}) if done is None else done["options"]

    @contextmanager
    def _made(
        self, name: str, options: Mapping[str, object], memory: AnyMemory | None = None
    ) -> Iterator[Method]:
        """A method by itself: with a folder, and a memory, of its own."""
        with tempfile.TemporaryDirectory(prefix="mbc-evaluate-") as directory:
            folder = Path(directory)
            own = fresh_memory(self.memory, folder) if memory is None else memory
            kept = folder / "method"
            kept.mkdir()
            yield make_method(name, Setting(own, kept, self.plan.seed, options))

    def _protocol(self, name: str) -> None:
        kind = PROTOCOLS[name]
        with (
            reporting.progress(name, unit="steps"),
            tempfile.TemporaryDirectory(prefix="mbc-evaluate-") as directory,
        ):
            setting = ProtocolSetting(
                make=lambda method, changes: self._made(method, {**self._settled(method), **changes}),
                memory=self.memory,
                methods=self.plan.methods,
                documents=self.stream.documents,
                questions=self.stream.questions,
                folder=Path(directory),
                seed=self.plan.seed,
                batch_size=self.plan.batch_size,
                options=self.plan.options.get(name, {}),
            )
            self.results.protocols[name] = kind.run(setting).as_json()

    def _write(self) -> None:
        if self.folder is None:
            return
        write_predictions(self.folder, self.predictions)
        write_results(self.folder, self.results)
        write_summary(self.folder, self.results)
        write_report(self.folder, self.results, self.predictions)


def _check_grows(memory: AnyMemory, stream: Stream) -> None:
    """Raise UsageError if ``memory`` holds what would not be there yet at the stream's first size."""
    foreign = memory.document_count
    if isinstance(memory, Memory):
        with memory.store.snapshot() as snapshot:
            first = [document.id for document in stream.documents[: stream.sizes[0]]]
            foreign -= len(snapshot.digests(first))
    if foreign:
        raise UsageError(
            f"bank sizes need a store that grows with the stream; this one holds {foreign} other documents",
            "leave out --store to evaluate in a temporary one, or leave out --bank-sizes",
        )


def digest(stream: Stream) -> str:
    """32 hexadecimal digits that change with the documents, their order and the questions."""
    found = hashlib.blake2b(digest_size=16)
    for document in stream.documents:
        found.update(json.dumps([document.id, document.text, document.title, document.timestamp]).encode())
    for question in stream.questions:
        asked = [question.id, question.question, list(question.answers), list(question.document_ids)]
        found.update(json.dumps(asked).encode())
    return found.hexdigest()
