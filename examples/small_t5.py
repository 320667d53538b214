"""The two T5s that read texts in the published method, to go beside a LLM where none can be fetched.

    python examples/small_t5.py smollm2-135m-instruct t5/     # writes t5/document-t5 and t5/question-t5

They have the LLM's tokenizer, are as wide as it, and start from its word embeddings, otherwise untrained.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from tokenizers import Tokenizer, processors
from transformers import PreTrainedModel, PreTrainedTokenizerFast, T5Config, T5Model

from mbc_cli.model.llm.pretrained import load_config, load_language_model, load_tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("base_model", help="as in a preset: a folder, a hub id, or a name of `mbc base list`")
    parser.add_argument("output", type=Path)
    parser.add_argument("--layers", type=int, default=2)
    arguments = parser.parse_args()
    config = load_config(arguments.base_model)
    language_model = load_language_model(arguments.base_model, config, dtype=torch.float32)
    tokenizer = load_tokenizer(arguments.base_model)
    torch.manual_seed(0)
    heads = language_model.config.num_attention_heads
    for kind in ("document-t5", "question-t5"):
        save_t5(arguments.output / kind, tokenizer, language_model, heads=heads, layers=arguments.layers)


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


if __name__ == "__main__":
    main()
