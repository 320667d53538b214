"""The folder of a local model, looked at before anything is loaded from it: its files are its own, and small.

Whoever made the folder wrote its files. Nothing here needs `transformers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import safe_open

from mbc_cli.untrusted import UntrustedFileError, open_regular, parse_json, read_text

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_MOST_BYTES = 1 << 20  # of config.json
_MOST_TABLE_BYTES = 64 << 20  # of other JSON files; the largest vocabularies take half of it
_MOST_LAYERS = 1000
_LARGEST_NUMBER = 2**31 - 1


def check_folder(directory: Path) -> None:
    """See that a local model's files are files of that folder. What is no directory is left to the hub.

    Links are followed: a model that the user keeps may well be linked together. Where they must not be,
    as in an adapter, they have been refused before.

    Raises:
        UntrustedFileError: the folder holds a pipe or a device, names files outside, or names another model.
    """
    if not directory.is_dir():
        return
    for path in sorted(directory.iterdir()):
        if path.exists() and not path.is_file() and not path.is_dir():
            raise UntrustedFileError(f"{path} is no regular file")
        if path.suffix == ".json" and path.is_file() and path.stat().st_size > _MOST_TABLE_BYTES:
            raise UntrustedFileError(f"{path} is larger than {_MOST_TABLE_BYTES:,} bytes")
    if (directory / "config.json").exists():
        check_sizes(directory / "config.json")
    if (directory / "adapter_config.json").exists():
        raise UntrustedFileError(f"{directory} holds an adapter_config.json, which may name another model")
    tokenizer_config(directory)  # names no file outside
    weight_files(directory)  # whose index is looked at by this


def weight_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of a local model, read off the headers of its safetensors files.

    Raises:
        OSError, UntrustedFileError, SafetensorError: a file is missing or malformed.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for name in weight_files(directory):
        shapes |= tensor_shapes((directory / name).resolve())
    return shapes


def weight_files(directory: Path) -> list[str]:
    """The names of a local model's safetensors files, found as `transformers` finds them.

    Raises:
        UntrustedFileError: the index is malformed, or names a file outside the folder.
    """
    index = directory / INDEX
    if (directory / WEIGHTS).exists() or not index.exists():
        return [WEIGHTS] if (directory / WEIGHTS).exists() else []
    content = parse_json(read_text(index.resolve(), _MOST_TABLE_BYTES))
    places = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
        raise UntrustedFileError(f"{index} holds no weight_map of file names")
    for name in places.values():
        if Path(name).name != name:
            raise UntrustedFileError(f"{index} names a file outside its folder, {name!r}")
    return sorted(set(places.values()))


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors of one safetensors file. Raises as `weight_shapes`."""
    open_regular(path).close()
    with safe_open(path, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def tokenizer_config(directory: Path) -> dict[str, Any]:
    """The content of a tokenizer's tokenizer_config.json, empty where there is none.

    Raises:
        UntrustedFileError: it is malformed, or names a file outside the folder.
    """
    path = directory / "tokenizer_config.json"
    if not path.exists():
        return {}
    content = parse_json(read_text(path.resolve(), _MOST_TABLE_BYTES))
    if not isinstance(content, dict):
        raise UntrustedFileError(f"{path} holds no mapping")
    for key, value in content.items():
        if key.endswith("_file") and isinstance(value, str) and Path(value).name != value:
            raise UntrustedFileError(f"{path} names a file outside its folder, {value!r}")
    return content


def config_json(directory: Path) -> dict[str, Any]:
    """The content of a model's config.json. Raises UntrustedFileError as `check_sizes`."""
    return check_sizes(directory / "config.json")


def check_sizes(path: Path) -> dict[str, Any]:
    """A config.json; one with what no model has is refused: lists and modules of that length would be made.

    Raises:
        UntrustedFileError: it is that, or malformed.
    """
    config = parse_json(read_text(path.resolve(), _MOST_BYTES))
    if not isinstance(config, dict):
        raise UntrustedFileError(f"{path} holds no mapping")
    method = config.get("quantization_config")
    if method is not None and (not isinstance(method, dict) or method.get("quant_method") != "bitsandbytes"):
        raise UntrustedFileError("its weights are quantised by another method than bitsandbytes")
    for key, number in _whole_numbers(config):
        most = _MOST_LAYERS if "layer" in key else _LARGEST_NUMBER
        if abs(number) > most:
            raise UntrustedFileError(f"{path} says {key}: {number}; accepted: at most {most:,}")
    return config


def _whole_numbers(tree: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _whole_numbers(value, str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _whole_numbers(value)
    elif isinstance(tree, int) and not isinstance(tree, bool):
        yield key, tree
