"""Options that several commands share, so that they read and behave alike everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, get_args

import typer

from mbc_cli.cli import completion, output
from mbc_cli.cli.help_page import INPUT, MODEL, OUTPUT
from mbc_cli.corpus import choices
from mbc_cli.model.base_quantize import Quantize as QuantizeKind

MOST = 2**31 - 1  # beyond, each library fails in a way of its own


def count(name: str, help: str, *, least: int = 1, panel: str | None = None) -> Any:
    """An option that is a number of something."""
    return typer.Option(name, min=least, max=MOST, help=help, rich_help_panel=panel)


def _errors_follow(context: typer.Context, wanted: bool) -> bool:
    # A group that is a command too has the option as well; what its own command says comes after.
    if wanted or not hasattr(context.command, "commands"):
        output.write_errors_as_json(wanted)
    return wanted


Store = Annotated[
    str,
    typer.Option(
        "--store",
        "-s",
        envvar="MBC_STORE",
        metavar="PATH",
        help="The memory folder.",
        autocompletion=completion.stores,
    ),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        "-a",
        envvar="MBC_ADAPTER",
        metavar="ADAPTER",
        autocompletion=completion.adapters,
        help="A folder, hub id, 'default' or 'news'; if unset the store's own.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        envvar="MBC_DEVICE",
        metavar="DEVICE",
        help="auto, cpu, cuda, cuda:1...",
        rich_help_panel=MODEL,
    ),
]
BaseModel = Annotated[
    str | None,
    typer.Option(
        "--base-model",
        envvar="MBC_BASE_MODEL",
        metavar="MODEL",
        help="Where the LLM is, if elsewhere.",
        rich_help_panel=MODEL,
    ),
]
Quantize = Annotated[
    QuantizeKind | None,
    typer.Option(
        "--quantize",
        help="Load the LLM in 4 or 8 bits (bitsandbytes).",
        rich_help_panel=MODEL,
    ),
]
BatchSize = Annotated[int, count("--batch-size", "Texts per forward pass.", panel=MODEL)]
Json = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Write JSON instead of text, errors too.",
        callback=_errors_follow,
        rich_help_panel=OUTPUT,
    ),
]
OnError = Annotated[
    choices.OnError,
    typer.Option(
        "--on-error",
        help="Bad input: skip (exit 3) or fail.",
        rich_help_panel=INPUT,
    ),
]

_FORMATS = get_args(choices.Format)
_OF_RECORDS = _FORMATS[: _FORMATS.index("lines") + 1]


def _input_format(shown: Sequence[str]) -> Any:
    return typer.Option(
        "--format",
        metavar="FORMAT",
        help=f"{', '.join(shown)} (a text each); else its name or first line tells.",
        rich_help_panel=INPUT,
    )


InputFormat = Annotated[choices.Format | None, _input_format(_OF_RECORDS)]
DocumentFormat = Annotated[choices.Format | None, _input_format([*_FORMATS[:6], *_FORMATS[7:], "lines"])]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        help="Of CSV; by default the header tells.",
        rich_help_panel=INPUT,
    ),
]

OnBadTime = Annotated[
    choices.OnBadTime,
    typer.Option(
        "--on-bad-time",
        help="A time that cannot be read: skip the document, or keep it without.",
        rich_help_panel=INPUT,
    ),
]

DEFAULT_STORE = "memory.mbc"
