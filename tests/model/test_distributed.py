"""Two processes that train together keep one codebook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.support.tiny_models import memory_config
from tests.support.two_ranks import STEPS

ROOT = Path(__file__).parents[2]
# Codes used less than 0.9 of the mean are reset, so every step replaces some.
RESETS = {"codebook_size": 16, "decay": 0.5, "reset_fraction": 0.9}


QUANTIZERS = {
    "shared-gradient": RESETS,
    "per-slot-ema": RESETS | {"update": "ema", "codebook": "per-slot"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have trained together with each quantiser."""
    directory = tmp_path_factory.mktemp("ranks")
    for name, quantizer in QUANTIZERS.items():
        config = memory_config(directory, quantizer=quantizer)
        (directory / f"{name}.json").write_text(config.model_dump_json())
    command = [sys.executable, "-m", "tests.support.two_ranks"]
    ranks = [
        subprocess.Popen(
            [*command, str(rank), str(directory)],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    for process in ranks:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    return directory


@pytest.mark.slow
@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_codebook_is_the_same_to_the_bit_on_all_ranks_through_resets(trained: Path, name: str) -> None:
    first, second = (torch.load(trained / f"{name}.rank{rank}.pt", weights_only=True) for rank in range(2))
    assert first["loss"] != second["loss"]  # each saw texts of its own
    assert torch.equal(first["codebooks"], second["codebooks"])
    assert torch.equal(first["usage"], second["usage"])
    for step in range(STEPS):
        moved = (first["codebooks"][step + 1] - first["codebooks"][step]).norm(dim=-1)
        assert (moved > 0.5).any(), "a reset moves a code much farther than a step of training"
