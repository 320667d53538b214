"""The one door through which `transformers` reads configurations, models and tokenizers.

Whoever made a model's folder wrote its files, and `transformers` takes a lot from them: code to import, a
kernel to fetch, another file or repository to read instead. Here it may run no code, computes attention with
what PyTorch has, reads weights as safetensors only, and never asks anybody anything: stdin is data. What it
then raises on a malformed file, nearly every type, becomes one line. Folders are looked at before.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    T5Model,
)
from transformers.utils import cached_file

from mbc_cli.errors import MbcError, ModelError
from mbc_cli.model.llm.base_models import fetch_base, known_base
from mbc_cli.untrusted import UntrustedFileError, open_regular, parse_json, read_text

ATTENTION = "sdpa"  # a configuration may name another, and a kernel would be fetched for it
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"

_MOST_BYTES = 1 << 20  # of config.json
_MOST_TABLE_BYTES = 64 << 20  # of other JSON files; the largest vocabularies take half of it
_MOST_LAYERS = 1000
_LARGEST_NUMBER = 2**31 - 1


def load_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a model: a hub id, or a local directory in Hugging Face form.

    Raises:
        ModelError: it is not to be had, malformed, or larger than any model is.
    """
    with _as_one_line(f"the model {name!r}{_at(revision)} could not be loaded"):
        name, gguf = _place(name)
        check_folder(Path(name))
        if not Path(name).is_dir():
            _check_sizes(Path(cached_file(name, "config.json", revision=revision)))
        config = AutoConfig.from_pretrained(
            name, revision=revision, trust_remote_code=False, attn_implementation=ATTENTION, **gguf
        )
        config._attn_implementation = ATTENTION  # the file may spell it so, which overrules the argument
        return config


def known_config(model_type: str, settings: Mapping[str, Any]) -> PretrainedConfig:
    """A configuration of our own making, such as that of a well-known model."""
    return AutoConfig.for_model(model_type, **settings)


def load_language_model(
    name: str, config: PretrainedConfig, *, revision: str | None = None, **options: Any
) -> PreTrainedModel:
    """The causal LLM whose configuration is ``config``; ``options`` are those of `transformers`.

    The dtype ``"auto"`` is the file's own, and bf16 for a GGUF file, whose packed weights have none.

    Raises:
        ModelError: its weights are not to be had, malformed, or fewer than the configuration asks for.
    """
    with _as_one_line(f"the model {name!r}{_at(revision)} could not be loaded"):
        name, gguf = _place(name)
        if gguf:
            # Unpacked at once: packed weights cannot be saved, and their kernels would be fetched from a hub.
            options = {"quantization_config": GgufConfig(dequantize=True)} | options
            if options.get("dtype") == "auto":
                options["dtype"] = torch.bfloat16
        elif Path(name).is_dir():
            _check_weights_fill(config, weight_shapes(Path(name)))
        model, report = AutoModelForCausalLM.from_pretrained(
            name,
            config=config,
            revision=revision,
            trust_remote_code=False,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            output_loading_info=True,
            **gguf,
            **options,
        )
        if missing := sorted(report["missing_keys"]):  # which `transformers` makes up at random
            raise UntrustedFileError(f"its weights lack {missing[0]} and {len(missing) - 1} others")
        return model


def random_language_model(config: PretrainedConfig) -> PreTrainedModel:
    """A causal LLM with random weights; under ``torch.device("meta")`` one without storage.

    Raises:
        ModelError: no such LLM can be built.
    """
    with _as_one_line(f"no LLM can be built as the configuration of {config.name_or_path!r} says"):
        return AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, attn_implementation=ATTENTION
        )


def load_t5(name: str) -> T5Model:
    """The pretrained T5 ``name`` without its output layer. Raises ModelError if there is none."""
    config = load_config(name)
    with _as_one_line(f"the model {name!r} could not be loaded"):
        return T5Model.from_pretrained(
            name, config=config, trust_remote_code=False, attn_implementation=ATTENTION, use_safetensors=True
        )


def load_text_encoder(name: str) -> PreTrainedModel:
    """The encoder of a hub id or directory, without any head. Raises ModelError if there is none."""
    config = load_config(name)
    with _as_one_line(f"the text encoder {name!r} could not be loaded"):
        if Path(name).is_dir():
            check_folder(Path(name))
        encoder, report = AutoModel.from_pretrained(
            name,
            config=config,
            trust_remote_code=False,
            attn_implementation=ATTENTION,
            use_safetensors=True,
            output_loading_info=True,
        )
        # A pooler is no part of the states, and often not kept.
        if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
            raise UntrustedFileError(f"its weights lack {missing[0]} and {len(missing) - 1} others")
        return encoder


