"""Read a checkpoint of the published implementation: ``{state_dict, lora_state_dict}``, tensors only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mbc_cli.errors import CheckpointError
from mbc_cli.model.adapter_files import is_finite
from mbc_cli.model.llm.kv_lora import load_lora_state
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.untrusted import open_regular

# The published names -> ours. A list of modules, one per slot, becomes one stacked parameter, in which
# weights are transposed: (outputs, inputs) there, (slots, inputs, outputs) here.
_ENCODER = {"enc_decoder": "amortizer", "aggregator.question_encoder": "question_encoder"}
_PROJECTION = {"mlps": "amortizer.projection", "aggregator.mlps": "question_encoder.projection"}
_PROJECTION_PARTS = {"skip": "skip", "mlp.0": "norm", "mlp.1": "enter", "mlp.3": "leave"}
_MODULATION_PARTS = {"net.0": "norm", "net.1": "enter", "net.4": "leave"}
_BLOCK_PARTS = {
    "norm1": "norm_query",
    "norm_context": "norm_bank",
    "attn.to_out.0": "attention.to_out",
    "attn": "attention",
    "norm2": "norm_feed_forward",
    "mlp.net.0": "feed_forward.0",
    "mlp.net.3": "feed_forward.2",
}


def read_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """The two state dicts of a published checkpoint. Nothing in the file is executed.

    Raises MbcError if the file cannot be read or is not of that form.
    """
    try:
        open_regular(path.resolve()).close()
        checkpoint: Any = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}") from error
    except Exception as error:  # torch raises nearly every type on a file that is none
        raise CheckpointError(
            f"{path} is not a checkpoint of tensors",  # torch's own message advises to load it unsafely
            "only files that torch.load(..., weights_only=True) reads are accepted; others could run code",
        ) from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "lora_state_dict"} <= checkpoint.keys():
        found = sorted(checkpoint) if isinstance(checkpoint, dict) else type(checkpoint).__name__
        raise CheckpointError(
            f"{path} is not a published checkpoint: expected state_dict and lora_state_dict, found {found}",
        )
    for name in ("state_dict", "lora_state_dict"):
        _check_tensors(path, name, checkpoint[name])
    return {name: checkpoint[name] for name in ("state_dict", "lora_state_dict")}


def _check_tensors(path: Path, name: str, state: Any) -> None:
    """Refuse what is no state dict, and tensors that repeat a few numbers to look like many."""
    if not isinstance(state, dict):
        raise CheckpointError(f"{path}: {name} is no mapping of names to tensors")
    for key, value in state.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or value.layout != torch.strided:
            raise CheckpointError(f"{path}: {name} holds {key!r}, which is no named tensor")
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            raise CheckpointError(f"{path}: {key!r} claims more numbers than the file holds")
        if not is_finite(value):
            raise CheckpointError(f"{path}: {key!r} holds NaN or infinite numbers")


def load_checkpoint(model: WholeBankMemoryModel, checkpoint: dict[str, dict[str, Tensor]]) -> None:
    """Load a published checkpoint's weights into a model of the same dimensions.

    Raises MbcError where they do not fit.
    """
    try:
        model.load_module_state(convert_modules(checkpoint["state_dict"]))
        load_lora_state(model.backbone, convert_lora(checkpoint["lora_state_dict"]))
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint does not fit the configuration: {error}",
            "check that the base model and the two T5s are those it was trained with",
        ) from error


def convert_modules(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict under this package's names, slots stacked."""
    converted: dict[str, Tensor] = {}
    stacks: dict[str, dict[int, Tensor]] = {}
    for name, value in published.items():
        if slotted := _slotted(name):
            target, slot = slotted
            transposed = value.T if value.dim() == 2 else value
            stacks.setdefault(target, {})[slot] = transposed
        elif plain := _plain(name):
            converted[plain] = value
    for target, slots in stacks.items():
        converted[target] = torch.stack([slots[slot] for slot in sorted(slots)])
    codebook = published["vq.embedding.weight"]
    converted["quantizer.codebooks"] = codebook[None, None]
    converted["quantizer.usage"] = published["vq.ema_cluster_size"][None, None]
    return converted


def convert_lora(published: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published KV-LoRA under PEFT's names."""
    return {f"base_model.model.{name.removeprefix('base_lm.')}": value for name, value in published.items()}


def _slotted(name: str) -> tuple[str, int] | None:
    """Our name and the slot number of a parameter that exists once per slot."""
    if match := re.fullmatch(r"token_SA\.mlp_layers\.(\d+)\.(net\.\d)\.(weight|bias)", name):
        return f"modulation.{_MODULATION_PARTS[match[2]]}.{match[3]}", int(match[1])
    if match := re.fullmatch(r"(mlps|aggregator\.mlps)\.(\d+)\.(skip|mlp\.\d)\.(weight|bias)", name):
        return f"{_PROJECTION[match[1]]}.{_PROJECTION_PARTS[match[3]]}.{match[4]}", int(match[2])
    return None


def _plain(name: str) -> str | None:
    """Our name of a parameter that is taken over as it is; None for those that have no part in the result."""
    for published, ours in _ENCODER.items():
        if name == f"{published}.learnable_prompts":
            return f"{ours}.prompts"
        if name.startswith((f"{published}.encoder.", f"{published}.decoder.")):
            # The decoder reads vectors, so its token table is not used.
            return None if name.endswith("decoder.embed_tokens.weight") else ours + name[len(published) :]
    if match := re.fullmatch(r"aggregator\.cross_attention_list\.(\d+)\.(.+)", name):
        for published, ours in _BLOCK_PARTS.items():
            if match[2].startswith(published + "."):
                return f"aggregator.blocks.{match[1]}.{ours}{match[2][len(published) :]}"
    return None
