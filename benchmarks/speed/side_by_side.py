"""Times taken in turns: what else the machine does falls on all sides alike, and their ratio stays."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial

import torch


def medians(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of wall-clock time, the median of ``rounds`` in which every side has its turn."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            start = time.perf_counter()
            side()
            taken[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in taken.items()}


def machine_gives() -> dict[str, float]:
    """What this machine gives with these threads: GFLOP/s of matrix products, GB/s of reading memory."""
    rates = {}
    for name, dtype in (("float32_gflops", torch.float32), ("bfloat16_gflops", torch.bfloat16)):
        square = torch.randn(768, 768).to(dtype)
        seconds = min(_seconds(partial(torch.matmul, square, square)) for _ in range(15))
        rates[name] = round(2 * 768**3 / seconds / 1e9, 1)
    memory = torch.zeros(64 << 20)
    seconds = min(_seconds(memory.sum) for _ in range(5))
    rates["memory_gbs"] = round(memory.numel() * 4 / seconds / 1e9, 1)
    return rates


def show(row: Mapping[str, object]) -> None:
    """Print a row by itself, with the machine it is from."""
    here = {"processors": os.cpu_count(), "threads": torch.get_num_threads(), "machine": platform.machine()}
    print(json.dumps({**row, "here": here}, indent=2))


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
