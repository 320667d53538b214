"""Questions as commands are asked them: in arguments, or on stdin as they arrive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

import typer

from mbc_cli.batching import batched
from mbc_cli.cli import output
from mbc_cli.cli.help_page import INPUT
from mbc_cli.corpus.bad_input import BadInput, BadInputs, BadRecord
from mbc_cli.corpus.choices import Format
from mbc_cli.errors import InputError, UsageError
from mbc_cli.identifiers import is_unicode
from mbc_cli.read_ahead import ReadAhead

Answer = TypeVar("Answer")
Questions = Annotated[
    list[str],
    typer.Argument(
        metavar="QUESTION...",
        help="Questions, or - for stdin: lines, or records with a 'question'.",
        show_default=False,
    ),
]
Null = Annotated[
    bool,
    typer.Option("--null", "-0", help="Questions end with a byte 0, not lines.", rich_help_panel=INPUT),
]
Fallback = Annotated[
    bool | None,
    typer.Option(
        "--fallback/--no-fallback",
        help="The LLM answers what is not in memory.",
        show_default=False,
    ),
]
NOT_IN_MEMORY = "not in memory"
# Questions that follow each other faster are answered together.
_PATIENCE = 0.002  # seconds; while some are answered, others gather anyway


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with its place in the input, and its record's id if it had one.

    The text is empty where there is nothing to ask: on a blank line, and where ``fault`` says why not.
    """

    text: str
    place: str
    id: object = None
    fault: str | None = None


def batches_of(
    questions: Sequence[str],
    batch_size: int,
    bad: BadInputs,
    *,
    format: Format | None,
    delimiter: str | None,
    null: bool,
) -> Iterator[Sequence[Asked]]:
    """Begin to read the questions that a command was given, and return them in batches.

    From a file the batches are full; from a pipe or a terminal each is what is there, without waiting for
    more. Every line and every record of stdin is one `Asked`.
    """
    if questions != ["-"]:
        if null:
            raise UsageError("--null says how stdin is read", "give - as the question")
        return iter(batched(_from_arguments(questions), batch_size))
    if null and (format is not None or delimiter is not None):
        raise UsageError("--null is given with --format or --delimiter", "leave one of them out")

    def read(put: Callable[[Asked], object]) -> None:
        _read_stdin(put, bad, "lines" if null else format, delimiter, null)

    arriving = ReadAhead(read, most=batch_size)
    return arriving.batches(batch_size, patience=None if output.stdin_is_file() else _PATIENCE)


def each_answered(
    batch: Sequence[Asked], answer: Callable[[list[str]], Iterable[Answer]], bad: BadInputs
) -> Iterator[tuple[Asked, Answer | None]]:
    """The questions of a batch with what ``answer`` makes of their texts, all at once.

    What cannot be asked is counted and has no answer; it costs no other its own.
    """
    answers: Iterator[Answer | None]
    try:
        answers = iter(answer([question.text for question in batch if question.text]))
    except InputError as failure:
        if len(batch) > 1:
            for question in batch:
                yield from each_answered([question], answer, bad)
            return
        bad.add(batch[0].place, failure.message)
        answers = iter([None])
    for question in batch:
        if question.fault is not None:
            bad.add(question.place, question.fault)
        yield question, next(answers) if question.text else None


def _from_arguments(questions: Sequence[str]) -> list[Asked]:
    if "-" in questions:
        raise UsageError("- (stdin) is given beside other questions", "give one or the other")
    for position, text in enumerate(questions, start=1):
        if not text.strip():
            raise UsageError(f"question {position} is empty")
        if not is_unicode(text):
            raise UsageError(f"question {position} is not valid UTF-8: {text!r:.100}")
    return [Asked(text.strip(), f"question {place}") for place, text in enumerate(questions, start=1)]


def _read_stdin(
    put: Callable[[Asked], object],
    bad: BadInputs,
    format: Format | None,
    delimiter: str | None,
    null: bool,
) -> None:
    from mbc_cli.corpus.readers import read_records
    from mbc_cli.corpus.records import PlainText, question_text
    from mbc_cli.corpus.streams import STDIN

    def unusable(piece: BadInput) -> None:
        put(Asked("", piece.place, fault=piece.reason))

    # Bad input keeps its place among the questions, and is counted when its turn comes.
    reading = BadInputs(report=unusable, on_remark=bad.on_remark, remarks=bad.remarks)
    records = read_records([STDIN], reading, format, delimiter, "question", blank_lines=True, null=null)
    for place, record in records:
        if isinstance(record, PlainText) and not record.text.strip():
            put(Asked("", place))
            continue
        try:
            text = question_text(record)
        except BadRecord as reason:
            reading.add(place, str(reason))
        else:
            put(Asked(text, place, record.get("id") if isinstance(record, dict) else None))
