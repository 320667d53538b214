"""The files of an adapter: which they are, that they lie in its folder, and that they are undamaged.

Nothing in an adapter may lead out of it: no symbolic link is followed, wherever it points to, and neither
pipes nor devices are opened. Checksums tell damage, not malice: who can change a file can change them too.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import torch
from pydantic import Field
from safetensors import safe_open

from mbc_cli.errors import AdapterError, OutputError
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.untrusted import UntrustedFileError, open_regular

PARTS = ("memory.safetensors", "kv_lora", "tokenizers", "document_t5", "question_t5")
CHECKED_AT_LOAD = 16 << 20
"""Bytes of the largest file whose checksum is compared whenever an adapter is loaded: some 10 ms."""

_MOST_FILES = 10_000


class Checksum(FrozenConfig):
    """What a file was when the adapter was written."""

    size: int = Field(ge=0)
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


def base_folder(directory: Path, base_model: str) -> Path | None:
    """The folder of an LLM that lies inside the adapter, which is named ``./...``; None for one elsewhere.

    Raises:
        AdapterError: ``base_model`` leads outside the adapter, if only by a link, or cannot be a name.
    """
    parts = Path(base_model).parts
    if not base_model.isprintable() or ".." in parts or not parts:
        raise AdapterError(
            f"base_model {base_model!r} points outside the adapter {directory}, or nowhere",
            "accepted: ./FOLDER inside the adapter, an absolute path, or a hub id",
        )
    if not base_model.startswith("./"):
        return None
    base = directory / base_model
    if base.resolve() != directory.resolve() / base.relative_to(directory):
        raise AdapterError(
            f"the adapter {directory} is refused: {base} is, or lies behind, a symbolic link",
            "copy the folder itself in its place",
        )
    return base


def adapter_files(directory: Path, base_model: str | None = None) -> list[str]:
    """The names of all files that loading the adapter may read beside config.yaml, in order.

    Raises:
        AdapterError: one of them is a link, a pipe or a device, or ``base_model`` leads outside.
    """
    base = None if base_model is None else base_folder(directory, base_model)
    parts = [directory / part for part in PARTS] + ([] if base is None else [base])
    try:
        return sorted(path.relative_to(directory).as_posix() for path in _regular_files(parts))
    except UntrustedFileError as error:
        raise AdapterError(
            f"the adapter {directory} is refused: {error}", "copy the file itself in its place"
        ) from error


def checksums(directory: Path, names: Iterable[str]) -> dict[str, Checksum]:
    """Size and SHA-256 of files of ``directory``. Raises OSError where one cannot be read."""
    return {name: _checksum((directory / name).resolve()) for name in names}


def damages(
    directory: Path,
    recorded: Mapping[str, Checksum],
    *,
    among: Collection[str] | None = None,
    largest_read: int | None = None,
) -> Iterator[str]:
    """What is wrong with each recorded file that is not what it was, in words.

    Args:
        recorded: by names relative to ``directory``.
        among: the files that may be looked at; None for all, where the names are the user's own.
        largest_read: of larger files only the size is compared; None reads all.
    """
    for name, expected in recorded.items():
        path = directory / name
        if (among is not None and name not in among) or not path.is_file():
            yield f"{name} is missing"
        elif (size := path.stat().st_size) != expected.size:
            yield f"{name} has {size:,} bytes, but had {expected.size:,} when it was written"
        elif largest_read is not None and size > largest_read:
            continue
        elif _checksum(path.resolve()).sha256 != expected.sha256:
            yield f"{name} is damaged: its SHA-256 is not the recorded one"


def tensors_not_finite(path: Path) -> Iterator[str]:
    """The names of the tensors of a safetensors file that hold NaN or infinite numbers, one at a time."""
    with safe_open(path, "pt") as file:
        for name in file.keys():  # noqa: SIM118
            if not is_finite(file.get_tensor(name)):
                yield name


def is_finite(tensor: torch.Tensor) -> bool:
    """Whether all numbers of a tensor are numbers."""
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _regular_files(places: Iterable[Path]) -> list[Path]:
    """The regular files at or below ``places``, as far as they are there. Raises UntrustedFileError."""
    found: list[Path] = []
    waiting = [place for place in places if os.path.lexists(place)]
    while waiting:
        place = waiting.pop()
        mode = place.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise UntrustedFileError(f"{place} is a symbolic link")
        if stat.S_ISDIR(mode):
            waiting += place.iterdir()
        elif stat.S_ISREG(mode):
            found.append(place)
        else:
            raise UntrustedFileError(f"{place} is no regular file")
        if len(found) + len(waiting) > _MOST_FILES:
            raise UntrustedFileError(f"it holds more than {_MOST_FILES:,} files")
    return found


def _checksum(path: Path) -> Checksum:
    with open_regular(path) as file:
        digest = hashlib.file_digest(file, "sha256")
        return Checksum(size=file.tell(), sha256=digest.hexdigest())


def check_unused(directory: Path) -> None:
    """Check that writing an adapter would overwrite nothing in ``directory``; to be called before the work.

    Raises:
        OutputError: it would, or there is a file of that name.
    """
    if directory.exists() and not directory.is_dir():
        raise OutputError(f"{directory} is a file", "choose another output directory")
    for name in ("config.yaml", "README.md", "base", *PARTS):
        if os.path.lexists(directory / name):
            what = "an adapter" if name == "config.yaml" else name
            raise OutputError(f"{directory} already holds {what}", "choose another output directory")
