"""Train the small LLM under the adapter `news`: it learns to answer from a text before the question.

A pretrained LLM can already do this; a machine without a model hub has to make its own. The texts are
invented news (mbc_cli.news.generator), whole or as telegrams that keep only the words that questions mention.
No name of the test split occurs in them.

    python examples/train_news_lm.py news-lm                     # about half an hour on one idle core
    python examples/train_news_lm.py words-lm --closed           # names from lists, and a word is a token
"""

from __future__ import annotations

import argparse
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from mbc_cli.batching import batched
from mbc_cli.news.generator import NewsItem, generate_news
from mbc_cli.news.names import Vocabulary

PAD, END, DOCUMENT, QUESTION, ANSWER, UNKNOWN = "<pad>", "<eos>", "<doc>", "<q>", "<a>", "<unk>"
SPECIAL = [PAD, END, DOCUMENT, QUESTION, ANSWER, UNKNOWN]  # ids 0 to 5
PROMPT = QUESTION + "{question}" + ANSWER
BATCH, BUCKET = 16, 8  # documents per step; batches sorted by length together
LEARNING_RATE, WARMUP_STEPS = 3e-3, 100
ANSWER_WEIGHT, TEXT_WEIGHT = 1.0, 0.25


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--steps", type=int, default=4500)
    parser.add_argument("--documents", type=int, default=45000)
    parser.add_argument("--two-events", type=float, default=0.3, help="share of documents of two events")
    parser.add_argument("--closed", action="store_true", help="closed word classes, and a word is a token")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=1536)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    vocabulary: Vocabulary = "closed" if arguments.closed else "open"
    longer = int(arguments.documents * arguments.two_events)
    items: list[NewsItem] = []
    if single := arguments.documents - longer:
        items += generate_news(single, seed=1, split="train", vocabulary=vocabulary)
    if longer:
        items += generate_news(longer, seed=3, split="train", events=2, vocabulary=vocabulary)
    random.Random(0).shuffle(items)
    train_tokenizer = train_word_tokenizer if arguments.closed else train_subword_tokenizer
    tokenizer = train_tokenizer(items[:15000], arguments.vocabulary)
    model = LlamaForCausalLM(model_config(arguments, tokenizer.get_vocab_size()))
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, bos_token=DOCUMENT, unk_token=UNKNOWN
    )
    wrapped.save_pretrained(str(arguments.output))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {tokenizer.get_vocab_size()} tokens")
    training = [Example.of(item, tokenizer) for item in items]
    unseen = {
        "unseen names": generate_news(200, seed=2, vocabulary=vocabulary),
        "and unseen templates": generate_news(200, seed=2, templates="held-out", vocabulary=vocabulary),
        "two events": generate_news(200, seed=2, events=2, vocabulary=vocabulary),
    }
    validation = {name: [Example.of(item, tokenizer) for item in items] for name, items in unseen.items()}
    train(model, training, validation, arguments)
    model.save_pretrained(str(arguments.output))


@dataclass(frozen=True)
class Example:
    """Token ids of a document, which of them its questions or answers hold, and those (question, answer)."""

    document: list[int]
    mentioned: np.ndarray
    questions: list[tuple[list[int], list[int]]]

    @classmethod
    def of(cls, item: NewsItem, tokenizer: Tokenizer) -> Example:
        document = tokenizer.encode(item.document.text).ids
        questions = [
            (tokenizer.encode(q.question).ids, tokenizer.encode(q.answers[0]).ids) for q in item.questions
        ]
        said = {token for pair in questions for ids in pair for token in ids}
        return cls(document, np.array([token in said for token in document]), questions)


def train_subword_tokenizer(items: Sequence[NewsItem], vocabulary: int) -> Tokenizer:
    """Byte-level BPE; every digit is a token, and every piece of text starts with a space."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(left=True, right=True), normalizers.Prepend(" ")]
    )
    words = Regex(r" ?\p{L}+| ?\d| ?[^\s\p{L}\d]+|\s+")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(items), trainer)
    return tokenizer


def train_word_tokenizer(items: Sequence[NewsItem], _vocabulary: int) -> Tokenizer:
    """Every word, number and punctuation mark of the news is a token."""
    tokenizer = Tokenizer(models.WordLevel(unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    trainer = trainers.WordLevelTrainer(vocab_size=65536, special_tokens=SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts(items), trainer)
    return tokenizer


def texts(items: Sequence[NewsItem]) -> Iterator[str]:
    for item in items:
        yield item.document.text
        yield from (question.question for question in item.questions[:2])


def model_config(arguments: argparse.Namespace, vocabulary: int) -> LlamaConfig:
    """A Llama with grouped-query attention and tied embeddings."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=arguments.width,
        intermediate_size=int(arguments.width * 8 / 3) // 32 * 32,
        num_hidden_layers=arguments.layers,
        num_attention_heads=arguments.width // 32,
        num_key_value_heads=arguments.width // 64,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=SPECIAL.index(DOCUMENT),
        eos_token_id=SPECIAL.index(END),
        pad_token_id=SPECIAL.index(PAD),
        initializer_range=0.04,
    )


@dataclass(frozen=True)
class Batch:
    """Documents with all their questions in one row each; (B, S) but for the mask (B, 1, S, S).

    ``block`` is 0 on the document, j on its question j and -1 on padding. A question sees the document and
    itself, and counts its positions from the document's end: it stands as if it were the only one.
    """

    ids: Tensor
    block: Tensor
    positions: Tensor
    answer: Tensor
    mask: Tensor


