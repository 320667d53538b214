"""Runs one small training in a process of its own: ``python -m tests.support.adapt_worker MODELS OUTPUT``.

Prints nothing; every process writes the digest of its trained weights to ``OUTPUT/rank-<rank>.json``.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import torch

import mbc_cli.training.adapt as adapt_module
from mbc_cli.model.config import parse_memory_config
from mbc_cli.training.checkpoints import MetricsLog
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.loop import StopReason, TrainingLoop
from tests.support.training import documents, questions


class WatchedLoop(TrainingLoop):
    """The real loop; afterwards every process leaves a trace of the weights it ended with."""

    def run(self, log: MetricsLog | None) -> StopReason:
        reason = super().run(log)
        weights = {
            name: hashlib.sha256(value.detach().contiguous().numpy().tobytes()).hexdigest()
            for name, value in self.model.memory_state_dict().items()
        }
        trace = {"processes": os.environ.get("WORLD_SIZE", "1"), "weights": weights}
        Path(sys.argv[2], f"rank-{os.environ.get('RANK', '0')}.json").write_text(json.dumps(trace))
        return reason


def main() -> None:
    models, output = Path(sys.argv[1]), Path(sys.argv[2])
    torch.set_num_threads(1)
    config = parse_memory_config(json.loads((models / "memory.json").read_text()))
    training = TrainingConfig.model_validate_json((models / "training.json").read_text())
    adapt_module.TrainingLoop = WatchedLoop  # type: ignore[attr-defined]
    adapt_module.adapt(config, training, documents(), questions(), None, output, device="cpu")


if __name__ == "__main__":
    main()
