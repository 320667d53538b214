"""Writing files whose loss would hurt: nothing is overwritten unasked, and a file is whole or untouched."""

import errno
import os
import sys
from pathlib import Path

from mbc_store.durable import publish, write_file

from mbc_cli.errors import OutputError

__all__ = ["cache_folder", "check_new_file", "publish", "write_file"]


def check_new_file(path: Path, *, force: bool = False) -> None:
    """Check that a result can be written to ``path`` without a loss; to be called before the work.

    Args:
        force: a file may be replaced. Devices and pipes always take what is written.

    Raises:
        OutputError: there is a folder or, without ``force``, a file.
        FileNotFoundError: there is no folder for it.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder; accepted: the name of a file")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    if path.is_symlink() or (path.is_file() and not force):
        raise OutputError(f"{path} exists already", "choose another name, or replace it with --force")


def cache_folder() -> Path:
    """Where what was fetched is kept: ``MBC_CACHE``, else ``mbc`` in the user's cache folder."""
    if chosen := os.environ.get("MBC_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "mbc"
    if local := os.environ.get("LOCALAPPDATA"):
        return Path(local) / "mbc" / "Cache"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mbc"
