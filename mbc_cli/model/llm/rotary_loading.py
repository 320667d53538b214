"""Load an LLM of rotary_decoder.py from its folder: the weights stay in the file, mapped into memory."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn

from mbc_cli.model.config import KvLoraConfig
from mbc_cli.model.llm.model_folder import check_folder, weight_files, weight_shapes
from mbc_cli.model.llm.pretrained import as_one_line, place_of
from mbc_cli.model.llm.rotary_config import RotaryConfig, rotary_config
from mbc_cli.model.llm.rotary_decoder import LoraLinear, RotaryDecoder
from mbc_cli.model.llm.sketch import without_storage

_PEFT = "base_model.model."  # before the names of an LLM's modules in PEFT's files


def plain_config(name: str) -> RotaryConfig | None:
    """The configuration of the LLM ``name`` if it is in a folder and rotary_decoder.py can run it.

    Raises:
        ModelError: its folder is malformed.
    """
    with as_one_line(f"the model {name!r} could not be loaded"):
        place, gguf = place_of(name)
        if gguf or not (Path(place) / "config.json").is_file():
            return None
        check_folder(Path(place))
        config = rotary_config(Path(place))
        if config is None:
            return None
        # Tensors that are missing, or of another shape: `transformers` finds the words for it.
        held = weight_shapes(Path(place))
        return config if _named_weights(random_decoder(config)).items() <= held.items() else None


def random_decoder(config: RotaryConfig) -> RotaryDecoder:
    """One without storage."""
    with without_storage():
        return RotaryDecoder(config)


def load_decoder(config: RotaryConfig, dtype: torch.dtype | str = "auto") -> RotaryDecoder:
    """The LLM that `plain_config` found. ``"auto"`` is the type that its configuration or file names.

    Raises:
        ModelError: the weights cannot be read.
    """
    directory = Path(config.name_or_path)
    with as_one_line(f"the model {config.name_or_path!r} could not be loaded"):
        decoder = random_decoder(config)
        names = _named_weights(decoder)
        weights: dict[str, Tensor] = {}
        for file in weight_files(directory):
            with safe_open((directory / file).resolve(), "pt") as opened:
                for name in opened.keys():  # noqa: SIM118
                    if name in names:
                        weights[name] = opened.get_tensor(name)
        if dtype == "auto":
            dtype = config.dtype or next(iter(weights.values())).dtype
        if isinstance(dtype, str):
            dtype = getattr(torch, dtype)
        cast = {name: weight.to(dtype) for name, weight in weights.items()}
        if config.tie_word_embeddings:
            cast["lm_head.weight"] = cast["model.embed_tokens.weight"]
        decoder.load_state_dict(cast, assign=True)
        if config.tie_word_embeddings:
            decoder.tie()
        return decoder


def attach_lora(decoder: RotaryDecoder, config: KvLoraConfig) -> None:
    """Put adapters (float32) beside the key and value projections of the last layers."""
    for layer in decoder.model.layers[len(decoder.model.layers) - config.last_layers :]:
        attention = layer.self_attn
        for name in ("k_proj", "v_proj"):
            base = getattr(attention, name)
            assert isinstance(base, nn.Linear)
            setattr(attention, name, LoraLinear(base, config.rank, config.alpha))


def decoder_lora_state(decoder: RotaryDecoder) -> dict[str, Tensor]:
    """The adapters' weights under the names of PEFT's own format."""
    return {
        _PEFT + name: parameter.detach() for name, parameter in decoder.named_parameters() if ".lora_" in name
    }


def load_decoder_lora(decoder: RotaryDecoder, state: dict[str, Tensor]) -> None:
    """Load adapters from PEFT's state dict. Raises ValueError if a name does not fit or is missing."""
    own = decoder_lora_state(decoder)
    if unlike := sorted(own.keys() ^ state.keys()):
        raise ValueError(f"KV-LoRA weights do not fit the base model: missing or unexpected {unlike[:3]}")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(state[name])


def _named_weights(decoder: RotaryDecoder) -> dict[str, tuple[int, ...]]:
    """What the weights' file must hold, and of which shape; a tied output layer is not in it."""
    return {name: tuple(parameter.shape) for name, parameter in decoder.named_parameters()}
