"""The adapters that this user trusts, by place and fingerprint, kept in the user's configuration folder.

A store names the adapter that made it, but whoever made the store wrote that name: it may point to a folder
that came along with it, or to somebody's repository. So a store's adapter is loaded only if the user has
named it before (with --adapter, in training, or by `mbc adapter trust`). Each is a small file of its own, so
that processes that add some at the same time lose none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mbc_cli.files import write_file
from mbc_cli.untrusted import UntrustedFileError, parse_json, read_text

_MOST_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class TrustedAdapter:
    """``place`` is an absolute path or a hub id, ``fingerprint`` the adapter's when it was trusted."""

    place: str
    fingerprint: str


def config_folder() -> Path:
    """The user's configuration folder of mbc: ``MBC_CONFIG_HOME``, else where the system keeps such."""
    if chosen := os.environ.get("MBC_CONFIG_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "mbc"
    if roaming := os.environ.get("APPDATA"):
        return Path(roaming) / "mbc"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "mbc"


def trusted_adapters() -> list[TrustedAdapter]:
    """All adapters that are trusted, by place."""
    return sorted(_read(), key=lambda trusted: trusted.place)


def trust_adapter(place: str, fingerprint: str) -> None:
    """Trust the adapter at ``place`` from now on, in place of what was there before.

    Raises:
        OSError: the configuration folder cannot be written.
    """
    trusted = TrustedAdapter(place, fingerprint)
    if trusted not in _read():
        write_file(_file_of(place), json.dumps(asdict(trusted)) + "\n")


def remember_adapter(place: Path | str, fingerprint: str) -> None:
    """`trust_adapter` for one that the user has named or made, and so trusts without being asked.

    Where nothing can be remembered, a home that is read-only, it has to be named every time.
    """
    with suppress(OSError):
        trust_adapter(str(place.resolve()) if isinstance(place, Path) else place, fingerprint)


def distrust_adapter(place: str) -> bool:
    """Trust ``place`` no more; whether it was trusted. Raises OSError where the file cannot be removed."""
    file = _file_of(place)
    with suppress(FileNotFoundError):
        file.unlink()
        return True
    return False


def _read() -> Iterator[TrustedAdapter]:
    for file in _folder().glob("*.json"):
        # A file that is none of ours, or half gone, trusts nothing.
        with suppress(OSError, UntrustedFileError):
            match parse_json(read_text(file, _MOST_BYTES)):
                case {"place": str(place), "fingerprint": str(fingerprint)} if file == _file_of(place):
                    yield TrustedAdapter(place, fingerprint)


def _folder() -> Path:
    return config_folder() / "trusted-adapters"


def _file_of(place: str) -> Path:
    return _folder() / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.json"
