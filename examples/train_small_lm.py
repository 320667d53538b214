"""Train a small language model from scratch, with the T5 that goes beside it, on your own text.

For machines without a model hub, and for trying the whole path on a laptop. It writes three directories in
the usual Hugging Face form, all with one byte-level BPE tokenizer learned from the same text:

    OUTPUT/base          a GPT-2 or Llama that has read the documents and the questions: the frozen LLM
    OUTPUT/document-t5   a T5 with the base's word embeddings, otherwise untrained: it reads documents
    OUTPUT/question-t5   the same for questions

    python examples/train_small_lm.py train.documents.jsonl train.questions.jsonl small/ --minutes 15
    mbc adapt train.documents.jsonl --questions train.questions.jsonl --output adapter/ \\
        --preset distilgpt2 --set model.base_model=small/base \\
        --set model.amortization.document_t5=small/document-t5 \\
        --set model.amortization.question_t5=small/question-t5
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from small_t5 import save_t5
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from mbc_cli.model.config import WholeBankConfig

PROMPT: str = WholeBankConfig.model_fields["prompt"].default  # the form in which mbc asks the LLM
END, PADDING = "<|endoftext|>", "<|padding|>"
POSITIONS = 512
BLOCK = 256


def main() -> None:
    arguments = parse_arguments()
    random.seed(arguments.seed)
    torch.manual_seed(arguments.seed)
    documents = [json.loads(line)["text"] for line in arguments.documents.read_text().splitlines()]
    questions = [json.loads(line) for line in arguments.questions.read_text().splitlines()]

    tokenizer = train_tokenizer(documents + [row["question"] for row in questions], arguments.vocabulary)
    model = AutoModelForCausalLM.from_config(model_config(arguments, len(tokenizer)))
    print(f"{arguments.family}: {sum(p.numel() for p in model.parameters()):,} parameters")
    train(model, tokenizer, documents, questions, arguments)

    model.save_pretrained(arguments.output / "base")
    tokenizer.save_pretrained(arguments.output / "base")
    for name in ("document-t5", "question-t5"):
        save_t5(arguments.output / name, tokenizer, model, heads=arguments.heads, layers=arguments.t5_layers)
    print(f"wrote base, document-t5 and question-t5 to {arguments.output}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("documents", type=Path, help="JSONL with a text per line")
    parser.add_argument("questions", type=Path, help="JSONL with a question and its answers per line")
    parser.add_argument("output", type=Path)
    parser.add_argument("--family", choices=["gpt2", "llama"], default="gpt2")
    parser.add_argument("--hidden", type=int, default=160)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=5)
    parser.add_argument("--t5-layers", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=4096)
    parser.add_argument(
        "--question-passes", type=int, default=1, help="passes over questions per pass of text"
    )
    parser.add_argument("--tokens-per-step", type=int, default=4096)
    parser.add_argument("--learning-rate", type=float, default=2e-3)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument(
        "--steps", type=int, help="stop after so many steps instead: the same model every time"
    )
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def train_tokenizer(texts: list[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn a byte-level BPE: every text can be spelled, and nothing is ever unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END, PADDING],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=PADDING
    )


def model_config(arguments: argparse.Namespace, vocabulary: int) -> PretrainedConfig:
    if arguments.family == "gpt2":
        return GPT2Config(
            vocab_size=vocabulary,
            n_positions=POSITIONS,
            n_embd=arguments.hidden,
            n_layer=arguments.layers,
            n_head=arguments.heads,
            bos_token_id=0,
            eos_token_id=0,
            pad_token_id=1,
        )
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=arguments.hidden,
        intermediate_size=arguments.hidden * 3,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.heads,
        num_key_value_heads=1,
        max_position_embeddings=POSITIONS,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=1,
    )


def train(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    documents: list[str],
    questions: list[dict],
    arguments: argparse.Namespace,
) -> None:
    """Next-token prediction on packed text until time or steps are up; the learning rate falls with them."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=arguments.learning_rate, betas=(0.9, 0.98), weight_decay=0.05
    )
    blocks = packed_blocks(tokenizer, documents, questions * arguments.question_passes)
    rows = max(1, arguments.tokens_per_step // BLOCK)
    start, step, tokens, recent = time.monotonic(), 0, 0, []
    model.train()
    while True:
        seconds = time.monotonic() - start
        fraction = step / arguments.steps if arguments.steps else seconds / (60 * arguments.minutes)
        if fraction >= 1:
            break
        batch = torch.tensor([next(blocks) for _ in range(rows)])
        for group in optimizer.param_groups:
            warmup = min(1.0, (step + 1) / 50)
            group["lr"] = arguments.learning_rate * warmup * (0.01 + 0.5 * (1 + math.cos(math.pi * fraction)))
        loss = model(input_ids=batch, labels=batch).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        step, tokens = step + 1, tokens + batch.numel()
        recent.append(loss.item())
        if step % 25 == 0:
            mean = sum(recent) / len(recent)
            print(f"step {step}  {seconds:.0f} s  {tokens:,} tokens  loss {mean:.3f}", flush=True)
            recent.clear()
    model.eval()


def packed_blocks(
    tokenizer: PreTrainedTokenizerFast, documents: list[str], questions: list[dict]
) -> Iterator[list[int]]:
    """Texts and answered questions, shuffled anew in every pass, end to end in blocks of equal length."""
    texts = tokenizer(documents).input_ids
    prompts = tokenizer([PROMPT.format(question=row["question"]) for row in questions]).input_ids
    answers = [tokenizer([" " + answer for answer in row["answers"]]).input_ids for row in questions]
    buffer: list[int] = []
    while True:
        order = [(texts, index) for index in range(len(texts))] + [(prompts, i) for i in range(len(prompts))]
        random.shuffle(order)
        for source, index in order:
            buffer += source[index]
            if source is prompts:
                buffer += random.choice(answers[index])
            buffer.append(tokenizer.eos_token_id)
            while len(buffer) >= BLOCK:
                yield buffer[:BLOCK]
                del buffer[:BLOCK]


if __name__ == "__main__":
    main()