def load_tokenizer(name: str, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id or directory. Raises ModelError if there is none."""
    with _as_one_line(f"no tokenizer could be loaded from {name!r}{_at(revision)}"):
        name, gguf = _place(name)
        check_folder(Path(name))
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False, **gguf)
        # Where the files are missing, transformers makes one that knows no text, and says nothing.
        if len(tokenizer) - len(tokenizer.added_tokens_decoder) < 2:
            raise UntrustedFileError("its vocabulary is empty")
        # Some settings are looked at only in use.
        tokenizer(["A text."], truncation=True, max_length=8)
        tokenizer.decode(tokenizer(["A text."])["input_ids"][0], skip_special_tokens=True)
        return tokenizer


def convert_gguf(gguf: Path, folder: Path) -> None:
    """Write the LLM and tokenizer of a GGUF file as bf16 safetensors in Hugging Face form.

    Raises:
        ModelError: the file is no GGUF of an architecture that `transformers` reads.
    """
    config = load_config(str(gguf))
    load_language_model(str(gguf), config, dtype=torch.bfloat16).save_pretrained(folder)
    load_tokenizer(str(gguf)).save_pretrained(folder)


def fetch_known(name: str) -> Path:
    """`fetch_base`, converted by `convert_gguf`."""
    return fetch_base(name, convert_gguf)


def _place(name: str) -> tuple[str, dict[str, str]]:
    """Where ``name`` is loaded from, and the option that names a GGUF file there.

    A name of base_models.py is fetched if it is not here yet.
    """
    if Path(name).is_dir():
        return name, {}
    if name.endswith(".gguf") and Path(name).is_file():
        open_regular(Path(name)).close()
        return str(Path(name).parent), {"gguf_file": Path(name).name}
    return (name, {}) if known_base(name) is None else (str(fetch_known(name)), {})


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
        _check_sizes(directory / "config.json")
    if (directory / "adapter_config.json").exists():
        raise UntrustedFileError(f"{directory} holds an adapter_config.json, which may name another model")
    _tokenizer_files_lie_in(directory)
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


def _tokenizer_files_lie_in(directory: Path) -> None:
    path = directory / "tokenizer_config.json"
    if not path.exists():
        return
    content = parse_json(read_text(path.resolve(), _MOST_TABLE_BYTES))
    if not isinstance(content, dict):
        raise UntrustedFileError(f"{path} holds no mapping")
    for key, value in content.items():
        if key.endswith("_file") and isinstance(value, str) and Path(value).name != value:
            raise UntrustedFileError(f"{path} names a file outside its folder, {value!r}")


def _check_sizes(path: Path) -> None:
    """Refuse a config.json with what no model has: `transformers` makes lists and modules of that length."""
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


def _whole_numbers(tree: Any, key: str = "") -> Iterator[tuple[str, int]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from _whole_numbers(value, str(name))
    elif isinstance(tree, list):
        for value in tree:
            yield from _whole_numbers(value)
    elif isinstance(tree, int) and not isinstance(tree, bool):
        yield key, tree


def _check_weights_fill(config: PretrainedConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse a configuration that asks for more parameters than the weights can hold, before it is built.

    A quantised file may hold two parameters in a byte, which is one number of its tensors.
    """
    with torch.device("meta"):
        asked = sum(parameter.numel() for parameter in random_language_model(config).parameters())
    held = sum(math.prod(shape) for shape in shapes.values())
    if asked > 2 * held:
        raise UntrustedFileError(
            f"config.json describes {asked:,} parameters, but the weights hold {held:,} numbers"
        )


@contextmanager
def _as_one_line(what: str) -> Iterator[None]:
    """Tell any failure of reading somebody else's files as an MbcError."""
    try:
        yield
    except (MbcError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers and tokenizers raise nearly every type on malformed files
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        if "trust_remote_code" in str(error):
            reason = "it would run Python code of its own, which mbc never does"
        raise ModelError(
            f"{what}: {reason[:300]}",
            "name a local directory in Hugging Face form, or check the network and the hub id",
        ) from error


def _at(revision: str | None) -> str:
    return f" at revision {revision!r}" if revision else ""
