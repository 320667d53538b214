"""The frozen, validated settings of one training run: everything about *how* to learn, nothing of *what*.

A preset ships it as its ``training:`` section; a checkpoint keeps a copy, so that a resumed run can be
compared with the run it continues. Nothing here imports torch.
"""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from mbc_cli.model.frozen_config import FrozenConfig


class ScheduleConfig(FrozenConfig):
    """The learning rate over a run: a linear warm-up, a hold at the full rate, then a decay.

    All of it is a function of the step alone, so a resumed run continues on the same curve.
    """

    kind: Literal["constant", "cosine", "linear"] = "constant"
    warmup: float = Field(0.01, ge=0, lt=1, description="Fraction of all steps spent rising from 0.")
    hold: float = Field(
        0.0, ge=0, lt=1, description="Fraction of all steps before the decay starts, warm-up included."
    )
    final: float = Field(0.0, ge=0, le=1, description="Rate at the end, as a fraction of the full rate.")

    def factor(self, step: int, total_steps: int) -> float:
        """Return what to multiply the learning rate with at ``step`` (counted from 0) of ``total_steps``."""
        warmup_steps = math.ceil(self.warmup * total_steps)
        if step < warmup_steps:
            return (step + 1) / warmup_steps
        if self.kind == "constant":
            return 1.0
        decay_start = max(warmup_steps, math.ceil(self.hold * total_steps))
        if step < decay_start:
            return 1.0
        progress = min(1.0, (step - decay_start) / max(1, total_steps - decay_start))
        remaining = 1 - progress if self.kind == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
        return self.final + (1 - self.final) * remaining


class TrainingConfig(FrozenConfig):
    """How a memory model is trained. Sizes count documents, not tokens.

    One optimiser step sees ``batch_size * gradient_accumulation * processes`` documents.
    """

    epochs: int = Field(50, ge=1, description="Passes over all questions.")
    max_steps: int | None = Field(None, ge=1, description="Stop, and end the schedule, at this many steps.")
    max_minutes: float | None = Field(
        None, gt=0, description="Stop after this much training time, over all resumed parts of the run."
    )

    batch_size: int = Field(16, ge=1, description="Passages per batch and process: the bank in training.")
    questions_per_document: int = Field(1, ge=1, description="Questions asked of a passage in one batch.")
    gradient_accumulation: int = Field(1, ge=1, description="Batches per optimiser step.")
    bucket_by_length: bool = Field(False, description="Batch passages of similar length: less padding.")

    optimizer: Literal["adam", "adamw"] = "adam"
    learning_rate: float = Field(1e-5, gt=0)
    pretrained_rate: float = Field(
        1.0, gt=0, le=1, description="Learning rate of what is copied from the LLM, as a fraction."
    )
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.0, ge=0, description="adamw only; matrices only.")
    clip_norm: float | None = Field(1.0, gt=0, description="Gradient norm to clip to; null clips nothing.")
    schedule: ScheduleConfig = ScheduleConfig()
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    seed: int = Field(0, ge=0)

    made_questions: int = Field(
        0, ge=0, description="Questions made from each document's own text, beside those that are given."
    )
    validate_every: int = Field(500, ge=1, description="Steps between validations.")
    validation_questions: int = Field(256, ge=1, description="Validation questions asked, drawn once.")
    validation_fraction: float = Field(
        0.0, ge=0, lt=1, description="Part of the documents held out if no validation data is given."
    )
    select_by: Literal["em", "loss"] = Field(
        "em", description="What the best checkpoint is best at on validation; ties in em go to the loss."
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after this many validations in a row without a better one."
    )
    save_every: int = Field(500, ge=1, description="Steps between checkpoints.")
    log_every: int = Field(10, ge=1, description="Steps between lines of metrics.")
    trackers: tuple[Literal["tensorboard", "wandb"], ...] = Field(
        (), description="Where metrics go besides metrics.jsonl."
    )

    @model_validator(mode="after")
    def _settings_agree(self) -> TrainingConfig:
        if self.optimizer == "adam" and self.weight_decay:
            raise ValueError(
                f"weight_decay is {self.weight_decay} but optimizer is 'adam', which would add it to the "
                "gradient: set optimizer to 'adamw' or weight_decay to 0"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas are {self.betas}; both must be at least 0 and below 1")
        return self