def make_batch(examples: Sequence[Example], rng: random.Random, *, telegrams: bool) -> Batch:
    rows: list[tuple[list[int], list[int], list[int], list[int]]] = []
    for example in examples:
        document = np.array(example.document)
        if telegrams:
            dropped = rng.choice([0, rng.random(), 1.0, 1.0])
            document = document[example.mentioned | (np.random.rand(len(document)) > dropped)]
        ids = [SPECIAL.index(DOCUMENT), *document.tolist()]
        block, positions, answer = [0] * len(ids), list(range(len(ids))), [0] * len(ids)
        end = len(ids)
        for number, (question, reply) in enumerate(
            rng.sample(example.questions, min(5, len(example.questions)))
        ):
            text = [SPECIAL.index(QUESTION), *question, SPECIAL.index(ANSWER), *reply, SPECIAL.index(END)]
            ids += text
            block += [number + 1] * len(text)
            positions += range(end, end + len(text))
            answer += [0] * (len(question) + 2) + [1] * (len(reply) + 1)
        rows.append((ids, block, positions, answer))
    longest = max(len(row[0]) for row in rows)

    def padded(column: int, filler: int) -> Tensor:
        return torch.tensor([row[column] + [filler] * (longest - len(row[column])) for row in rows])

    block = padded(1, -1)
    seen = torch.ones(longest, longest, dtype=torch.bool).tril()[None]
    seen = seen & ((block[:, None, :] == 0) | (block[:, None, :] == block[:, :, None]))
    seen = seen | torch.eye(longest, dtype=torch.bool)[None]
    mask = torch.zeros(len(rows), 1, longest, longest).masked_fill(~seen[:, None], -1e9)
    return Batch(padded(0, 0), block, padded(2, 0), padded(3, 0).bool(), mask)


def loss_and_exact_match(model: LlamaForCausalLM, batch: Batch) -> tuple[Tensor, float, float]:
    """Weighted next-token loss, the answers' own loss, and the share of answers right token by token."""
    states = model.model(
        input_ids=batch.ids, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
    ).last_hidden_state
    kept = (batch.block[:, 1:] == batch.block[:, :-1]) & (batch.block[:, 1:] >= 0)
    targets, answer = batch.ids[:, 1:][kept], batch.answer[:, 1:][kept]
    logits = model.lm_head(states[:, :-1][kept]).float()
    losses = F.cross_entropy(logits, targets, reduction="none")
    weights = torch.where(answer, ANSWER_WEIGHT, TEXT_WEIGHT)
    wrong = torch.zeros_like(kept)
    wrong[kept] = (logits.argmax(-1) != targets) & answer
    rows = torch.arange(len(kept))[:, None].expand_as(kept)
    block = batch.block[:, 1:].clamp_min(0)
    asked = torch.zeros(len(kept), int(block.max()) + 1, dtype=torch.bool)
    missed = asked.clone()
    asked[rows[kept], block[kept]] = True
    missed[rows[wrong], block[wrong]] = True
    right = (~missed[:, 1:])[asked[:, 1:]].float().mean()
    return (
        (losses * weights).sum() / weights.sum(),
        float((losses * answer).sum().detach() / answer.sum()),
        float(right),
    )


def train(
    model: LlamaForCausalLM,
    training: Sequence[Example],
    validation: Mapping[str, Sequence[Example]],
    arguments: argparse.Namespace,
) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    rng = random.Random(0)
    np.random.seed(0)
    order = list(range(len(training)))
    rng.shuffle(order)
    position, start, recent = 0, time.monotonic(), []
    groups: list[list[int]] = []
    for step in range(arguments.steps):
        if position + BATCH * BUCKET > len(order):
            rng.shuffle(order)
            position = 0
        if step % BUCKET == 0:
            block = order[position : position + BATCH * BUCKET]
            block.sort(key=lambda number: len(training[number].document))
            position += len(block)
            groups = [list(group) for group in batched(block, BATCH)]
            rng.shuffle(groups)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * rate_at(step, arguments.steps)
        batch = make_batch([training[number] for number in groups[step % BUCKET]], rng, telegrams=True)
        loss, *measured = loss_and_exact_match(model, batch)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent.append([loss.item(), *measured])
        if (step + 1) % 50 == 0:
            means = np.mean(recent[-50:], axis=0)
            seconds = time.monotonic() - start
            print(
                f"step {step + 1} loss {means[0]:.3f} answer {means[1]:.3f} "
                f"exact {means[2]:.3f} {seconds:.0f} s",
                flush=True,
            )
        if (step + 1) % 500 == 0 or step + 1 == arguments.steps:
            figures = [f"{name} {validate(model, examples):.3f}" for name, examples in validation.items()]
            print(f"  exact: {', '.join(figures)}", flush=True)
            model.save_pretrained(str(arguments.output))


def rate_at(step: int, steps: int) -> float:
    done = step / steps
    decay = 1.0 if done < 0.5 else 0.5 * (1 + math.cos(math.pi * (done - 0.5) / 0.5)) + 0.01
    return min(1.0, (step + 1) / WARMUP_STEPS) * decay


@torch.no_grad()
def validate(model: LlamaForCausalLM, examples: Sequence[Example]) -> float:
    rng = random.Random(1)
    starts = range(0, len(examples) - BATCH + 1, BATCH)
    batches = [make_batch(examples[start : start + BATCH], rng, telegrams=False) for start in starts]
    return float(np.mean([loss_and_exact_match(model, batch)[2] for batch in batches]))


if __name__ == "__main__":
    main()
