"""The optimisation loop: steps, schedule, validation, checkpoints, early stopping.

A run's numbers are a function of its configuration, data and number of processes: a run that was killed
and resumed from its last checkpoint has the same losses, bit for bit, as one that was not.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import nn

from mbc_cli.errors import TrainingError
from mbc_cli.model.batches import TrainingBatch
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.checkpoints import (
    Checkpoints,
    MetricsLog,
    Progress,
    random_states,
    set_random_states,
)
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.data import BatchOrder, TrainingSet
from mbc_cli.training.interruption import DeferredSignals
from mbc_cli.training.validation import ValidationFigures, Validator

StopReason = Literal["all steps done", "no better validation", "out of time"]


@dataclass(frozen=True, slots=True)
class ProgressReport:
    """What a caller may show while training runs."""

    step: int
    total_steps: int
    loss: float | None
    validation: ValidationFigures | None


class TrainingLoop:
    """Trains one model on one set; every process of a distributed run has one."""

    def __init__(
        self,
        model: MemoryModel,
        tokenizers: Tokenizers,
        data: TrainingSet,
        config: TrainingConfig,
        accelerator: Accelerator,
        checkpoints: Checkpoints,
        validator: Validator | None,
        on_progress: Callable[[ProgressReport], None] | None = None,
    ) -> None:
        self.model = model
        self.config = config
        self.progress = Progress()
        self._tokenizers = tokenizers
        self._data = data
        self._accelerator = accelerator
        self._checkpoints = checkpoints
        self._validator = validator
        self._on_progress = on_progress
        self._order = BatchOrder(data, config)
        self._parameters = [p for p in model.trainable_parameters() if p.requires_grad]
        self._module, self._optimizer = accelerator.prepare(model, build_optimizer(model, config))
        per_step = config.gradient_accumulation * accelerator.num_processes
        by_epochs = math.ceil(config.epochs * self._order.batches_per_epoch / per_step)
        self.total_steps = min(by_epochs, config.max_steps or by_epochs)
        self._saved_step: int | None = None

    def resume(self) -> None:
        """Continue from the newest checkpoint, if there is one."""
        steps = self._checkpoints.steps()
        if not steps:
            return
        self.progress, state = self._checkpoints.load(steps[-1])
        self.model.load_memory_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        of_process = state["processes"][self._accelerator.process_index]
        set_random_states(of_process["random"])
        self.progress.interval_sums = of_process["interval_sums"]
        self.model.load_training_state(of_process["model"])
        self._saved_step = self.progress.step

    def run(self, log: MetricsLog | None) -> StopReason:
        """Train until a reason to stop; the last state is then in a checkpoint.

        Args:
            log: where the main process writes figures; None in all others.

        Raises:
            KeyboardInterrupt: a signal asked to stop, and whoever handles it did not end the process; a
                single-process run has written a checkpoint.
        """
        earlier, start = self.progress.seconds, time.monotonic()
        # Processes that see a signal at different steps would wait for each other for ever.
        with DeferredSignals(enabled=self._accelerator.num_processes == 1) as signals:
            while (reason := self._reason_to_stop()) is None:
                self._step(log)
                self.progress.seconds = earlier + time.monotonic() - start
                better = self._is_due(self.config.validate_every) and self._validate(log)
                interrupted = signals.pending is not None
                if better or interrupted or self.progress.step % self.config.save_every == 0:
                    self._save()
                if interrupted:
                    break
        if reason is None:
            raise KeyboardInterrupt
        if self.progress.step != self._saved_step:
            self._save()
        return reason

    def _step(self, log: MetricsLog | None) -> None:
        config, progress = self.config, self.progress
        count = config.gradient_accumulation
        for group in self._optimizer.param_groups:
            group["lr"] = (
                group["rate"] * config.learning_rate * config.schedule.factor(progress.step, self.total_steps)
            )
        self._module.train()
        sums: dict[str, float] = {}
        for number in range(count):
            batch = self._batch(progress.step * count + number)
            # Gradients are exchanged between processes once per step, with the last batch.
            with self._accelerator.no_sync(self._module) if number < count - 1 else nullcontext():
                loss = self._module(batch, progress.step / self.total_steps)
                self._accelerator.backward(loss.total / count)
            for name, value in {"loss": float(loss.total.detach()), **loss.parts}.items():
                sums[name] = sums.get(name, 0.0) + value / count
        if config.clip_norm is not None:
            norm = self._accelerator.clip_grad_norm_(self._parameters, config.clip_norm)
            sums["gradient_norm"] = float(norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        progress.step += 1
        self._account(sums, log)

    def _batch(self, number: int) -> TrainingBatch:
        """Batch ``number`` of this process; the processes take turns in one common order."""
        index = number * self._accelerator.num_processes + self._accelerator.process_index
        return self._data.batch(self._order.batch(index), self._tokenizers).to(self._accelerator.device)

    def _account(self, figures: dict[str, float], log: MetricsLog | None) -> None:
        """Add a step's figures to the running means, and report these every ``log_every`` steps."""
        progress = self.progress
        if not math.isfinite(figures["loss"]):
            raise TrainingError(
                f"the loss is {figures['loss']} at step {progress.step}: training has diverged",
                "lower learning_rate, or use mixed_precision bf16 or no",
            )
        for name, value in figures.items():
            # Counted by name: some parts of a loss begin in the middle of a run.
            progress.interval_sums[name] = progress.interval_sums.get(name, 0.0) + value
            progress.interval_counts[name] = progress.interval_counts.get(name, 0) + 1
        if not self._is_due(self.config.log_every):
            return
        sums = gather_object([progress.interval_sums])
        means = {
            name: sum(each[name] for each in sums) / len(sums) / count
            for name, count in progress.interval_counts.items()
        }
        progress.interval_sums, progress.interval_counts = {}, {}
        means["learning_rate"] = self._optimizer.param_groups[0]["lr"]
        means["epoch"] = self._epoch()
        if log is not None:
            log.write("train", progress.step, means | {"seconds": round(progress.seconds, 3)})
        self._accelerator.log({f"train/{name}": value for name, value in means.items()}, step=progress.step)
        self._report(means["loss"], None)

    def _epoch(self) -> float:
        """Epochs finished after this step."""
        processes: int = self._accelerator.num_processes
        batches = self.progress.step * self.config.gradient_accumulation * processes
        return batches / self._order.batches_per_epoch

    def _validate(self, log: MetricsLog | None) -> bool:
        """Validate on the main process; return whether no earlier validation was as good.

        A model whose codebooks are not placed yet is measured, but cannot be the best: no adapter can be
        made of it, and what it will lose by quantising is not known.
        """
        if self._validator is None:
            return False
        progress = self.progress
        result: list[ValidationFigures | None] = [None]
        if self._accelerator.is_main_process:
            result = [self._validator.run(progress.step / self.total_steps)]
        figures = broadcast_object_list(result)[0]
        assert figures is not None
        better = self.model.has_codebooks and (
            progress.best_step is None
            or self._rank(figures.em, figures.loss) > self._rank(progress.best_em, progress.best_loss)
        )
        if better:
            progress.best_step, progress.best_em, progress.best_loss = progress.step, figures.em, figures.loss
            progress.validations_without_gain = 0
        elif self.model.has_codebooks:
            progress.validations_without_gain += 1
        if log is not None:
            log.write("validation", progress.step, figures.as_dict())
        self._accelerator.log(
            {f"validation/{name}": value for name, value in figures.as_dict().items()}, step=progress.step
        )
        self._report(None, figures)
        return better

    def _rank(self, em: float | None, loss: float | None) -> tuple[float, ...]:
        """What is compared between validations: higher is better."""
        assert em is not None
        assert loss is not None
        return (em, -loss) if self.config.select_by == "em" else (-loss,)

    def _save(self) -> None:
        """Write a checkpoint; the best one so far stays beside it."""
        of_process: dict[str, Any] = {
            "random": random_states(),
            "interval_sums": self.progress.interval_sums,
            "model": {name: value.cpu() for name, value in self.model.training_state().items()},
        }
        processes = gather_object([of_process])
        if self._accelerator.is_main_process:
            scaler = self._accelerator.scaler
            state = {
                "model": self.model.memory_state_dict(),
                "optimizer": self._optimizer.state_dict(),
                "scaler": None if scaler is None else scaler.state_dict(),
                "processes": processes,
            }
            best = self.progress.best_step
            self._checkpoints.save(self.progress, state, keep=() if best is None else (best,))
        self._saved_step = self.progress.step
        self._accelerator.wait_for_everyone()

    def _reason_to_stop(self) -> StopReason | None:
        config, progress = self.config, self.progress
        if progress.step >= self.total_steps:
            return "all steps done"
        if config.patience is not None and progress.validations_without_gain >= config.patience:
            return "no better validation"
        if config.max_minutes is not None:
            # Clocks differ between processes, so the main one decides for all.
            late = broadcast_object_list([progress.seconds >= 60 * config.max_minutes])[0]
            if late:
                return "out of time"
        return None

    def _is_due(self, every: int) -> bool:
        """Whether this step is a multiple of ``every``, or the last one."""
        return self.progress.step % every == 0 or self.progress.step == self.total_steps

    def _report(self, loss: float | None, validation: ValidationFigures | None) -> None:
        if self._on_progress is not None and self._accelerator.is_main_process:
            self._on_progress(ProgressReport(self.progress.step, self.total_steps, loss, validation))


def build_optimizer(model: MemoryModel, config: TrainingConfig) -> torch.optim.Optimizer:
    """Adam as published, or AdamW with weight decay on matrices only.

    A group's ``rate`` is what the learning rate is multiplied with.
    """
    copied = {id(parameter) for parameter in model.pretrained_parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.trainable_parameters():
        rate = config.pretrained_rate if id(parameter) in copied else 1.0
        decay = config.weight_decay if parameter.dim() > 1 and config.optimizer == "adamw" else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    optimizer = torch.optim.AdamW if config.optimizer == "adamw" else torch.optim.Adam
    return optimizer(
        [
            {"params": parameters, "weight_decay": decay, "rate": rate}
            for (rate, decay), parameters in groups.items()
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,  # one pass over the weights: on a CPU as well the others take five times as long
    )
