"""Options that several commands share, so that they read and behave alike everywhere."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mbc_cli.cli import output
from mbc_cli.corpus import choices
from mbc_cli.model.base_quantize import Quantize as QuantizeKind

MOST = 2**31 - 1  # beyond, each library fails in a way of its own


def count(name: str, help: str, *, least: int = 1) -> Any:
    """An option that is a number of something."""
    return typer.Option(name, min=least, max=MOST, help=help)


def _errors_follow(wanted: bool) -> bool:
    output.write_errors_as_json(wanted)
    return wanted


Store = Annotated[
    str,
    typer.Option("--store", "-s", envvar="MBC_STORE", metavar="PATH", help="The memory: a folder."),
]
Adapter = Annotated[
    str | None,
    typer.Option(
        "--adapter",
        "-a",
        envvar="MBC_ADAPTER",
        metavar="ADAPTER",
        help="A folder, a hub id or 'default'. If unset: the one the store was made with, else the default.",
    ),
]
Device = Annotated[
    str,
    typer.Option("--device", envvar="MBC_DEVICE", help="auto (a GPU if any), cpu, cuda, cuda:1, ..."),
]
BaseModel = Annotated[
    str | None,
    typer.Option(
        "--base-model",
        envvar="MBC_BASE_MODEL",
        metavar="MODEL",
        help="Where the adapter's LLM is, if not where the adapter says: a folder or hub id.",
    ),
]
Quantize = Annotated[
    QuantizeKind | None,
    typer.Option("--quantize", help="Load the LLM in 4 (nf4) or 8 bits (int8); needs bitsandbytes."),
]
BatchSize = Annotated[int, count("--batch-size", "Texts per forward pass.")]
Json = Annotated[
    bool,
    typer.Option(
        "--json", help="Write JSON to stdout instead of text, and errors to stderr.", callback=_errors_follow
    ),
]
OnError = Annotated[
    choices.OnError,
    typer.Option(
        "--on-error", help="Bad input: skip it, name it and exit with 3 at the end, or fail at the first."
    ),
]

InputFormat = Annotated[
    choices.Format | None,
    typer.Option(
        "--format",
        help="The input's format; by default its name or its first line tells. lines: a text a line.",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        help="What parts the columns of CSV (; or tab, say); by default the header tells.",
    ),
]

OnBadTime = Annotated[
    choices.OnBadTime,
    typer.Option(
        "--on-bad-time", help="A time that cannot be read: skip the document, or keep it without a time."
    ),
]

DEFAULT_STORE = "memory.mbc"
