"""The adapter directory: everything that was learned around a frozen LLM, and what is needed to run it.

    config.yaml          format, fingerprint, the MemoryConfig (model), where it came from (provenance), size
                         and SHA-256 of the other files (files) and of a local LLM elsewhere (base_files) and,
                         where it was calibrated, when its memory speaks to a question (calibration)
    memory.safetensors   the memory modules
    kv_lora/             KV-LoRA in PEFT's own format
    tokenizers/          of the LLM and, for method whole-bank, of the two T5s
    document_t5/, question_t5/   the T5s' config.json (whole-bank only; their weights are learned)
    README.md            model card

Nothing in it is executed: YAML read safely, JSON and safetensors. Whoever made it is not believed, though:
what leads out of the folder is refused (adapter_files.py), and dimensions are compared with the weights'
headers before anything is built from them. docs/security.md says what is promised.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
import yaml
from pydantic import Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mbc_cli.errors import AdapterError, MbcError
from mbc_cli.files import write_file
from mbc_cli.model.adapter_files import (
    CHECKED_AT_LOAD,
    Checksum,
    adapter_files,
    base_folder,
    checksums,
    damages,
    is_finite,
)
from mbc_cli.model.base_quantize import Quantize
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.frozen_config import FrozenConfig
from mbc_cli.model.llm.backbone import Backbone, load_llm_config
from mbc_cli.model.llm.kv_lora import load_lora_state, lora_state, save_kv_lora
from mbc_cli.model.llm.model_folder import tensor_shapes, weight_files
from mbc_cli.model.llm.rotary_config import RotaryConfig
from mbc_cli.model.llm.sketch import without_storage
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.model_card import model_card
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.untrusted import UntrustedFileError, parse_yaml, read_text

if TYPE_CHECKING:
    from transformers import PretrainedConfig

FORMAT = 2
WEIGHTS = "memory.safetensors"
LORA_WEIGHTS = "kv_lora/adapter_model.safetensors"
_MOST_BYTES = 1 << 18  # of config.yaml, which is a hundredth of it; YAML is read slowly


@dataclass(frozen=True)
class LoadedAdapter:
    """A memory model ready to use, the texts' tokenizers, and what was recorded about the adapter's making.

    ``fingerprint`` is the one that config.yaml states. ``calibration`` tells when the memory speaks to a
    question; None in adapters that were never calibrated.
    """

    model: MemoryModel
    tokenizers: Tokenizers
    fingerprint: str
    provenance: Mapping[str, Any]
    calibration: Calibration | None = None


class AdapterDescription(FrozenConfig):
    """What config.yaml says; ``base_files`` are the weights of a local LLM outside the adapter."""

    format: Literal[2]
    fingerprint: str = Field(pattern="^[0-9a-f]{32}$")
    model: MemoryConfig
    provenance: dict[str, Any]
    calibration: Calibration | None = None
    files: dict[str, Checksum] = Field(default_factory=dict)
    base_files: dict[str, Checksum] = Field(default_factory=dict)


def save_adapter(
    model: MemoryModel,
    directory: Path,
    tokenizers: Tokenizers,
    provenance: Mapping[str, Any],
    calibration: Calibration | None = None,
) -> None:
    """Write an adapter into ``directory``, leaving other files there alone.

    ``provenance`` (plain values) says how it was made: data, steps, figures. config.yaml is written last:
    without it the directory is no adapter, so a half-written one is never taken for whole.
    """
    directory.mkdir(parents=True, exist_ok=True)
    adapter_files(directory)  # what is overwritten must not be a link to elsewhere
    (directory / "config.yaml").unlink(missing_ok=True)
    weights = {name: value.cpu().contiguous() for name, value in model.adapter_state().items()}
    save_file(weights, directory / WEIGHTS, metadata={"format": "pt"})
    config = _with_base_found_again(model)
    save_kv_lora(model.backbone, directory / "kv_lora", config.base_model)
    tokenizers.save(directory / "tokenizers")
    model.save_architectures(directory)
    description: dict[str, Any] = {
        "format": FORMAT,
        "fingerprint": model.fingerprint(),
        "model": config.model_dump(mode="json"),
        "provenance": dict(provenance),
    }
    if calibration is not None:
        description["calibration"] = calibration.model_dump(mode="json")
    (directory / "README.md").write_text(model_card(description), encoding="utf-8")
    for weights_file in (
        directory / WEIGHTS,
        directory / LORA_WEIGHTS,
    ):
        # safetensors lets nobody but the owner read them; an adapter is shared as far as the umask allows.
        shutil.copymode(directory / "README.md", weights_file)
    write_description(directory, description)


def load_adapter(
    directory: Path,
    base_model_override: str | None = None,
    device: str | torch.device = "cpu",
    quantize: Quantize | None = None,
) -> LoadedAdapter:
    """Load the adapter in ``directory`` around its frozen LLM.

    ``base_model_override`` is a hub id or directory of that LLM, where it is not found under the name in
    config.yaml; ``quantize`` loads the LLM in nf4 or int8 whatever the adapter was trained with. Raises
    AdapterError or ModelError where the directory is no adapter, is damaged, or does not fit the LLM.
    """
    description = read_description(directory)
    config: MemoryConfig = description["model"]
    files = adapter_files(directory, config.base_model)
    for damage in damages(directory, description["files"], among=files, largest_read=CHECKED_AT_LOAD):
        raise _damaged(directory, damage)
    base, revision = base_of(config, directory, base_model_override)
    quantize = quantize or config.base_quantize
    llm_config = load_llm_config(base, revision, quantize=quantize, to_train=False)
    _check_dimensions(directory, config, llm_config)
    backbone = Backbone.from_pretrained(
        base, revision=revision, device=device, quantize=quantize, to_train=False
    )
    tokenizers = Tokenizers.load(config, directory / "tokenizers")
    model = build_memory_model(
        config, backbone, weights_follow=True, architectures=directory, vocabulary=tokenizers.vocabulary
    )
    try:
        model.load_module_state(_finite(load_file(directory / WEIGHTS)))
        load_lora_state(backbone, _finite(load_file(directory / LORA_WEIGHTS)))
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(directory, error) from error
    recorded = {name: description[name] for name in ("fingerprint", "provenance", "calibration")}
    return LoadedAdapter(model.eval(), tokenizers, **recorded)


def write_description(directory: Path, description: Mapping[str, Any]) -> None:
    """Write config.yaml, with the checksums of the files as they are; ``description`` has plain values.

    Raises:
        AdapterError: a file of the adapter is a link.
        OSError: it cannot be written.
    """
    base_model = str(description["model"]["base_model"])
    base = Path(base_model)
    sums = {
        "files": checksums(directory, adapter_files(directory, base_model)),
        "base_files": checksums(base, weight_files(base)) if base.is_absolute() and base.is_dir() else {},
    }
    plain = {key: {name: sum.model_dump() for name, sum in found.items()} for key, found in sums.items()}
    tree = {**description, **plain}
    if not sums["base_files"]:
        del tree["base_files"]
    _write_yaml(directory / "config.yaml", tree)


def write_calibration(directory: Path, calibration: Calibration) -> None:
    """Record ``calibration`` in the config.yaml of the adapter in ``directory``, in place of an earlier one.

    The fingerprint stays: stores that the adapter made are not affected.

    Raises:
        AdapterError: the directory is no adapter.
        OSError: it cannot be written.
    """
    refuse_installed(directory)
    read_description(directory)
    path = directory / "config.yaml"
    description = parse_yaml(read_text(path, _MOST_BYTES))
    description["calibration"] = calibration.model_dump(mode="json")
    _write_yaml(path, description)


def refuse_installed(directory: Path) -> None:
    """Refuse to change an adapter that a package brought: its files belong to the installation.

    Raises:
        AdapterError: ``directory`` lies in this package, or in a folder of installed packages.
    """
    place = directory.resolve()
    ours = Path(__file__).resolve().parents[1]
    if place.is_relative_to(ours) or {"site-packages", "dist-packages"} & set(place.parts):
        raise AdapterError(
            f"the adapter {directory} belongs to an installed package and is not written to",
            "copy the folder to a place of your own and name that",
        )


def read_description(directory: Path) -> dict[str, Any]:
    """The content of config.yaml: the fields of `AdapterDescription` by name.

    Raises AdapterError if the file is missing, not readable or of a format this version does not know.
    """
    path = directory / "config.yaml"
    try:
        tree = parse_yaml(read_text(path, _MOST_BYTES))
        if isinstance(tree, dict) and tree.get("format") not in (FORMAT, None):
            raise AdapterError(
                f"{path} has format {tree['format']!r}, but this version of mbc reads format {FORMAT}",
                "install the version of mbc that wrote the adapter, or a newer one",
            )
        return dict(AdapterDescription.model_validate(tree))
    except FileNotFoundError as error:
        raise AdapterError(
            f"{directory} is not an adapter: it has no config.yaml", "name an adapter directory"
        ) from error
    except (OSError, UntrustedFileError, ValidationError, RecursionError) as error:
        raise _damaged(directory, error) from error


def base_of(config: MemoryConfig, directory: Path, override: str | None = None) -> tuple[str, str | None]:
    """Where to find the LLM, and at which revision: ``override``, or as config.yaml says.

    Raises:
        AdapterError: config.yaml names a place that leads out of the adapter.
    """
    if override is not None:
        return override, None
    inside = base_folder(directory, config.base_model)
    return (config.base_model, config.base_revision) if inside is None else (str(inside), None)


def _check_dimensions(
    directory: Path, config: MemoryConfig, llm_config: PretrainedConfig | RotaryConfig
) -> None:
    """Compare what config.yaml describes with the weights' headers, before it takes any memory."""
    try:
        with without_storage():
            sketch = build_memory_model(
                config, Backbone.from_config(llm_config), weights_follow=True, architectures=directory
            )
            described = {WEIGHTS: sketch.module_state(), LORA_WEIGHTS: lora_state(sketch.backbone)}
        for file, state in described.items():
            held = tensor_shapes(directory / file)
            for name in sorted(state.keys() | held.keys()):
                asked = tuple(state[name].shape) if name in state else None
                if asked != held.get(name):
                    raise ValueError(f"{name} in {file} is {held.get(name)}, but {asked} by config.yaml")
    except (
        MbcError,
        OSError,
        SafetensorError,
        ValueError,
        TypeError,
        RuntimeError,
        ArithmeticError,
    ) as error:
        raise _damaged(directory, error) from error


def _finite(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights as they are. Raises ValueError if one holds NaN or infinite numbers."""
    for name, value in state.items():
        if not is_finite(value):
            raise ValueError(f"{name} holds NaN or infinite numbers")
    return state


def _write_yaml(path: Path, tree: Mapping[str, Any]) -> None:
    text = yaml.dump(dict(tree), Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)
    write_file(path, text)


class _PlainDumper(yaml.SafeDumper):
    """Writes equal objects twice instead of as aliases, which are refused in reading."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _with_base_found_again(model: MemoryModel) -> MemoryConfig:
    """The configuration with the LLM's exact revision, and an absolute path if it is a local directory."""
    config = model.config
    local = Path(config.base_model).exists()
    return config.model_copy(
        update={
            "base_model": str(Path(config.base_model).resolve()) if local else config.base_model,
            "base_revision": None if local else model.backbone.revision,
        }
    )


def _damaged(directory: Path, error: Exception | str) -> AdapterError:
    reason = " ".join(str(error).split())
    return AdapterError(
        f"the adapter {directory} cannot be read: {reason[:300]}",
        "it may be incomplete, damaged, or made for another base model: copy it again or name the base model",
    )
