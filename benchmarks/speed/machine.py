"""What the machine gives: its name, threads, memory bandwidth and multiplications, measured in this run."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def median_seconds(work: Callable[[], object], *, repeats: int = 5) -> float:
    """The median time of ``work`` in seconds, after one run that does not count."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def memory_pass_seconds(size: int) -> float:
    """Seconds to read ``size`` bytes of memory once."""
    words = torch.ones(max(1, size // 4), dtype=torch.float32)
    return median_seconds(words.sum)


def describe(*, quick: bool) -> dict[str, object]:
    """The machine in words and figures: bytes/s read from memory, floating-point operations/s (float32)."""
    size = (64 if quick else 512) * 2**20
    side = 512 if quick else 2048
    square = torch.randn(side, side)
    return {
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "torch": torch.__version__,
        "bytes_per_second": size / memory_pass_seconds(size),
        "operations_per_second": 2 * side**3 / median_seconds(lambda: square @ square),
    }


def peak_growth_bytes(work: Callable[[], object]) -> int:
    """How many bytes of resident memory ``work`` takes at its peak beyond what there was (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = _status_bytes("VmRSS")
    work()
    return _status_bytes("VmHWM") - before


def _status_bytes(field: str) -> int:
    (line,) = (x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024
