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
from typing import TYPE_CHECKING, Any

import torch

from mbc_cli.errors import MbcError, ModelError
from mbc_cli.model.llm.base_models import fetch_base, known_base
from mbc_cli.model.llm.model_folder import check_folder, check_sizes, weight_shapes
from mbc_cli.model.llm.plain_tokenizer import PlainTokenizer, plain_tokenizer
from mbc_cli.untrusted import UntrustedFileError, open_regular

if TYPE_CHECKING:  # importing it takes longer than importing torch, and most commands need none of it
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, T5Model

ATTENTION = "sdpa"  # a configuration may name another, and a kernel would be fetched for it


def load_config(name: str, revision: str | None = None) -> PretrainedConfig:
    """The configuration of a model: a hub id, or a local directory in Hugging Face form.

    Raises:
        ModelError: it is not to be had, malformed, or larger than any model is.
    """
    from transformers import AutoConfig
    from transformers.utils import cached_file

    with as_one_line(f"the model {name!r}{_at(revision)} could not be loaded"):
        name, gguf = place_of(name)
        check_folder(Path(name))
        if not Path(name).is_dir():
            check_sizes(Path(cached_file(name, "config.json", revision=revision)))
        config = AutoConfig.from_pretrained(
            name, revision=revision, trust_remote_code=False, attn_implementation=ATTENTION, **gguf
        )
        config._attn_implementation = ATTENTION  # the file may spell it so, which overrules the argument
        return config


def known_config(model_type: str, settings: Mapping[str, Any]) -> PretrainedConfig:
    """A configuration of our own making, such as that of a well-known model."""
    from transformers import AutoConfig

    return AutoConfig.for_model(model_type, **settings)


def load_language_model(
    name: str, config: PretrainedConfig, *, revision: str | None = None, **options: Any
) -> PreTrainedModel:
    """The causal LLM whose configuration is ``config``; ``options`` are those of `transformers`.

    The dtype ``"auto"`` is the file's own, and bf16 for a GGUF file, whose packed weights have none.

    Raises:
        ModelError: its weights are not to be had, malformed, or fewer than the configuration asks for.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    with as_one_line(f"the model {name!r}{_at(revision)} could not be loaded"):
        name, gguf = place_of(name)
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
    from transformers import AutoModelForCausalLM

    with as_one_line(f"no LLM can be built as the configuration of {config.name_or_path!r} says"):
        return AutoModelForCausalLM.from_config(
            config, trust_remote_code=False, attn_implementation=ATTENTION
        )


def load_t5(name: str) -> T5Model:
    """The pretrained T5 ``name`` without its output layer. Raises ModelError if there is none."""
    from transformers import T5Model

    config = load_config(name)
    with as_one_line(f"the model {name!r} could not be loaded"):
        return T5Model.from_pretrained(
            name, config=config, trust_remote_code=False, attn_implementation=ATTENTION, use_safetensors=True
        )


def load_text_encoder(name: str) -> PreTrainedModel:
    """The encoder of a hub id or directory, without any head. Raises ModelError if there is none."""
    from transformers import AutoModel

    config = load_config(name)
    with as_one_line(f"the text encoder {name!r} could not be loaded"):
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
    from transformers import AutoTokenizer

    with as_one_line(f"no tokenizer could be loaded from {name!r}{_at(revision)}"):
        name, gguf = place_of(name)
        check_folder(Path(name))
        tokenizer = AutoTokenizer.from_pretrained(name, revision=revision, trust_remote_code=False, **gguf)
        # Where the files are missing, transformers makes one that knows no text, and says nothing.
        if len(tokenizer) - len(tokenizer.added_tokens_decoder) < 2:
            raise UntrustedFileError("its vocabulary is empty")
        # Some settings are looked at only in use.
        tokenizer(["A text."], truncation=True, max_length=8)
        tokenizer.decode(tokenizer(["A text."])["input_ids"][0], skip_special_tokens=True)
        return tokenizer


def load_saved_tokenizer(directory: Path) -> PreTrainedTokenizerBase | PlainTokenizer:
    """The tokenizer in ``directory``, without `transformers` where it is plain. Raises ModelError if none."""
    with as_one_line(f"no tokenizer could be loaded from {str(directory)!r}"):
        plain = plain_tokenizer(directory) if directory.is_dir() else None
    return plain or load_tokenizer(str(directory))


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


def place_of(name: str) -> tuple[str, dict[str, str]]:
    """Where ``name`` is loaded from, and the option that names a GGUF file there.

    A name of base_models.py is fetched if it is not here yet.
    """
    if Path(name).is_dir():
        return name, {}
    if name.endswith(".gguf") and Path(name).is_file():
        open_regular(Path(name)).close()
        return str(Path(name).parent), {"gguf_file": Path(name).name}
    return (name, {}) if known_base(name) is None else (str(fetch_known(name)), {})


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
def as_one_line(what: str) -> Iterator[None]:
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
