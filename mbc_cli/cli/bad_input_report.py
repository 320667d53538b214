"""How commands tell of input that was left out."""

from __future__ import annotations

import typer

from mbc_cli.cli import output
from mbc_cli.corpus.bad_input import BadInput, BadInputs
from mbc_cli.corpus.choices import OnError
from mbc_cli.errors import ExitCode


def counted_bad_inputs(on_error: OnError) -> BadInputs:
    """Return a counter that names the first pieces of bad input on stderr; all of them with --verbose."""
    bad = BadInputs(on_error=on_error)

    def report(piece: BadInput) -> None:
        if output.is_verbose() or bad.count <= BadInputs.EXAMPLES_KEPT:
            output.warn(f"skipped {piece}")
        if bad.count == BadInputs.EXAMPLES_KEPT and not output.is_verbose():
            output.warn("further bad input is counted but not named (--verbose names all of it)")

    bad.report = report
    bad.on_remark = lambda piece: output.note(str(piece))
    return bad


def exit_if_skipped(bad: BadInputs) -> None:
    """End the command with the exit code for skipped input, if there was any; remarks are counted."""
    for what, count in bad.remarks.items():
        if count > 1:
            output.note(f"{count:,} times: {what}")
    if bad.count:
        pieces = "1 piece" if bad.count == 1 else f"{bad.count:,} pieces"
        output.warn(f"{pieces} of input skipped; everything else is done")
        raise typer.Exit(ExitCode.SKIPPED_INPUT)
