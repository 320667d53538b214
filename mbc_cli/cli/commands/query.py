"""``mbc query``: questions to the memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.bad_input_report import counted_bad_inputs, exit_if_skipped
from mbc_cli.cli.memory_options import At, PreferNewer, Probes, Since, Until, WhereOption, check_probes
from mbc_cli.cli.options import (
    DEFAULT_STORE,
    Adapter,
    BaseModel,
    BatchSize,
    Delimiter,
    Device,
    InputFormat,
    Json,
    OnError,
    Quantize,
    Store,
    count,
)
from mbc_cli.cli.passages import write_passages
from mbc_cli.cli.questions import NOT_IN_MEMORY, Asked, Fallback, Null, Questions, batches_of, each_answered
from mbc_cli.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from mbc_cli.corpus.bad_input import BadInputs
    from mbc_cli.inference.answer import Answer, AnswerStream
    from mbc_cli.memory import Memory


def query(
    questions: Questions,
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    sources: Annotated[
        bool, typer.Option("--sources", help="Show the passages each answer was read from.")
    ] = False,
    top_k: Annotated[
        int | None,
        count("--top-k", "Passages read per question; else the adapter's."),
    ] = None,
    require_memory: Annotated[
        bool,
        typer.Option("--require-memory", help="Leave what is not in memory; then exit with 4."),
    ] = False,
    fallback: Fallback = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            metavar="P",
            min=0,
            max=1,
            help="Least relevance at which memory is read (0: always).",
        ),
    ] = None,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    at: At = None,
    prefer_newer: PreferNewer = False,
    probes: Probes = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            "--stream/--no-stream",
            help="Show text as it comes; by default on a terminal.",
            show_default=False,
        ),
    ] = None,
    null: Null = False,
    batch_size: BatchSize = 32,
    on_error: OnError = "skip",
    format: InputFormat = None,
    delimiter: Delimiter = None,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
    json: Json = False,
) -> None:
    """Ask the memory questions; the frozen LLM answers from what was encoded.

    Line n of the answers belongs to line n of the questions: line breaks in an answer become spaces, and what
    cannot be asked leaves an empty line. With --json answers are JSONL with their sources. Questions from a
    pipe are answered as they arrive.

    What is not in memory the bundled adapters answer with "not in memory" (null in JSON), others with the
    LLM, untouched, and a word on stderr. With --require-memory the answer is empty and the exit code 4, also
    if only one of many is concerned. Adapters that select passages tell it by the best one's score, once
    calibrated; others only that nothing may be read.

    Examples:

      mbc query "Who opened the museum in Lindholm?" --store news.mbc --sources

      mbc query - --json < questions.txt | jq .answer

      mbc query "Who is the mayor?" --since 2026-05-01 --where source=gazette --where "page<=3"
    """
    from mbc_store import MemoryStore

    from mbc_cli.inference.memory_filter import MemoryFilter

    if stream and json:
        raise UsageError("--stream shows text and --json writes JSON", "leave one of them out")
    choice = _Choice(top_k, since, until, where, threshold, require_memory, fallback, prefer_newer)
    bad = counted_bad_inputs(on_error)
    batches = batches_of(questions, batch_size, bad, format=format, delimiter=delimiter, null=null)
    # Wrong conditions, times and paths are told before torch is imported, which takes seconds.
    MemoryFilter.of(choice.since, choice.until, choice.where)
    opened = MemoryStore.open(store, at=at)
    check_probes(opened, probes)

    with output.progress("loading PyTorch"):
        from mbc_cli.memory import Memory

    memory = Memory.open(opened, adapter, device=device, quantize=quantize, base_model=base_model)
    memory.probes = probes
    if memory.adapter_name == "news":
        output.note(
            "answering with the adapter news, which reads little but invented news (mbc adapter info news)"
        )
    if sources and not memory.selects:
        output.warn("this adapter reads the whole bank at once, so its answers name no sources")
    as_it_comes = output.stdout_is_terminal() and not json if stream is None else stream
    single = len(questions) == 1 and questions != ["-"]
    show = _Show(json=json, sources=sources, single=single, require_memory=require_memory)

    def answered(texts: list[str]) -> list[Answer]:
        return memory.answer(texts, batch_size=batch_size, **asdict(choice))

    for batch in batches:
        if as_it_comes:
            for question in batch:
                _stream_one(memory, question, choice, show, bad)
        else:
            for question, answer in each_answered(batch, answered, bad):
                show.answer(question, answer)
    if require_memory and show.abstained:
        raise typer.Exit(ExitCode.NOT_IN_MEMORY)
    exit_if_skipped(bad)


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which documents may be read, how many passages, and when."""

    top_k: int | None
    since: str | None
    until: str | None
    where: list[str] | None
    threshold: float | None
    require_memory: bool
    fallback: bool | None
    prefer_newer: bool


@dataclass(slots=True)
class _Show:
    """Writes answers as the options ask for, and counts those withheld."""

    json: bool
    sources: bool
    single: bool
    require_memory: bool
    abstained: int = 0

    def answer(self, question: Asked, answer: Answer | None) -> None:
        """Show an answer that is there as a whole; None is one to what cannot be asked."""
        if answer is None:
            self.empty_line()
            return
        self.before(question, answer)
        if self.json:
            fields = asdict(answer)
            text = fields.pop("text")
            identity = {} if question.id is None else {"id": question.id}
            result = {"question": fields.pop("question"), "answer": None if answer.abstained else text}
            output.write_json(identity | result | fields)
            return
        self.text([answer.text], answer)
        self.after(answer)

    def text(self, pieces: Iterable[str], answer: Answer | AnswerStream) -> None:
        """The line of the answer, as its pieces come."""
        if answer.abstained and self.require_memory:
            self.empty_line()
            return
        for piece in [NOT_IN_MEMORY] if answer.abstained else output.folded(pieces):
            output.write(piece, end="")
        output.write("")

    def empty_line(self) -> None:
        """Line n of the answers belongs to line n of the questions, also where there is no answer."""
        if not self.single and not self.json:
            output.write("")

    def before(self, question: Asked, answer: Answer | AnswerStream) -> None:
        """What stands above the text: the question, and a word where the answer is not from memory."""
        self.abstained += answer.abstained
        if not self.single and not self.json and output.stdout_is_terminal():
            output.write(f"> {question.text}")
        if answer.abstained and self.require_memory:
            output.note(f"{NOT_IN_MEMORY}: no answer is given ({question.text})")
        elif not (answer.from_memory or answer.abstained or self.json):  # JSON says it by itself
            output.note(f"{NOT_IN_MEMORY}: the LLM answers without it ({question.text})")

    def after(self, answer: Answer) -> None:
        """What stands below the text."""
        if self.sources:
            write_passages(answer.sources, indent="    ")


def _stream_one(memory: Memory, question: Asked, choice: _Choice, show: _Show, bad: BadInputs) -> None:
    def begin(texts: list[str]) -> list[AnswerStream]:
        return [memory.stream(text, **asdict(choice)) for text in texts]

    for _, pieces in each_answered([question], begin, bad):
        if pieces is None:
            show.empty_line()
            return
        show.before(question, pieces)
        show.text(pieces, pieces)
        show.after(pieces.answer)
