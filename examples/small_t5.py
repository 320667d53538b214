"""A T5 to go beside a small language model trained from scratch: what reads texts in the published method."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config, T5Model


def save_t5(
    directory: Path,
    tokenizer: PreTrainedTokenizerFast,
    language_model: PreTrainedModel,
    *,
    heads: int,
    layers: int,
) -> None:
    """Write a T5 as wide as the language model that starts from its word embeddings."""
    width = language_model.config.hidden_size
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=width // heads,
        d_ff=width * 3,
        num_layers=layers,
        num_heads=heads,
        decoder_start_token_id=tokenizer.pad_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    model = T5Model(config)
    with torch.no_grad():
        words = language_model.get_input_embeddings().weight
        # T5 expects embeddings of unit size; a causal LM keeps them far smaller.
        model.get_input_embeddings().weight.copy_(words / words.std())
    model.save_pretrained(directory)
    end = str(tokenizer.eos_token)
    ending = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    ending.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.eos_token_id)]
    )
    with_ending = PreTrainedTokenizerFast(
        tokenizer_object=ending, eos_token=end, pad_token=tokenizer.pad_token, unk_token=tokenizer.unk_token
    )
    with_ending.save_pretrained(directory)
