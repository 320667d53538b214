"""A tiny training run: real architectures, a handful of documents, a fraction of a second per step."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.model.config import MemoryConfig
from mbc_cli.training.config import TrainingConfig
from tests.support.tiny_models import memory_config, save_t5, select_config

PLACES = {"Mira": "Tarn", "Jonas": "Lindholm", "Ada": "the harbour", "Weil": "a museum", "Okafor": "March"}


def documents() -> list[Document]:
    return [
        Document(f"d-{name}", f"{name} went to {place} and stayed there.") for name, place in PLACES.items()
    ]


def questions() -> list[Question]:
    return [
        Question(f"q-{name}-{number}", text.format(name=name), (place,), (f"d-{name}",))
        for name, place in PLACES.items()
        for number, text in enumerate(["Where did {name} go?", "Where is {name}?"])
    ]


def tiny_config(directory: Path, *, dropout: float = 0.1, **changes: Any) -> MemoryConfig:
    """A memory configuration whose models lie in ``directory``; ``dropout`` is that of both T5s."""
    config = memory_config(directory, **changes)
    for name, width in (("document-t5", 40), ("question-t5", 32)):
        save_t5(directory / name, width=width, layers=1)
        path = directory / name / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"dropout_rate": dropout}))
    return config


def tiny_training(**changes: Any) -> TrainingConfig:
    fields: dict[str, Any] = {
        "batch_size": 3,
        "learning_rate": 3e-3,
        "epochs": 10_000,
        "max_steps": 6,
        "log_every": 1,
        "save_every": 100,
        "validate_every": 100,
        "seed": 5,
    }
    return TrainingConfig.model_validate(fields | changes)


def tiny_select_config(directory: Path) -> MemoryConfig:
    """Select-then-read, quantising from half of the training on."""
    return select_config(
        directory,
        quantizer={
            "kind": "rvq",
            "num_quantizers": 2,
            "codebook_size": 16,
            "schedule": {"unquantized": 0.5, "ramp": 0.3},
        },
        memory_queue={"negatives": 4, "size": 12},
    )
