"""Low-rank adapters on the key and value projections (MBC section 3.4), in PEFT's own format.

An LLM of `transformers`, as training uses it, carries them through PEFT (peft_lora.py). One that this package
runs by itself has its own (rotary_decoder.py), which compute the same and start without either library.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from mbc_cli.errors import ModelError
from mbc_cli.model.config import KvLoraConfig
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.rotary_decoder import RotaryDecoder
from mbc_cli.model.llm.rotary_loading import attach_lora, decoder_lora_state, load_decoder_lora


def attach_kv_lora(backbone: Backbone, config: KvLoraConfig) -> None:
    """Put trainable adapters (float32) into the LLM; at first they change nothing, their B being zero.

    Raises MbcError if the LLM has fewer layers than ``config.last_layers``.
    """
    layers = backbone.shape.layers
    if config.last_layers > layers:
        raise ModelError(
            f"kv_lora.last_layers is {config.last_layers} but the base model has {layers} layers",
            hint=f"set kv_lora.last_layers to at most {layers}",
        )
    if isinstance(backbone.language_model, RotaryDecoder):
        attach_lora(backbone.language_model, config)
        return
    from mbc_cli.model.llm.peft_lora import attach_peft

    attach_peft(backbone, config)


def lora_parameters(backbone: Backbone) -> dict[str, nn.Parameter]:
    """The adapters' parameters by name."""
    return {name: p for name, p in backbone.named_parameters() if ".lora_" in name}


def lora_state(backbone: Backbone) -> dict[str, Tensor]:
    """The adapters' weights under the names of PEFT's own format."""
    if isinstance(backbone.language_model, RotaryDecoder):
        return decoder_lora_state(backbone.language_model)
    from mbc_cli.model.llm.peft_lora import peft_state

    return peft_state(backbone)


def save_kv_lora(backbone: Backbone, directory: Path, base_model: str) -> None:
    """Write the adapters in PEFT's own format (adapter_config.json, adapter_model.safetensors).

    ``base_model`` is the LLM's hub id or absolute path: AutoPeftModel looks for it from any folder. An LLM
    that was loaded to answer is not saved: PEFT writes what was trained.
    """
    from mbc_cli.model.llm.peft_lora import save_peft

    save_peft(backbone, directory, base_model)


def load_lora_state(backbone: Backbone, state: dict[str, Tensor]) -> None:
    """Load adapters from PEFT's state dict. Raises ValueError if a name does not fit or is missing."""
    if isinstance(backbone.language_model, RotaryDecoder):
        load_decoder_lora(backbone.language_model, state)
        return
    from mbc_cli.model.llm.peft_lora import load_peft_state

    load_peft_state(backbone, state)
