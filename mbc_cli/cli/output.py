"""The only writer to stdout and stderr.

Data goes to stdout and everything else to stderr, so that commands can be piped into each other. Colours,
boxes and progress bars appear only where the stream is a terminal; ``NO_COLOR`` is respected.
"""

from __future__ import annotations

import json
import math
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, is_dataclass
from enum import IntEnum
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TextIO

from mbc_cli.errors import DeclinedError, MbcError, UsageError
from mbc_cli.reporting import Advance

if TYPE_CHECKING:
    from rich.console import Console

    from mbc_cli.cli.progress_rows import ProgressRows
    from mbc_cli.inference.telegrams import Piece

# With what a hostile document could steer a terminal, begin a line that is not ours, or show text in another
# order: control characters except tab, line and paragraph separators, bidirectional overrides and isolates.
_UNSEEN = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_WIDEST_PADDING = 40


class Verbosity(IntEnum):
    """How much is said on stderr."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


class ClosedPipe(Exception):
    """Whoever read our stdout has gone. Not an OSError, so that no library takes it for a failure."""


_verbosity = Verbosity.NORMAL
_errors_as_json = False
_rows: ProgressRows | None = None  # drawn at present


def set_verbosity(level: Verbosity) -> None:
    """Set how much is said on stderr from now on, in this process."""
    global _verbosity
    _verbosity = level


def is_verbose() -> bool:
    """Whether ``--verbose`` was given."""
    return _verbosity is Verbosity.VERBOSE


def write_errors_as_json(wanted: bool) -> None:
    """Set whether errors are one line of JSON from now on, in this process, or lines for people."""
    global _errors_as_json
    _errors_as_json = wanted


def stdin_is_terminal() -> bool:
    """Whether a person writes our stdin."""
    return sys.stdin is not None and sys.stdin.isatty()


def stdin_is_file() -> bool:
    """Whether our stdin has its end already, and never waits."""
    return sys.stdin is not None and sys.stdin.seekable()


def stdout_is_terminal() -> bool:
    """Whether a person reads our stdout."""
    return sys.stdout.isatty()


def stderr_is_terminal() -> bool:
    """Whether a person reads our stderr."""
    return sys.stderr is not None and sys.stderr.isatty()


# --- data, on stdout -------------------------------------------------------------------------------


def visible(text: str, *, keep: str = "") -> str:
    """``text`` on one line, with escapes such as ``\\n`` and ``\\u202e`` for what cannot be seen in it."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def write(text: str, *, end: str = "\n") -> None:
    """Write ``text`` as one line to stdout and flush it, so that the next command in a pipe sees it at once.

    Raises:
        ClosedPipe: the reader has gone.
    """
    _write(visible(text) + end)


def write_lines(text: str) -> None:
    """Write a text of ours line by line."""
    for line in text.splitlines():
        write(line)


def _write(text: str) -> None:
    try:
        _write_flushed(sys.stdout, text)
    except BrokenPipeError:
        raise ClosedPipe from None


def folded(pieces: Iterable[str]) -> Iterator[str]:
    """A text that comes in pieces, on one line: white space is one space, and none at either end.

    >>> list(folded(["Mira", " \\n", "Okafor ", "\\n"]))
    ['Mira', ' Okafor']
    """
    begun = gap = False
    for piece in pieces:
        if words := piece.split():
            yield " " * (begun and (gap or piece[0].isspace())) + " ".join(words)
            begun, gap = True, piece[-1].isspace()
        else:
            gap = gap or bool(piece)


def write_json(value: Any) -> None:
    """Write one value as one line of JSON. Numbers that JSON does not know (NaN) become null."""
    _write(_json_line(value, sys.stdout))


