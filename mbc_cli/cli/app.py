"""The ``mbc`` command: assembles the commands, applies settings, and turns failures into exit codes.

Nothing heavy is imported here or at the top of the commands: ``mbc --help`` answers at once.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import traceback
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from mbc_store.errors import StoreError, StoreWarning
from mbc_store.urls import holds_credentials

from mbc_cli import __version__, reporting
from mbc_cli.cli import output, process, ray_option, settings
from mbc_cli.cli.help_page import OUTPUT, write_help
from mbc_cli.errors import (
    ExitCode,
    InternalError,
    MbcError,
    OperatingSystemError,
    OutOfMemoryError,
    UsageError,
)
from mbc_cli.yaml_settings import read_yaml, validation_message

# In the order of the help. A module holds a function of its own name, or `app` for a group of commands.
COMMANDS = (
    "demo",
    "encode",
    "query",
    "search",
    "chat",
    "serve",
    "mcp",
    "adapt",
    "evaluate",
    "dataset",
    "memory",
    "adapter",
    "base",
    "config",
    "doctor",
)
SIGPIPE_EXIT_CODE = 141  # what a shell reports of a program whose reader has gone

_QUIET = "Only data and errors."
_VERBOSE = "Say more on stderr; show tracebacks."
EXIT_CODES = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 done but some input was skipped, "
    "4 not in memory (query --require-memory, any of its questions; else that is an answer), "
    "130 interrupted (143 by SIGTERM)."
)


def build_app() -> typer.Typer:
    """Assemble the command tree."""
    app = typer.Typer(
        name="mbc",
        help="Long-term memory for large language models that costs bytes, not gigabytes.",
        epilog=EXIT_CODES,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # tables in boxes, which flags alone fill
        context_settings={"auto_envvar_prefix": "MBC", "help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in COMMANDS:
        module = import_module(f"mbc_cli.cli.commands.{name}")
        if group := getattr(module, "app", None):
            app.add_typer(group, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def build_command() -> Any:
    """Return the assembled command with ``--quiet`` and ``--verbose`` on every one of its commands."""
    command: Any = typer.main.get_command(build_app())
    carrier = typer.Typer(add_completion=False)
    carrier.command()(_verbosity_options)
    common = [option for option in typer.main.get_command(carrier).params if option.name != "help"]
    for leaf in leaf_commands(command).values():
        leaf.params.extend(common)
        leaf.help = _reflowed(leaf.help or "")
        leaf.short_help = re.split(r"(?<=\.)\s", leaf.help)[0]
        leaf.format_help = partial(write_help, leaf)
    for child in command.commands.values():
        child.short_help = child.short_help or child.help
    for parameter in command.params:  # in the help only variables named on purpose
        parameter.show_envvar = parameter.envvar is not None
    return command


def _reflowed(text: str) -> str:
    """Join the lines of each paragraph, for the help to wrap them at the terminal's width."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split()) for paragraph in paragraphs
    )


def leaf_commands(command: Any, prefix: str = "") -> dict[str, Any]:
    """Return every command that does something, by its full name such as ``"adapter info"``.

    A group may do something by itself, as ``evaluate`` does.
    """
    leaves: dict[str, Any] = {}
    for name, child in command.commands.items():
        inner = getattr(child, "commands", None)
        if inner is None or child.invoke_without_command:
            leaves[f"{prefix}{name}"] = child
        if inner is not None:
            leaves |= leaf_commands(child, f"{prefix}{name} ")
    return leaves


def console() -> NoReturn:
    """Run ``mbc`` as a process of its own, and end it; the console script's entry."""
    process.occupy_standard_streams()
    process.interrupt_on_signals()
    try:
        main()
    except SystemExit as ended:
        process.end(int(ended.code or ExitCode.DONE))


