"""Peak resident memory of encoding and asking, by how many documents there are; and of a training step.

python -m benchmarks.speed.peak_memory
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.speed.side_by_side import show

ENCODE = """
from mbc_cli import Memory
from mbc_cli.news.generator import generate_news
with Memory.create({store!r}, "news", device="cpu") as memory:
    memory.encode(item.document for item in generate_news({count}, seed=3))
"""
QUERY = """
from mbc_cli import Memory
with Memory.open({store!r}, device="cpu") as memory:
    memory.answer(["Who opened the museum in Lindholm?"])
"""
TRAIN = """
import torch
from benchmarks.speed.published_preset import build_preset
from benchmarks.speed.training_step import DOCUMENTS, TOKENS, batch_of
from mbc_cli.training.config import TrainingConfig
from mbc_cli.training.loop import build_optimizer
model = build_preset().train()
optimizer = build_optimizer(model, TrainingConfig())
for _ in range(2):
    model(batch_of(DOCUMENTS, TOKENS)).total.backward()
    optimizer.step()
    optimizer.zero_grad()
"""
# Of the process alone: ru_maxrss begins with what the one that started it held.
PEAK = """
from pathlib import Path
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def measure(quick: bool) -> dict[str, Any]:
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for count in (1000, 10_000):
            store = str(Path(folder, f"{count}.mbc"))
            figures[f"encode_{count}_mb"] = peak_mb(ENCODE.format(store=store, count=count))
            figures[f"query_{count}_mb"] = peak_mb(QUERY.format(store=store))
    figures["training_mb"] = peak_mb(TRAIN)
    return {
        "row": "peak memory",
        "what": "news adapter: encoding 1,000 and 10,000 documents, and a question; a step of distilgpt2",
        "figures": figures
        | {
            "encode_growth": round(figures["encode_10000_mb"] / figures["encode_1000_mb"], 3),
            "query_growth": round(figures["query_10000_mb"] / figures["query_1000_mb"], 3),
        },
        "target": "independent of the number of documents; training reported",
        "roofline": {
            "needed": "training: 197 M weights, their gradients and two moments in float32 are 3,160 MB",
            "in_the_way": "about 300 MB of PyTorch itself",
        },
    }


def peak_mb(script: str) -> float:
    """The most resident memory, in MB, of a Python process that runs ``script``."""
    done = subprocess.run([sys.executable, "-c", script + PEAK], capture_output=True, check=True, text=True)
    return round(int(done.stdout.split()[-1]) / 1000, 1)


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
