"""The machine that a run's times and peaks belong to."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy
import torch
import transformers

from mbc_cli import __version__


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, cores, threads, memory in bytes, device and versions, as plain values."""
    pages, page = (os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_PAGE_SIZE"))
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_bytes": pages * page,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "mbc": __version__,
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text(encoding="utf-8", errors="replace").splitlines() if told.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
