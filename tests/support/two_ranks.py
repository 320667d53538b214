"""One rank of the trainings in test_distributed.py: ``python -m tests.support.two_ranks RANK DIRECTORY``.

For each ``*.json`` configuration in DIRECTORY it trains on texts of its own, with a quantiser whose codes are
reset all the time, and writes its codebooks after each step beside it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from mbc_cli.model.build import create_memory_model
from mbc_cli.model.config import MemoryConfig, parse_memory_config
from mbc_cli.model.quantizer import VectorQuantizer
from tests.support.tiny_models import SENTENCES

STEPS = 4


def main(rank: int, directory: Path) -> None:
    distributed.init_process_group(
        "gloo", init_method=f"file://{directory / 'rendezvous'}", rank=rank, world_size=2
    )
    for config_file in sorted(directory.glob("*.json")):
        config = parse_memory_config(json.loads(config_file.read_text()))
        torch.save(train(rank, config), directory / f"{config_file.stem}.rank{rank}.pt")
    distributed.destroy_process_group()


def train(rank: int, config: MemoryConfig) -> dict[str, Any]:
    """Codebooks and usage before training and after each step, and the last loss on this rank's texts."""
    torch.manual_seed(0)
    model, tokenizers = create_memory_model(config)
    torch.manual_seed(100 + rank)
    # Buffers are not broadcast: what is equal in the end, the quantiser has kept equal by itself.
    parallel = DistributedDataParallel(model.train(), broadcast_buffers=False)
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=1e-2)
    quantizer = model.quantizer
    assert isinstance(quantizer, VectorQuantizer)
    quantizer.initialise_from(torch.randn(30, 5, quantizer.codebooks.shape[-1]))
    history = [quantizer.codebooks.detach().clone()]
    usage = [quantizer.usage.clone()]
    for step in range(STEPS):
        texts = [f"{SENTENCES[(rank + row) % 3]} {rank} {step} {row}" for row in range(3)]
        questions, answers = [f"{step}?" for _ in texts], [text[:4] for text in texts]
        loss = parallel(tokenizers.training_batch(texts, questions, answers, range(3)))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        history.append(quantizer.codebooks.detach().clone())
        usage.append(quantizer.usage.clone())
    return {"codebooks": torch.stack(history), "usage": torch.stack(usage), "loss": float(loss.total)}


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
