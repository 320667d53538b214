"""Turn a checkpoint of the published implementation into an adapter directory.

The checkpoint holds no configuration: dimensions are read off its tensors, and the models it was trained
with must be named.
"""

from __future__ import annotations

import re
from pathlib import Path

from torch import Tensor
from transformers import PretrainedConfig

from mbc_cli.errors import CheckpointError
from mbc_cli.model.adapter import save_adapter
from mbc_cli.model.base_quantize import Quantize
from mbc_cli.model.config import (
    AggregationConfig,
    KvLoraConfig,
    ModulationConfig,
    T5AmortizationConfig,
    VqConfig,
    WholeBankConfig,
)
from mbc_cli.model.llm.architectures import model_config
from mbc_cli.model.llm.backbone import Backbone
from mbc_cli.model.llm.families import BackboneShape
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.model.whole_bank.build import build_whole_bank_model
from mbc_cli.model.whole_bank.model import WholeBankMemoryModel
from mbc_cli.model.whole_bank.reference import load_checkpoint, read_checkpoint

_HEAD_DIMENSION = 96  # of the published cross-attention, whose tensors only tell heads x head dimension


def import_reference(
    checkpoint_file: Path,
    directory: Path,
    *,
    base_model: str,
    document_t5: str,
    question_t5: str,
    lora_alpha: float | None = None,
    quantize: Quantize | None = None,
) -> WholeBankMemoryModel:
    """Read ``checkpoint_file`` and write an adapter into ``directory``; also return the model.

    ``base_model``, ``document_t5`` and ``question_t5`` are hub ids or local directories of the models it
    was trained with; of the T5s only the configuration and the tokenizer are used. ``lora_alpha`` is twice
    the rank, as published, unless given. Raises MbcError where something cannot be read or does not fit.
    """
    checkpoint = read_checkpoint(checkpoint_file)
    config = infer_config(
        checkpoint,
        model_config(base_model),
        base_model=base_model,
        document_t5=document_t5,
        question_t5=question_t5,
        lora_alpha=lora_alpha,
    )
    backbone = Backbone.from_pretrained(base_model, quantize=quantize)
    model = build_whole_bank_model(config, backbone, weights_follow=True)
    load_checkpoint(model, checkpoint)
    tokenizers = Tokenizers.from_pretrained(config)
    save_adapter(
        model, directory, tokenizers, {"imported_from": checkpoint_file.name, "method": "MBC, published"}
    )
    return model


def infer_config(
    checkpoint: dict[str, dict[str, Tensor]],
    llm_config: PretrainedConfig,
    *,
    base_model: str,
    document_t5: str,
    question_t5: str,
    lora_alpha: float | None = None,
) -> WholeBankConfig:
    """The configuration that a published checkpoint was trained with, read off its tensors."""
    modules, lora = checkpoint["state_dict"], checkpoint["lora_state_dict"]
    shape = BackboneShape.of(llm_config)
    try:
        slots = _count(modules, r"token_SA\.mlp_layers\.(\d+)\.")
        rank = next(value.shape[0] for name, value in lora.items() if "lora_A" in name)
        return WholeBankConfig(
            base_model=base_model,
            context_vectors=modules["enc_decoder.learnable_prompts"].shape[1],
            # The published implementation prompts the LLM with the bare question.
            prompt="{question}",
            amortization=T5AmortizationConfig(
                document_t5=document_t5,
                question_t5=question_t5,
                attend_to_padding=True,
                document_tokens=1022,
            ),
            quantizer=VqConfig(codebook_size=modules["vq.embedding.weight"].shape[0]),
            aggregation=AggregationConfig(
                blocks=_count(modules, r"aggregator\.cross_attention_list\.(\d+)\."),
                heads=modules["aggregator.cross_attention_list.0.attn.to_q.weight"].shape[0]
                // _HEAD_DIMENSION,
                head_dimension=_HEAD_DIMENSION,
            ),
            modulation=ModulationConfig(
                prefix_tokens=slots // (2 * shape.layers),
                hidden=modules["token_SA.mlp_layers.0.net.1.weight"].shape[0],
                latent_overflow="truncate",
            ),
            kv_lora=KvLoraConfig(
                rank=rank,
                alpha=2 * rank if lora_alpha is None else lora_alpha,
                last_layers=len({re.search(r"\.(\d+)\.", name)[1] for name in lora}),  # type: ignore[index]
            ),
        )
    except (KeyError, StopIteration) as error:
        raise CheckpointError(f"the checkpoint lacks the published tensor {error}") from error
    except (IndexError, TypeError, ValueError) as error:  # ValueError: of pydantic, for sizes that none has
        reason = " ".join(str(error).split())
        raise CheckpointError(f"its tensors are not as published: {reason[:300]}") from error


def _count(state: dict[str, Tensor], pattern: str) -> int:
    """How many numbers the pattern's group takes in the names of a state dict."""
    return len({match[1] for name in state if (match := re.match(pattern, name))})
