"""The adapter directory: everything that was learned around a frozen LLM, and what is needed to run it.

    config.yaml          format, fingerprint, the MemoryConfig (model), where it came from (provenance) and,
                         where it was calibrated, when its memory speaks to a question (calibration)
    memory.safetensors   the memory modules
    kv_lora/             KV-LoRA in PEFT's own format
    tokenizers/          of the LLM and, for amortization t5, of the two T5s
    document_t5/, question_t5/   the T5s' config.json (amortization t5 only; their weights are learned)
    README.md            model card

Nothing in it is executed: YAML read safely, JSON and safetensors.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import T5Config

from mbc_cli.errors import AdapterError, ModelError
from mbc_cli.model.build import build_memory_model
from mbc_cli.model.calibration import Calibration
from mbc_cli.model.config import MemoryConfig
from mbc_cli.model.llm.architectures import t5_config
from mbc_cli.model.llm.backbone import Backbone, Quantize
from mbc_cli.model.llm.kv_lora import load_kv_lora, save_kv_lora
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.model_card import model_card
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.model.whole_bank.t5_encoder import T5SlotEncoder

FORMAT = 1
_T5_PARTS = {"document_t5": "amortizer", "question_t5": "question_encoder"}


@dataclass(frozen=True)
class LoadedAdapter:
    """A memory model ready to use, the texts' tokenizers, and what was recorded about the adapter's making.

    ``calibration`` tells when the memory speaks to a question; None in adapters that were never calibrated.
    """

    model: MemoryModel
    tokenizers: Tokenizers
    provenance: Mapping[str, Any]
    calibration: Calibration | None = None


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
    config_file = directory / "config.yaml"
    config_file.unlink(missing_ok=True)
    weights = {name: value.cpu().contiguous() for name, value in model.module_state().items()}
    save_file(weights, directory / "memory.safetensors", metadata={"format": "pt"})
    save_kv_lora(model.backbone, directory / "kv_lora")
    tokenizers.save(directory / "tokenizers")
    for name, part in _T5_PARTS.items():
        encoder = getattr(model, part, None)  # a select model has other parts
        if isinstance(encoder, T5SlotEncoder):
            encoder.t5_config.save_pretrained(str(directory / name))
    config = _with_base_found_again(model)
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
        directory / "memory.safetensors",
        directory / "kv_lora" / "adapter_model.safetensors",
    ):
        # safetensors lets nobody but the owner read them; an adapter is shared as far as the umask allows.
        shutil.copymode(directory / "README.md", weights_file)
    config_file.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8")


def load_adapter(
    directory: Path,
    base_model_override: str | None = None,
    device: str | torch.device = "cpu",
    quantize: Quantize | None = None,
) -> LoadedAdapter:
    """Load the adapter in ``directory`` around its frozen LLM.

    ``base_model_override`` is a hub id or directory of that LLM, where it is not found under the name in
    config.yaml; ``quantize`` loads the LLM in nf4 or int8 whatever the adapter was trained with. Raises
    MbcError where the directory is no adapter, is damaged, or does not fit the LLM.
    """
    description = read_description(directory)
    config: MemoryConfig = description["model"]
    base, revision = _base_of(config, directory, base_model_override)
    backbone = Backbone.from_pretrained(
        base, revision=revision, device=device, quantize=quantize or config.base_quantize
    )
    t5s = {name: _t5_architecture(directory / name, config) for name in _T5_PARTS}
    model = build_memory_model(config, backbone, **t5s, weights_follow=True)
    try:
        model.load_module_state(load_file(directory / "memory.safetensors"))
        load_kv_lora(backbone, directory / "kv_lora")
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise _damaged(directory, error) from error
    tokenizers = Tokenizers.load(config, directory / "tokenizers")
    return LoadedAdapter(model.eval(), tokenizers, description["provenance"], description["calibration"])


def write_calibration(directory: Path, calibration: Calibration) -> None:
    """Record ``calibration`` in the config.yaml of the adapter in ``directory``, in place of an earlier one.

    The fingerprint stays: stores that the adapter made are not affected.

    Raises:
        MbcError: the directory is no adapter.
        OSError: it cannot be written.
    """
    read_description(directory)
    path = directory / "config.yaml"
    description = yaml.safe_load(path.read_text(encoding="utf-8"))
    description["calibration"] = calibration.model_dump(mode="json")
    # Written beside it and moved: a crash leaves the old file or the new one, and so always an adapter.
    temporary = path.with_suffix(".yaml.part")
    temporary.write_text(yaml.safe_dump(description, sort_keys=False, allow_unicode=True), encoding="utf-8")
    temporary.replace(path)


def read_description(directory: Path) -> dict[str, Any]:
    """The content of config.yaml: format, fingerprint, model (a MemoryConfig), provenance, and calibration.

    The last is a Calibration or None.

    Raises MbcError if the file is missing, not readable or of a format this version does not know.
    """
    path = directory / "config.yaml"
    try:
        description = yaml.safe_load(path.read_text(encoding="utf-8"))
        if description["format"] != FORMAT:
            raise AdapterError(
                f"{path} has format {description['format']!r}, but this version of mbc reads format {FORMAT}",
                "install the version of mbc that wrote the adapter, or a newer one",
            )
        calibration = description.get("calibration")
        return {
            "format": FORMAT,
            "fingerprint": description["fingerprint"],
            "model": MemoryConfig.model_validate(description["model"]),
            "provenance": description["provenance"],
            "calibration": None if calibration is None else Calibration.model_validate(calibration),
        }
    except FileNotFoundError as error:
        raise AdapterError(
            f"{directory} is not an adapter: it has no config.yaml", "name an adapter directory"
        ) from error
    except (yaml.YAMLError, KeyError, TypeError, UnicodeDecodeError, ValidationError) as error:
        raise _damaged(directory, error) from error


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


def _base_of(config: MemoryConfig, directory: Path, override: str | None) -> tuple[str, str | None]:
    """Where to find the LLM: a base named ``./...`` lies inside the adapter directory."""
    if override is not None:
        return override, None
    if config.base_model.startswith("./"):
        inside = (directory / config.base_model).resolve()
        if not inside.is_relative_to(directory.resolve()):
            raise AdapterError(f"base_model {config.base_model!r} points outside the adapter {directory}")
        return str(inside), None
    return config.base_model, config.base_revision


def _t5_architecture(directory: Path, config: MemoryConfig) -> T5Config | None:
    if config.amortization.kind != "t5":
        return None
    try:
        return t5_config(str(directory))
    except ModelError as error:
        raise _damaged(directory.parent, error) from error


def _damaged(directory: Path, error: Exception) -> AdapterError:
    reason = " ".join(str(error).split())
    return AdapterError(
        f"the adapter {directory} cannot be read: {reason[:300]}",
        "it may be incomplete, damaged, or made for another base model: copy it again or name the base model",
    )
