"""A cold ``mbc query`` against ``python -c 'import torch'``, processes in turns.

python benchmarks/speed/cold_query.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.speed.side_by_side import medians, show

QUESTION = "Who opened the museum in Lindholm?"
DOCUMENT = "Mira Okafor opened the museum in Lindholm on 3 May. The museum has 45 rooms."


def measure(quick: bool) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder, "document.txt")
        text.write_text(DOCUMENT)
        sides: dict[str, Callable[[], object]] = {"torch": lambda: _python("-c", "import torch")}
        for adapter in ("news", "default"):
            store = str(Path(folder, f"{adapter}.mbc"))
            _python("-m", "mbc_cli", "encode", str(text), "--store", store, "--adapter", adapter)
            query = ("-m", "mbc_cli", "query", QUESTION, "--store", store)
            sides[adapter] = lambda query=query: _python(*query)
        medians(sides, 1)  # what is read for the first time comes from the disk
        seconds = medians(sides, 3 if quick else 9)
    ratios = {f"{name}_ratio": round(seconds[name] / seconds["torch"], 2) for name in ("news", "default")}
    return {
        "row": "cold query",
        "what": "mbc query in a fresh process, against python -c 'import torch'",
        "figures": {f"{name}_s": round(value, 3) for name, value in seconds.items()} | ratios,
        "target": "news at most 1.5, the real LLM at most 2.5",
        "roofline": {
            "needed": "the import of torch, and for the real LLM 269 MB of weights, mapped",
            "in_the_way": "imports hold the interpreter's lock, so a second core does not help",
        },
    }


def _python(*arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
