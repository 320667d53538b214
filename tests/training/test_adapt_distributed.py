"""Two processes (gloo, started as ``torchrun`` and ``accelerate launch`` do) train one model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.training import tiny_config, tiny_training
from tests.training.test_adapt_resume import ROOT, write_worker_settings


@pytest.mark.slow
def test_two_processes_end_with_the_same_weights_codebooks_included(tmp_path: Path) -> None:
    # A high threshold makes codes reset in every step, which is where processes could part.
    config = tiny_config(tmp_path / "models", quantizer={"codebook_size": 16, "threshold_ema_dead_code": 0.9})
    training = tiny_training(max_steps=5, batch_size=2, gradient_accumulation=2, save_every=2)
    write_worker_settings(tmp_path / "models", config, training)
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    launch += ["--standalone", "-m", "tests.support.adapt_worker"]
    output = tmp_path / "out"
    finished = subprocess.run(
        [*launch, str(tmp_path / "models"), str(output)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    ranks = [json.loads((output / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    assert [rank["processes"] for rank in ranks] == ["2", "2"]
    assert ranks[0]["weights"] == ranks[1]["weights"]
    assert any("codebook" in name for name in ranks[0]["weights"])
    rows = [json.loads(line) for line in (output / "training/metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert (output / "memory.safetensors").exists()
