"""Questions to a memory of 1,665 documents from stdin: one after the other, and many at once.

python -m benchmarks.speed.questions
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks.speed.side_by_side import machine_gives, show
from mbc_cli.news.generator import generate_news

DOCUMENTS = 1665
QUERY = (sys.executable, "-m", "mbc_cli", "query", "-", "--store")


def measure(quick: bool) -> dict[str, Any]:
    items = list(generate_news(DOCUMENTS, seed=11))
    questions = [item.questions[n % len(item.questions)].question for n, item in enumerate(items)]
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder, "documents.jsonl")
        lines = [json.dumps({"id": item.document.id, "text": item.document.text}) for item in items]
        documents.write_text("\n".join(lines) + "\n")
        for adapter, asked, together in (("news", 40, 200), ("default", 12, 48 if quick else 200)):
            store = str(Path(folder, f"{adapter}.mbc"))
            encode = [sys.executable, "-m", "mbc_cli", "encode", str(documents), "--store", store]
            subprocess.run([*encode, "--adapter", adapter], check=True, capture_output=True)
            figures[f"{adapter}_further_ms"] = round(1000 * _further(store, questions[:asked]), 1)
            alone, batched = _in_turns(store, questions[:together], rounds=1 if quick else 3)
            figures[f"{adapter}_alone_ms"] = round(1000 * alone, 1)
            figures[f"{adapter}_batched_ms"] = round(1000 * batched, 1)
            figures[f"{adapter}_batched_ratio"] = round(alone / batched, 2)
    needed = _needed_gflop()
    gives = machine_gives()
    return {
        "row": "questions",
        "what": f"a further question from stdin, and many at once, of {DOCUMENTS:,} documents",
        "figures": figures,
        "target": "a further one at most 20 ms (news) and 400 ms (real LLM); batched at least 4 times faster",
        "roofline": {
            "needed": f"real LLM: {needed:.0f} GFLOP a question, alone or in a batch; in bf16 this machine "
            f"does them in {1000 * needed / gives['bfloat16_gflops']:.0f} ms",
            **gives,
            "in_the_way": "alone, every pass loads the weights; in a batch, passages and prompts are left",
        },
    }


def _needed_gflop(passages: float = 1.1) -> float:
    """Of 30 layers for the passages that are read (40 tokens), a prompt (20) after each and one after none,
    and the answer (5)."""
    prompts = (passages + 1) * 20
    tokens = passages * 40 + prompts + 5
    layer = 576 * (576 + 192 + 192 + 576 + 3 * 1536)
    return 2 * (30 * layer * tokens + 49_152 * 576 * (prompts + 5)) / 1e9


def _further(store: str, questions: list[str]) -> float:
    """Seconds from writing a question to its answer's line, the median but for the first two."""
    taken = []
    with subprocess.Popen(
        [*QUERY, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for question in questions:
            start = time.perf_counter()
            process.stdin.write(f"{question}\n")
            process.stdin.flush()
            process.stdout.readline()
            taken.append(time.perf_counter() - start)
        process.stdin.close()
    return statistics.median(islice(taken, 2, None))


def _in_turns(store: str, questions: list[str], rounds: int) -> tuple[float, float]:
    """Seconds a question, alone and batched: of all of them less those of the first one."""
    taken: dict[str, list[float]] = {"alone": [], "batched": []}
    for _ in range(rounds):
        for name, options in (("alone", ("--batch-size", "1")), ("batched", ())):
            both = [_seconds(store, some, options) for some in (questions, questions[:1])]
            taken[name].append((both[0] - both[1]) / (len(questions) - 1))
    return statistics.median(taken["alone"]), statistics.median(taken["batched"])


def _seconds(store: str, questions: list[str], options: tuple[str, ...]) -> float:
    with tempfile.TemporaryFile() as file:
        file.write("".join(f"{question}\n" for question in questions).encode())
        file.seek(0)
        start = time.perf_counter()
        subprocess.run([*QUERY, store, *options], stdin=file, check=True, capture_output=True)
        return time.perf_counter() - start


if __name__ == "__main__":
    show(measure(quick="--quick" in sys.argv))
