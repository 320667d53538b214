"""``mbc adapter trust`` and ``verify``: which adapters a store may name, and whether one is undamaged."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.completion import adapters
from mbc_cli.cli.options import Json
from mbc_cli.errors import AdapterError, ExitCode, UsageError


def trust(
    place: Annotated[
        str | None,
        typer.Argument(
            metavar="PLACE",
            help="An adapter's folder or hub id.",
            show_default=False,
            autocompletion=adapters,
        ),
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List what is trusted.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Trust it no more.")] = False,
    json: Json = False,
) -> None:
    """Let stores name an adapter: a store's own suggestion is loaded only from places that are trusted.

    An adapter is also trusted once you have named it with --adapter and it could be loaded, or have made it
    with mbc adapt or import-reference. The bundled ones always are. Trust is kept in MBC_CONFIG_HOME, by
    default the folder mbc in your configuration folder; no adapter can run code, trusted or not.

    Examples:

      mbc adapter trust ./news-adapter

      mbc adapter trust --list

      mbc adapter trust ./news-adapter --remove
    """
    from mbc_cli.inference.trust import trusted_adapters

    if list_all:
        if place is not None or remove:
            raise UsageError("--list stands alone", "leave out the place and --remove")
        known = trusted_adapters()
        if json:
            for each in known:
                output.write_json(asdict(each))
        else:
            output.write_table(["place", "fingerprint"], [[each.place, each.fingerprint] for each in known])
    elif place is None:
        raise UsageError("no place is given", "name an adapter's folder or hub id, or use --list")
    elif remove:
        _remove(place, json)
    else:
        _add(place, json)


def verify(
    adapter: Annotated[
        str,
        typer.Argument(
            metavar="ADAPTER", help="A folder, a hub id, 'default' or 'news'.", autocompletion=adapters
        ),
    ] = "default",
    json: Json = False,
) -> None:
    """Check that an adapter is undamaged: every file, its LLM's included, is read and compared.

    Sizes and SHA-256 are those that config.yaml records; weights may not hold NaN or infinite numbers. Exit
    code 1 if something is wrong. Loading an adapter checks all sizes, and the contents of files up to 16 MiB.

    Examples:

      mbc adapter verify

      mbc adapter verify ./news-adapter --json
    """
    from mbc_cli.inference.adapters import resolve_adapter
    from mbc_cli.model.adapter_verification import verify_adapter

    location = resolve_adapter(adapter)
    found = verify_adapter(location.directory)
    if json:
        output.write_json({"adapter": location.name, "sound": found.sound, **asdict(found)})
    else:
        for problem in found.problems:
            output.write(problem)
        if found.sound:
            output.write(f"{location.name}: sound, {found.files} files are what was recorded")
        if found.unchecked:
            output.note(found.unchecked)
    if not found.sound:
        raise typer.Exit(ExitCode.FAILED)


def _add(place: str, json: bool) -> None:
    from mbc_cli.inference.adapters import BUNDLED_ADAPTERS, resolve_adapter
    from mbc_cli.inference.trust import trust_adapter
    from mbc_cli.model.adapter import read_description

    location = resolve_adapter(place)
    if location.name in BUNDLED_ADAPTERS:
        raise AdapterError("the bundled adapters are trusted always")
    fingerprint = read_description(location.directory)["fingerprint"]
    trust_adapter(location.name, fingerprint)
    if json:
        output.write_json({"place": location.name, "fingerprint": fingerprint})
    else:
        output.write(f"{location.name}: trusted, fingerprint {fingerprint}")


def _remove(place: str, json: bool) -> None:
    from mbc_cli.inference.trust import distrust_adapter

    # A folder that is gone is still known by its path, and a hub id is no path.
    name = next((each for each in (place, str(Path(place).resolve())) if distrust_adapter(each)), None)
    if name is None:
        raise AdapterError(f"{place!r} is not trusted", "mbc adapter trust --list names what is")
    if json:
        output.write_json({"place": name, "removed": True})
    else:
        output.write(f"{name}: not trusted any more")
