"""Where data sets lie: in a folder of the user's, and the samples in the package."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

from mbc_cli.files import cache_folder


def data_folder() -> Path:
    """``MBC_DATA``, else ``data`` in the cache folder; each data set has a folder of its name in it."""
    if chosen := os.environ.get("MBC_DATA"):
        return Path(chosen).expanduser()
    return cache_folder() / "data"


def sample_folder(name: str) -> Path:
    """Where the sample of a data set lies, in its published form."""
    return Path(str(resources.files(__package__) / "samples" / name))


def find_file(folder: Path, patterns: Iterable[str]) -> Path | None:
    """The first file in a folder, or in the folders within it, that has one of the names; case is ignored."""
    if not folder.is_dir():
        return None
    files = sorted(path for depth in ("*", "*/*") for path in folder.glob(depth) if path.is_file())
    for pattern in patterns:
        for path in files:
            if fnmatch(path.name.lower(), pattern.lower()):
                return path
    return None
