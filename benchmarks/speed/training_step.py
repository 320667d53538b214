"""A training step at the distilgpt2 preset against the published one: same weights, batch, loss, optimiser.

python -m benchmarks.speed.training_step
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.published_preset import LONGEST, build_preset, loss_as_published, padded
from benchmarks.speed.side_by_side import machine_gives, medians, show
from mbc_cli.model.batches import TrainingBatch
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.loop import build_optimizer

DOCUMENTS, TOKENS = 4, 180


def measure(quick: bool) -> dict[str, Any]:
    model = build_preset().train()
    parameters = model.trainable_parameters()
    ours_adam, plain_adam = build_optimizer(model, TrainingConfig()), torch.optim.Adam(parameters, lr=1e-5)
    batch = batch_of(DOCUMENTS, TOKENS)
    longest = _padded_to(batch, LONGEST)
    with torch.no_grad():
        ours, theirs = model.eval()(batch).total, loss_as_published(model, longest, TOKENS)
    if not torch.allclose(ours, theirs, rtol=1e-3):
        raise AssertionError(f"the losses differ: {ours} and {theirs}")
    model.train()

    def step(optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> Callable[[], None]:
        def run() -> None:
            optimizer.zero_grad()
            loss().backward()
            torch.nn.utils.clip_grad_norm_(parameters, 100.0)
            optimizer.step()

        return run

    sides = {
        "ours": step(ours_adam, lambda: model(batch).total),
        "published": step(plain_adam, lambda: loss_as_published(model, longest, TOKENS)),
        "published_unpadded": step(plain_adam, lambda: loss_as_published(model, batch, TOKENS)),
    }
    medians(sides, 1)
    seconds = medians(sides, 3 if quick else 7)
    gives = machine_gives()
    return {
        "row": "training step",
        "what": f"{DOCUMENTS} documents of {TOKENS} tokens with a question each, distilgpt2 preset",
        "figures": {f"{name}_s": round(value, 3) for name, value in seconds.items()}
        | {
            "ratio": round(seconds["published"] / seconds["ours"], 1),
            "ratio_unpadded": round(seconds["published_unpadded"] / seconds["ours"], 2),
        },
        "target": "at least 10, and 2 where neither pads",
        "roofline": {
            "needed": f"about {_needed_gflop():.0f} GFLOP: backward twice as many as forward",
            "reached_gflops": round(_needed_gflop() / seconds["ours"], 1),
            **gives,
            "in_the_way": "dense gradients of embedding tables; dropout draws a number per weight",
        },
    }


def batch_of(documents: int, tokens: int) -> TrainingBatch:
    """Documents of exactly ``tokens`` tokens, so that nothing is padding, with a question each."""
    rng = random.Random(0)

    def rows(length: int, vocabulary: int) -> list[list[int]]:
        return [[rng.randrange(5, vocabulary) for _ in range(length)] for _ in range(documents)]

    answers = padded(rows(24, 50_000))
    labels = answers[0].clone()
    labels[:, :16] = -100
    return TrainingBatch(
        *padded(rows(tokens, 32_000)), *padded(rows(16, 32_000)), torch.arange(documents), *answers, labels
    )


def _padded_to(batch: TrainingBatch, longest: int) -> TrainingBatch:
    ids, mask = padded(batch.document_ids.tolist(), longest)
    return replace(batch, document_ids=ids, document_mask=mask)


def _needed_gflop() -> float:
    """Of the T5s, of which blocks of 18.9 M (encoder) and 25.2 M (decoder) read, and of the LLM."""
    t5 = 3 * 2 * 18.9e6 * DOCUMENTS * (TOKENS + 16) + 3 * 2 * 25.2e6 * DOCUMENTS * 2 * 12
    llm = 2 * 2 * (42.5e6 * 26 + 38.6e6 * 8) * DOCUMENTS
    return (t5 + llm) / 1e9


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
