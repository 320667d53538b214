"""What a shell completes beside commands and options: presets, adapters, stores and tags.

Called at every press of the tab key: nothing heavy is imported but for tags, which the store has to tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import typer

import mbc_cli

_STORE = "icechunk"  # what a store's folder holds
_ADAPTER = "config.yaml"


def presets(incomplete: str) -> list[str]:
    """The bundled presets, and YAML files."""
    folder = Path(mbc_cli.__file__).parent / "presets"  # the package itself imports what reads a preset
    names = sorted(path.stem for path in folder.glob("[!_]*.yaml"))
    return [name for name in [*names, *_paths(incomplete, "*.yaml")] if name.startswith(incomplete)]


def adapters(incomplete: str) -> list[str]:
    """The bundled adapters, those that are trusted, and folders that hold one."""
    from mbc_cli.inference.adapters import BUNDLED_ADAPTERS
    from mbc_cli.inference.trust import trusted_adapters

    known = [*BUNDLED_ADAPTERS, *(trusted.place for trusted in trusted_adapters())]
    return [name for name in [*known, *_folders(incomplete, _ADAPTER)] if name.startswith(incomplete)]


def stores(incomplete: str) -> list[str]:
    """Folders that hold a store, and those on the way to one."""
    return list(_folders(incomplete, _STORE))


def tags(context: typer.Context, incomplete: str) -> list[str]:
    """The tags of the store that the command line names so far, on this machine."""
    store = str(context.params.get("store") or "")
    if not store or "://" in store:
        return []
    with suppress(Exception):  # a store that cannot be read has nothing to complete
        from mbc_store import MemoryStore

        return [name for name in sorted(MemoryStore.open(store).tags()) if name.startswith(incomplete)]
    return []


def _folders(incomplete: str, holding: str) -> Iterator[str]:
    """Folders whose name goes on from ``incomplete``: as they are where they hold that, else with a slash."""
    for path in _matching(incomplete, "*"):
        with suppress(OSError):
            if path[1].is_dir():
                yield path[0] if (path[1] / holding).exists() else f"{path[0]}/"


def _paths(incomplete: str, pattern: str) -> Iterator[str]:
    yield from (name for name, _ in _matching(incomplete, pattern))


def _matching(incomplete: str, pattern: str) -> Iterator[tuple[str, Path]]:
    """What is in the folder that ``incomplete`` names so far: as the user would write it, and its path."""
    written, slash, begun = incomplete.rpartition("/")
    with suppress(OSError, RuntimeError):  # no such folder or home
        for path in sorted(Path(written + slash or ".").expanduser().glob(pattern)):
            if path.name.startswith(begun) and (begun.startswith(".") or not path.name.startswith(".")):
                yield f"{written}{slash}{path.name}", path
