"""KV-LoRA through PEFT, for LLMs of `transformers`. Imported only for those: either takes seconds.

Architectures with separate projections use PEFT's own layer. GPT-2 computes queries, keys and values in
one fused projection, for which a custom layer is registered with PEFT: it adapts the key and value columns
and leaves the query columns alone. It is saved with zero rows in the queries' place, so that PEFT without
this package loads it into its ordinary layer and computes the same.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from peft import (
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from peft.tuners.lora.layer import LoraLayer
from torch import Tensor, nn
from torch.nn import functional as F

from mbc_cli.model.config import KvLoraConfig
from mbc_cli.model.llm.backbone import Backbone


class KeyValueRows(nn.Linear):
    """The B matrix of a fused projection's adapter: rows for keys and values, (2D, r).

    Its saved form is (3D, r) with D rows of zeros first, where the fused projection has its queries.
    """

    @property
    def _query_rows(self) -> int:
        return self.out_features // 2

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        name = prefix + "weight"
        destination[name] = F.pad(destination[name], (0, 0, self._query_rows, 0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        name = prefix + "weight"
        if name in state_dict and state_dict[name].shape[0] == 3 * self._query_rows:
            state_dict[name] = state_dict[name][self._query_rows :]
        super()._load_from_state_dict(state_dict, prefix, *args)


class FusedKeyValueLora(nn.Module, LoraLayer):  # type: ignore[misc]
    """PEFT layer around a fused (query, key, value) projection that adapts keys and values only."""

    # What LoraLayer brings, for the type checker: PEFT carries no types.
    base_layer: nn.Module
    lora_A: dict[str, nn.Linear]
    lora_B: dict[str, nn.Linear]
    out_features: int
    scaling: dict[str, float]
    active_adapters: list[str]
    disable_adapters: bool
    _cast_input_dtype: Callable[[Tensor, torch.dtype], Tensor]
    _move_adapter_to_device_of_base_layer: Callable[[str], None]

    def __init__(
        self,
        base_layer: nn.Module,
        adapter_name: str,
        config: LoraConfig,
        r: int,
        lora_alpha: float,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        LoraLayer.__init__(self, base_layer)
        self.fan_in_fan_out = config.fan_in_fan_out
        self._active_adapter = adapter_name
        self.update_layer(adapter_name, r, lora_alpha=lora_alpha, config=config)

    def update_layer(
        self, adapter_name: str, r: int, lora_alpha: float, config: LoraConfig, **kwargs: Any
    ) -> None:
        super().update_layer(adapter_name, r, lora_alpha, config, **kwargs)
        rows = KeyValueRows(r, 2 * (self.out_features // 3), bias=False)
        nn.init.zeros_(rows.weight)
        self.lora_B[adapter_name] = rows
        self._move_adapter_to_device_of_base_layer(adapter_name)

    def forward(self, x: Float[Tensor, "*rows D"], *args: Any, **kwargs: Any) -> Float[Tensor, "*rows fused"]:
        """The fused projection of (..., D): (..., 3D), with the adapters added to the last 2D columns."""
        result = self.base_layer(x, *args, **kwargs)
        if self.disable_adapters:
            return result
        for name in self.active_adapters:
            if name not in self.lora_A:
                continue
            down, up = self.lora_A[name], self.lora_B[name]
            delta = up(down(self._cast_input_dtype(x, down.weight.dtype))) * self.scaling[name]
            result = result + F.pad(delta, (result.shape[-1] - delta.shape[-1], 0)).to(result.dtype)
        return result


def peft_config(backbone: Backbone, config: KvLoraConfig) -> LoraConfig:
    """PEFT's description of the adapters: which modules of which layers."""
    layers = backbone.shape.layers
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        target_modules=list(backbone.family.projections),
        layers_to_transform=list(range(layers - config.last_layers, layers)),
        layers_pattern=backbone.family.layers,
        fan_in_fan_out=backbone.family.fused,
        task_type="CAUSAL_LM",
    )
    if backbone.family.fused:
        # Whatever type the base layer has: bitsandbytes swaps GPT-2's Conv1D for its own.
        lora._register_custom_module({nn.Module: FusedKeyValueLora})
    return lora


def attach_peft(backbone: Backbone, config: KvLoraConfig) -> None:
    """Put trainable adapters (float32) into the LLM; at first they change nothing, their B being zero."""
    if isinstance(backbone.language_model, PeftModel):
        raise ValueError("the backbone already carries KV-LoRA: load a fresh one to attach another")
    with warnings.catch_warnings():
        # PEFT asks by a name that transformers deprecates; who loads a memory can do nothing about it.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        model = get_peft_model(backbone.language_model, peft_config(backbone, config))
    backbone.language_model = model.eval()


def peft_state(backbone: Backbone) -> dict[str, Tensor]:
    """The adapters' weights under the names of PEFT's own format."""
    state: dict[str, Tensor] = get_peft_model_state_dict(backbone.language_model, save_embedding_layers=False)
    return state


def save_peft(backbone: Backbone, directory: Path, base_model: str) -> None:
    """Write the adapters; see `mbc_cli.model.llm.kv_lora.save_kv_lora`."""
    assert isinstance(backbone.language_model, PeftModel)
    for config in backbone.language_model.peft_config.values():
        config.base_model_name_or_path = base_model
    backbone.language_model.save_pretrained(str(directory), save_embedding_layers=False)
    # PEFT writes a template model card, which would sit beside ours.
    (directory / "README.md").unlink(missing_ok=True)


def load_peft_state(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Load adapters from PEFT's state dict. Raises ValueError if a name does not fit or is missing."""
    with torch.no_grad():
        result = set_peft_model_state_dict(backbone.language_model, dict(state))
    missing = [name for name in result.missing_keys if ".lora_" in name]
    if result.unexpected_keys or missing:
        raise ValueError(
            f"KV-LoRA weights do not fit the base model: unexpected {result.unexpected_keys[:3]}, "
            f"missing {missing[:3]}"
        )
