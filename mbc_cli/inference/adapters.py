"""Where an adapter comes from: one that is bundled, a directory, or the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, TypedDict, Unpack

from mbc_cli.errors import AdapterError, DeviceError
from mbc_cli.inference.trust import TrustedAdapter, remember_adapter, trusted_adapters
from mbc_cli.model.base_quantize import Quantize
from mbc_cli.untrusted import parse_yaml, read_text

if TYPE_CHECKING:
    from mbc_store import StoreConfig

    from mbc_cli.model.adapter import LoadedAdapter


DEFAULT_ADAPTER = "default"
BUNDLED_ADAPTERS = {DEFAULT_ADAPTER: "smollm2-135m", "news": "news"}
"""The names of the adapters that come with the package, and their folders."""
CONFIG_FILE = "config.yaml"
_MOST_BYTES = 1 << 18  # of a bundled adapter's config.yaml
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(@[\w./-]+)?")  # not ./folder, which is a path


@dataclass(frozen=True, slots=True)
class AdapterLocation:
    """A readable adapter directory, and the name by which a store can find it again.

    ``name`` is that of a bundled adapter, an absolute path, or a hub id with its revision
    (``owner/name@revision``).
    ``chosen`` says that the user named it on purpose, which is to trust it.
    """

    directory: Path
    name: str
    chosen: bool = False


def resolve_adapter(adapter: str | Path | None = None) -> AdapterLocation:
    """Return the directory of ``adapter``, downloading it if it is a hub id; None is the bundled default.

    The names of bundled adapters go before directories (``./news`` is a directory), and those before the hub,
    so ``owner/name`` on disk is never shadowed.

    Raises:
        MbcError: there is no such adapter, or the hub cannot be reached.
    """
    name = DEFAULT_ADAPTER if adapter is None else str(adapter)
    if name in BUNDLED_ADAPTERS:
        return _bundled(name)
    try:
        directory = Path(name).expanduser()
    except RuntimeError:
        raise AdapterError(f"{name!r} names the home of a user who is not known") from None
    if directory.is_dir():
        return AdapterLocation(_checked(directory.resolve()), str(directory.resolve()), chosen=True)
    if _HUB_ID.fullmatch(name):
        return AdapterLocation(_checked(_download(name)), name, chosen=True)
    raise AdapterError(
        f"adapter {name!r} is no directory",
        "give a directory written by `mbc adapt`, a hub id such as owner/name, or one of "
        f"{', '.join(BUNDLED_ADAPTERS)}",
    )


def resolve_recorded(name: str | None, fingerprint: str, store: object) -> AdapterLocation:
    """The adapter that made ``store``, which names it by fingerprint and, as a suggestion, by place.

    Only the bundled adapters and those that the user trusts (trust.py) are looked at: a store's maker may
    have written any name, and nothing is read or fetched because a store says so.

    Raises:
        AdapterError: the user trusts no adapter of that name or fingerprint, or it is gone.
    """
    if name is None or name in BUNDLED_ADAPTERS:
        return _recorded_as_bundled(name or DEFAULT_ADAPTER, fingerprint)
    candidates = [
        trusted
        for trusted in trusted_adapters()
        if trusted.place == name or trusted.fingerprint == fingerprint
    ]
    if candidates:
        best = min(candidates, key=lambda trusted: _unfitness(trusted, name, fingerprint))
        return replace(resolve_adapter(best.place), chosen=False)
    place = quote(name) if name.isprintable() else "PLACE"
    raise AdapterError(
        f"{store} was made with the adapter {name!r} (fingerprint {fingerprint!r}), which you do not trust: "
        "stores name any adapter they like",
        f"name yours with --adapter, or, if you know where it comes from: mbc adapter trust {place}",
    )


def _unfitness(trusted: TrustedAdapter, name: str, fingerprint: str) -> tuple[bool, bool, bool]:
    """Less is better: an adapter that is still there, is the one asked for, and where the store says."""
    there = _HUB_ID.fullmatch(trusted.place) or Path(trusted.place, CONFIG_FILE).is_file()
    return not there, trusted.fingerprint != fingerprint, trusted.place != name


class Loading(TypedDict, total=False):
    """How to load an adapter's model.

    Attributes:
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...; by default ``"auto"``, a GPU where there is one.
        quantize: load the LLM in 4 bits (``"nf4"``) or 8 (``"int8"``); needs bitsandbytes.
        base_model: where the adapter's LLM is, if not where the adapter says: a directory or hub id.
    """

    device: str
    quantize: Quantize | None
    base_model: str | None


def load_adapter(adapter: str | Path | None = None, **loading: Unpack[Loading]) -> LoadedAdapter:
    """Load the model and tokenizers of ``adapter``: a directory, a hub id, or None for the bundled default.

    Raises:
        MbcError: the adapter, its LLM or the device is not to be had.
    """
    return load_on(resolve_adapter(adapter), **loading)


def load_on(
    location: AdapterLocation,
    device: str = "auto",
    quantize: Quantize | None = None,
    base_model: str | None = None,
) -> LoadedAdapter:
    """Load the model of an adapter that was found; see :class:`Loading` and :func:`load_adapter`.

    One that the user has named is trusted from then on.
    """
    import torch

    from mbc_cli.model import adapter

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # unknown, not there, or a device without data
        reason = str(error).strip().partition("\n")[0]
        raise DeviceError(f"device {device!r} cannot be used: {reason}", "use cpu or auto") from error
    loaded = adapter.load_adapter(
        location.directory, base_model_override=base_model, device=device, quantize=quantize
    )
    if location.chosen:
        remember_adapter(location.name, loaded.fingerprint)
    return loaded


def _bundled(name: str) -> AdapterLocation:
    # The package is installed as plain files (the weights are memory-mapped), so its path can be used.
    directory = Path(str(resources.files("mbc_cli"))) / "default_adapters" / BUNDLED_ADAPTERS[name]
    if not (directory / CONFIG_FILE).is_file():
        raise AdapterError(
            f"this installation does not carry the adapter {name!r}",
            "name one with --adapter, or install the released package of mbc",
        )
    return AdapterLocation(directory, name)


def _recorded_as_bundled(name: str, fingerprint: str) -> AdapterLocation:
    """The bundled adapter of that fingerprint, as a store may be older than what is the default today."""
    for other in BUNDLED_ADAPTERS:
        location = _bundled(other)
        description = parse_yaml(read_text(location.directory / CONFIG_FILE, _MOST_BYTES))
        if description["fingerprint"] == fingerprint:
            return location
    return _bundled(name)


def _checked(directory: Path) -> Path:
    if not (directory / CONFIG_FILE).is_file():
        raise AdapterError(
            f"{directory} is not an adapter: it holds no {CONFIG_FILE}",
            "give a directory written by `mbc adapt` or `mbc adapter import-reference`",
        )
    return directory


def _download(name: str) -> Path:
    from huggingface_hub import constants, snapshot_download

    repository, _, revision = name.partition("@")
    # Beside the hub's own cache, whose folders are links into others: an adapter is a folder of plain files.
    place = f"at-{revision or 'main'}".replace("/", "-")  # revisions may hold slashes, and dots
    folder = Path(constants.HF_HUB_CACHE) / "mbc-adapters" / repository / place
    try:
        # safetensors, YAML and JSON only: nothing in an adapter is ever executed.
        patterns = ["*.safetensors", "*.yaml", "*.json", "*.txt", "*.model", "*.md"]
        return Path(
            snapshot_download(
                repository, revision=revision or None, allow_patterns=patterns, local_dir=folder
            )
        )
    except (OSError, ValueError) as error:  # the hub's own errors derive from these
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise AdapterError(
            f"cannot get adapter {name!r} from the hub: {reason}",
            "check the name and the network, or give the path of a local adapter directory",
        ) from error


def store_config(adapter: LoadedAdapter, name: str, *, keep_text: bool) -> StoreConfig:
    """Of a store for the codes of ``adapter``, which has that ``name``."""
    from mbc_store import StoreConfig

    model = adapter.model
    slots, num_quantizers, codebook_size = model.code_shape
    return StoreConfig(
        slots=slots,
        num_quantizers=num_quantizers,
        codebook_size=codebook_size,
        fingerprint=model.fingerprint(),
        keep_text=keep_text,
        adapter=name,
        base_model=model.config.base_model,
        vector_width=model.context_width,
        quantization_error=(adapter.provenance or {}).get("quantization_error"),
        shared_counts=model.codes_are_tokens,
    )
