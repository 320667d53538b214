"""Go on training a memory model that is loaded already, for a few steps on other documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from accelerate.utils import set_seed

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.inference.forward import Windows
from mbc_cli.model.memory_model import MemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.adapt import build_accelerator
from mbc_cli.training.checkpoints import Checkpoints
from mbc_cli.training.config import ScheduleConfig, TrainingConfig
from mbc_cli.training.data import build_training_set
from mbc_cli.training.loop import TrainingLoop

LEARNING_RATE = 1e-4
_PARTS = 10


def go_on_training(
    model: MemoryModel,
    tokenizers: Tokenizers,
    documents: Sequence[Document],
    questions: Sequence[Question],
    folder: Path,
    *,
    steps: int,
    seed: int = 0,
    learning_rate: float = LEARNING_RATE,
) -> None:
    """Change ``model`` in place; checkpoints go to ``folder``. It is in evaluation mode afterwards.

    Codes keep their numbers: `finish_training`, which orders them by usage, is left to whoever saves it.

    Raises:
        MbcError: no question can be learned from, or training has diverged.
    """
    # The last part of a longer training: codebooks are placed already, and would be placed anew before it.
    total = _PARTS * steps
    training = TrainingConfig(
        epochs=total,
        max_steps=total,
        batch_size=16,
        questions_per_document=2,
        optimizer="adamw",
        learning_rate=learning_rate,
        schedule=ScheduleConfig(kind="constant", warmup=0),
        validate_every=total,
        save_every=total,
        log_every=total,
        seed=seed,
    )
    data = build_training_set(documents, questions, tokenizers, Windows.of(model, tokenizers))
    accelerator = build_accelerator(model.config, training, folder, model.device.type)
    try:
        set_seed(seed)
        loop = TrainingLoop(model, tokenizers, data, training, accelerator, Checkpoints(folder), None)
        loop.progress.step = total - steps
        loop.run(None)
    finally:
        accelerator.end_training()
        model.eval()
