"""``mbc chat``: questions to the memory, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer
from mbc_store.errors import StoreError

from mbc_cli.cli import output, process
from mbc_cli.cli.memory_options import At, Probes, Since, Until, WhereOption, check_probes
from mbc_cli.cli.options import DEFAULT_STORE, Adapter, BaseModel, Device, Quantize, Store, count
from mbc_cli.cli.passages import write_passages
from mbc_cli.cli.questions import NOT_IN_MEMORY, Fallback
from mbc_cli.errors import ExitCode, MbcError, UsageError, nearest_hint
from mbc_cli.inference.memory_filter import MemoryFilter

if TYPE_CHECKING:
    from mbc_cli.inference.answer import Answer
    from mbc_cli.memory import Memory

_HELP = """\
/sources          the passages of the last answer
/search TEXT      passages that speak to a text, without an answer
/since TIME       only documents of this time or later; without a time: all
/until TIME       only documents before this time; without a time: all
/where CONDITION  only documents of this metadata, as --where; without one: all
/help             this list
/quit             end (or Ctrl-D); Ctrl-C stops an answer"""


def chat(
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    top_k: Annotated[int | None, count("--top-k", "Passages read per question; else the adapter's.")] = None,
    fallback: Fallback = None,
    since: Since = None,
    until: Until = None,
    where: WhereOption = None,
    at: At = None,
    probes: Probes = None,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
) -> None:
    """Ask the memory one question after the other; /help lists what else can be said.

    Every question stands for itself: the LLM sees the memory, not the answers before. What is encoded
    meanwhile is read from the next question on. Lines of a pipe are taken as if they were typed.

    Examples:

      mbc chat --store news.mbc

      mbc chat --store news.mbc --since 2026-05-01 --where source=gazette
    """
    from mbc_store import MemoryStore

    chosen = _Chosen(since, until, tuple(where or ()))
    chosen.check()
    opened = MemoryStore.open(store, at=at)
    check_probes(opened, probes)

    with output.progress("loading PyTorch"):
        from mbc_cli.memory import Memory

    with Memory.open(opened, adapter, device=device, quantize=quantize, base_model=base_model) as memory:
        output.note(f"{memory.document_count:,} documents; /help lists the commands, /quit ends")
        memory.probes = probes
        conversation = _Chat(memory, chosen, top_k, fallback)
        conversation.run()
    if conversation.failures and not output.stdin_is_terminal():
        raise typer.Exit(ExitCode.SKIPPED_INPUT)


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Which documents are read."""

    since: str | None
    until: str | None
    where: tuple[str, ...]

    def check(self) -> None:
        """Raise UsageError where a time or a condition is none."""
        MemoryFilter.of(self.since, self.until, self.where)


@dataclass(slots=True)
class _Chat:
    memory: Memory
    chosen: _Chosen
    top_k: int | None
    fallback: bool | None
    answer: Answer | None = None
    failures: int = 0
    ended: bool = False
    commands: dict[str, Callable[[str], None]] = field(init=False)

    def __post_init__(self) -> None:
        self.commands = {
            "sources": self._sources,
            "search": self._search,
            "since": lambda time: self._choose(replace(self.chosen, since=time or None)),
            "until": lambda time: self._choose(replace(self.chosen, until=time or None)),
            "where": self._where,
            "help": lambda _: output.write_lines(_HELP),
            "quit": self._quit,
        }

    def run(self) -> None:
        """Take lines until there are no more."""
        while not self.ended:
            try:
                line = output.read_line("> ")
                if line is None:
                    return
                self._take(line.strip())
            except KeyboardInterrupt:
                if process.told_to_end() or not output.stdin_is_terminal():
                    raise
                output.write("")
            except (MbcError, StoreError) as failure:
                self.failures += 1
                output.error(
                    failure if isinstance(failure, MbcError) else MbcError(failure.message, failure.hint)
                )

    def _take(self, line: str) -> None:
        if not line.startswith("/"):
            if line:
                self._ask(line)
            return
        name, _, rest = line[1:].partition(" ")
        if name not in self.commands:
            raise UsageError(f"there is no command /{name}", nearest_hint(name, self.commands))
        self.commands[name](rest.strip())

    def _ask(self, question: str) -> None:
        chosen = self.chosen
        pieces = self.memory.stream(
            question,
            top_k=self.top_k,
            since=chosen.since,
            until=chosen.until,
            where=chosen.where,
            fallback=self.fallback,
        )
        self.answer = pieces.known
        if not (pieces.from_memory or pieces.abstained):
            output.note(f"{NOT_IN_MEMORY}: the LLM answers without it")
        for piece in [NOT_IN_MEMORY] if pieces.abstained else output.folded(pieces):
            output.write(piece, end="")
        output.write("")

    def _sources(self, _: str) -> None:
        if self.answer is None:
            raise UsageError("there is no answer yet")
        if not self.answer.sources:
            output.note("the last answer was read from no passage")
        write_passages(self.answer.sources)

    def _search(self, text: str) -> None:
        if not text:
            raise UsageError("/search is given no text")
        chosen = self.chosen
        (found,) = self.memory.search(
            [text], top_k=self.top_k or 5, since=chosen.since, until=chosen.until, where=chosen.where
        )
        write_passages(found)

    def _where(self, condition: str) -> None:
        self._choose(replace(self.chosen, where=(*self.chosen.where, condition) if condition else ()))

    def _choose(self, chosen: _Chosen) -> None:
        chosen.check()
        self.chosen = chosen

    def _quit(self, _: str) -> None:
        self.ended = True