def _json_line(value: Any, stream: TextIO) -> str:
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(_plain(value), ensure_ascii=not utf8, allow_nan=False)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def write_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: boxed to a terminal, to anything else aligned text, not cropped or padded."""
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [bool(cells) and all(map(_is_numeric, column)) for column in zip(*cells, strict=True)]
    numeric = numeric or [False] * len(columns)
    if not stdout_is_terminal():
        _write(_aligned([list(columns), *cells], numeric))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name, right in zip(columns, numeric, strict=True):
        table.add_column(name, justify="right" if right else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))
    _render(table)


def write_fields(fields: Mapping[str, object], *, texts: Collection[str] = ()) -> None:
    """Write names and values, one pair a line; the values of ``texts`` keep their lines, below each other."""
    pairs = [(name, _cell(value, keep="\n" if name in texts else "")) for name, value in fields.items()]
    if not stdout_is_terminal():
        lines = [
            [name if first else "", line]
            for name, value in pairs
            for first, line in zip([True, *[False] * value.count("\n")], value.split("\n"), strict=True)
        ]
        _write(_aligned(lines, [False, False]))
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(name), Text(value))
    _render(table)


def _aligned(rows: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Rows as lines with their columns below each other, but for cells that are very long."""
    widths = [max(min(len(cell), _WIDEST_PADDING) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = zip(row, widths, right, strict=True)
        padded = [cell.rjust(width) if to_right else cell.ljust(width) for cell, width, to_right in cells]
        lines.append("  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def write_pieces(pieces: Iterable[Piece]) -> None:
    """Write a text of which parts were lost: these dimmed on a terminal, in square brackets elsewhere."""
    from mbc_cli.inference.telegrams import bracketed

    if not stdout_is_terminal() or os.environ.get("NO_COLOR"):
        write(bracketed(list(pieces)))
        return
    from rich.text import Text

    _render(Text.assemble(*((visible(text), "" if kept else "dim") for text, kept in pieces)))


# --- everything else, on stderr --------------------------------------------------------------------


def note(message: str) -> None:
    """Tell the user something worth knowing; silent under ``--quiet``."""
    if _verbosity >= Verbosity.NORMAL:
        _say("", "", message)


def detail(message: str) -> None:
    """Tell the user something only ``--verbose`` asks for."""
    if _verbosity >= Verbosity.VERBOSE:
        _say("", "dim", message)


def warn(message: str) -> None:
    """Tell the user that something is probably not as intended; silent under ``--quiet``."""
    if _verbosity >= Verbosity.NORMAL:
        _say("warning: ", "yellow", message)


def error(failure: MbcError) -> None:
    """Say what failed and the way out, even under ``--quiet``; with ``--json`` as one line of JSON."""
    if _errors_as_json:
        fields = {"kind": failure.kind, "message": failure.message, "hint": failure.hint}
        line = _json_line({"error": fields | {"exit_code": int(failure.exit_code)}}, sys.stderr)
        with suppress(OSError, ValueError):
            _write_flushed(sys.stderr, line)
        return
    _say("error: ", "bold red", failure.message)
    if failure.hint:
        _say("hint: ", "cyan", failure.hint)


def traceback(text: str) -> None:
    """Show a traceback on stderr (``--verbose`` only: it is for whoever reports a bug)."""
    if _verbosity >= Verbosity.VERBOSE:
        for line in text.splitlines():
            _say("", "", line)


@contextmanager
def progress(description: str, *, total: int | None = None, unit: str = "documents") -> Iterator[Advance]:
    """Show how far the block is while it runs, where stderr is a terminal; yield what moves it on.

    Work within other work has a row of its own below it.
    """
    global _rows
    if not stderr_is_terminal() or _verbosity is Verbosity.QUIET:
        yield lambda count=1, total=None, also="": None
        return
    if _rows is not None:
        with _rows.row(visible(description), total, unit) as advance:
            yield advance
        return
    from mbc_cli.cli.progress_rows import ProgressRows

    _rows = ProgressRows(_console(stderr=True))
    try:
        with _rows.drawn(), _rows.row(visible(description), total, unit) as advance:
            yield advance
    finally:
        _rows = None


def confirm(question: str, *, yes: bool) -> None:
    """Return if the user agrees to ``question`` on the terminal, or ``yes`` was given on the command line.

    Raises:
        UsageError: there is no terminal to ask on.
        MbcError: the user declined.
    """
    if yes:
        return
    if not stdin_is_terminal():
        raise UsageError(f"{question} There is no terminal to ask on", hint="add --yes to go ahead")
    _write_flushed(sys.stderr, f"{visible(question)} [y/N] ")
    if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
        raise DeclinedError("nothing was changed")


def read_line(prompt: str) -> str | None:
    """The next line of stdin, without its end, asked for with ``prompt`` on a terminal; None at the end."""
    if sys.stdin is None:
        raise UsageError("stdin is closed", "run it on a terminal, or give it input")
    if not stdin_is_terminal():
        line = sys.stdin.buffer.readline()
        # Whoever uses a line that is no text says so.
        return line.rstrip(b"\r\n").decode("utf-8", "surrogateescape") if line else None
    with suppress(ImportError):  # where it is there, input() edits lines and remembers them
        import readline  # noqa: F401
    try:
        return input(prompt)
    except EOFError:
        write("")
        return None


def silence_closed_stdout() -> None:
    """Send what is still buffered for a closed stdout nowhere, so that the interpreter exits quietly."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def flush() -> None:
    """Write out what stdout and stderr still hold, as far as somebody takes it."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def tolerate_any_text() -> None:
    """Escape characters the terminal's encoding lacks instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="backslashreplace")


def _say(label: str, style: str, message: str) -> None:
    text = visible(message)
    with suppress(OSError, ValueError):  # a closed stderr must not turn a result into a failure
        if stderr_is_terminal():
            from rich.text import Text

            styled = Text.assemble((label, style), text) if label else Text(text, style=style)
            console = _console(stderr=True) if _rows is None else _rows.console
            console.print(styled, soft_wrap=True)
        else:
            _write_flushed(sys.stderr, f"{label}{text}\n")


def _render(renderable: object) -> None:
    try:
        _console(stderr=False).print(renderable)
        sys.stdout.flush()
    except BrokenPipeError:
        raise ClosedPipe from None


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, markup=False, emoji=False, highlight=False)


def _write_flushed(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()


def _cell(value: object, *, keep: str = "") -> str:
    """A value as text: numbers to be read by people, texts as they are, all else as JSON."""
    value = _plain(value)
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return visible(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), keep=keep)


def _is_numeric(cell: str) -> bool:
    return re.fullmatch(r"-|-?[\d,]+(\.\d+)?(e[+-]?\d+)?%?", cell) is not None


def _plain(value: Any) -> Any:
    """Turn dataclasses, mappings, sequences, paths and numpy values into what ``json`` knows."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value + 0.0 if math.isfinite(value) else None  # minus zero is zero
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        return _plain(value.tolist())
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, Iterable):
        return [_plain(item) for item in value]
    raise TypeError(f"cannot write {type(value).__name__} as JSON")