def _refuse_credentials(arguments: list[str]) -> None:
    variables = [value for name, value in os.environ.items() if name.startswith("MBC_")]
    values = [argument.partition("=")[2] for argument in arguments if argument.startswith("-")]
    if any(map(holds_credentials, [*arguments, *values, *variables])):
        raise UsageError(
            "a URL among the arguments and MBC_ variables holds credentials",
            "leave them out of it, and give them in the environment (AWS_*, GOOGLE_*, HF_TOKEN)",
        )


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run ``mbc``.

    Raises:
        SystemExit: always, with its exit code.
    """
    given = ray_option.spelled_out(sys.argv[1:] if arguments is None else arguments)
    output.tolerate_any_text()
    # Wrong usage is found before any option has a value.
    output.write_errors_as_json("--json" in given[: given.index("--") if "--" in given else None])
    reporting.listen(output)
    warnings.showwarning = lambda message, *_, **__: output.warn(str(message))
    try:
        _refuse_credentials(given)
        # Not in Typer's standalone mode, which shows errors in boxes of its own.
        code = build_command().main(args=given, prog_name="mbc", standalone_mode=False)
        if code == ExitCode.INTERRUPTED:  # Typer's answer to a KeyboardInterrupt
            raise KeyboardInterrupt
        sys.exit(code or ExitCode.DONE)
    except KeyboardInterrupt:
        output.note("interrupted")
        sys.exit(process.interrupted_code())
    except output.ClosedPipe:
        output.silence_closed_stdout()
        sys.exit(SIGPIPE_EXIT_CODE)
    except Exception as failure:
        if type(failure).__name__ == "NoArgsIsHelpError":
            for line in failure.format_message().splitlines():  # type: ignore[attr-defined]
                output.write(line)
            sys.exit(ExitCode.USAGE)
        output.traceback("".join(traceback.format_exception(failure)))
        known = as_mbc_error(failure)
        output.error(known)
        sys.exit(known.exit_code)


def as_mbc_error(failure: Exception) -> MbcError:
    """Return what the user is told about ``failure``. Library types are recognised without importing them."""
    if isinstance(failure, MbcError):
        return failure
    if isinstance(failure, StoreError):
        shown = MbcError(failure.message, failure.hint)
        shown.kind = failure.kind
        return shown
    if hasattr(failure, "format_message"):
        return _wrong_usage(failure)
    kind = type(failure)
    if kind.__name__ == "ValidationError" and kind.__module__.partition(".")[0].startswith("pydantic"):
        return UsageError(validation_message(failure))
    if kind.__name__ == "OutOfMemoryError" or isinstance(failure, MemoryError):
        return OutOfMemoryError("out of memory", "try a smaller --batch-size")
    if isinstance(failure, OSError):
        place = f"{failure.filename}: " if failure.filename else ""
        return OperatingSystemError(f"{place}{failure.strerror or failure}")
    reason = " ".join(str(failure).split())[:300]
    return InternalError(
        f"internal error: {kind.__name__}: {reason}",
        "please report it, with what --verbose shows",
    )


def _wrong_usage(failure: Any) -> UsageError:
    """A wrong option or argument, as Typer reports it."""
    message = " ".join(failure.format_message().split()).replace("Value error, ", "").rstrip(".")
    context = getattr(failure, "ctx", None)
    hint = f"see {context.command_path} --help" if context is not None else None
    return UsageError(message[:1].lower() + message[1:], hint)


def _show_version(value: bool) -> None:
    if value:
        output.write(f"mbc {__version__}")
        raise typer.Exit


def _root(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="MBC_CONFIG",
            metavar="FILE",
            help="YAML file of settings (mbc.yaml here, if any).",
        ),
    ] = None,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", envvar="MBC_QUIET", help=_QUIET)] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", envvar="MBC_VERBOSE", help=_VERBOSE)] = False,
) -> None:
    _set_verbosity(quiet, verbose)
    path = config or (settings.DEFAULT_FILE if settings.DEFAULT_FILE.is_file() else None)
    if path is not None:
        options = {
            name: {
                str(parameter.name): bool(getattr(parameter, "is_flag", False)) for parameter in leaf.params
            }
            for name, leaf in leaf_commands(context.command).items()
        }
        named = config is not None
        context.meta["mbc.settings"] = path
        context.default_map = settings.option_defaults(read_yaml(path), options, str(path), named=named)
        if named:
            output.detail(f"settings from {path}")
        else:
            context.obj = path  # for _note_settings


def _quiet_option(context: typer.Context, value: bool) -> None:
    if value:
        _set_verbosity(quiet=True, verbose=False)


def _verbose_option(context: typer.Context, value: bool) -> None:
    if value:
        _set_verbosity(quiet=False, verbose=True)


def _note_settings(context: typer.Context, value: bool) -> None:
    root = context.find_root()
    if root.obj:
        output.note(f"settings from {root.obj}")
        root.obj = None  # a group that is a command too comes by here twice


def _verbosity_options(
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet",
            "-q",
            help=_QUIET,
            callback=_quiet_option,
            expose_value=False,
            is_eager=True,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            help=_VERBOSE,
            callback=_verbose_option,
            expose_value=False,
            is_eager=True,
            rich_help_panel=OUTPUT,
        ),
    ] = False,
    # Not to be given: its callback runs when those of --quiet and --verbose have.
    settings_noted: Annotated[
        bool,
        typer.Option(
            "--settings-noted", hidden=True, callback=_note_settings, expose_value=False, is_eager=True
        ),
    ] = False,
) -> None:
    """Carries the options that every command has; never run."""


def _set_verbosity(quiet: bool, verbose: bool) -> None:
    level = (
        output.Verbosity.VERBOSE if verbose else output.Verbosity.QUIET if quiet else output.Verbosity.NORMAL
    )
    output.set_verbosity(level)
    if not verbose:
        # Libraries warn and draw bars as they like; ours is the only voice on stderr, and the store's.
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", category=StoreWarning)
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_VERBOSITY", "error")
        os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
