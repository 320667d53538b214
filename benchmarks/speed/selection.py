"""Exact selection from codes: what one question and a batch of 32 cost over banks of random codes.

Learned codes as the adapter `news` makes them (one level, random weights, random codes), and telegrams,
whose codes are tokens of a large vocabulary, some of them far more often than others. Scored and ranked as a
question is, from codes in memory, in parts as a bank gives them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks.speed.machine import median_seconds, memory_pass_seconds, peak_growth_bytes
from mbc_cli.inference.bank import ROWS_READ
from mbc_cli.model import match_kernel
from mbc_cli.model.bank import best_passages
from mbc_cli.model.match_tables import MatchTables

_TOKENS = 12
_K = 8


def measure(quick: bool) -> dict[str, object]:
    figures: dict[str, object] = {}
    roofline: dict[str, object] = {}
    sizes = (10_000,) if quick else (100_000, 1_000_000, 10_000_000)
    for kind, slots, codes, draw in (("learned", 24, 512, _evenly), ("telegrams", 30, 49_153, _by_zipf)):
        for rows in sizes:
            if kind == "telegrams" and rows > 1_000_000:
                continue
            bank = draw(rows, slots, codes)
            one, many = (_seconds(bank, codes, questions) for questions in (1, 32))
            figures[f"{kind}, {rows:,} documents, ms a question"] = round(one * 1e3, 2)
            figures[f"{kind}, {rows:,} documents, 32 at once / one"] = round(many / one, 1)
            roofline[f"{kind}, {rows:,} documents, times a memory pass"] = round(
                one / memory_pass_seconds(bank.nbytes), 1
            )
            tables = _tables(codes, 1)
            beyond = peak_growth_bytes(lambda bank=bank, tables=tables: _search(bank, tables))
            figures[f"{kind}, {rows:,} documents, memory / codes"] = round(1 + beyond / bank.nbytes, 2)
    return {
        "row": "selection",
        "what": f"exact, {_TOKENS} tokens a question, {torch.get_num_threads()} threads, the best {_K}",
        "figures": figures,
        "target": "25 ms at 1e5, 150 ms at 1e6, 1.5 s at 1e7 documents; 32 at once 8x one; memory 1.3x codes",
        "roofline": roofline,
    }


def _evenly(rows: int, slots: int, codes: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, codes, (rows, slots), dtype=np.uint16)


def _by_zipf(rows: int, slots: int, codes: int) -> np.ndarray:
    """Codes with frequencies as of words: the n-th most frequent one comes 1/n as often as the first."""
    uniform = np.random.default_rng(0).random((rows, slots), dtype=np.float32)
    return np.exp(uniform * np.log(codes)).astype(np.uint16)


def _tables(codes: int, questions: int) -> MatchTables:
    made = torch.Generator().manual_seed(0)
    return MatchTables.of(
        [torch.randn(3, codes, _TOKENS, generator=made) for _ in range(questions)],
        [torch.full((_TOKENS,), 1 / _TOKENS)] * questions,
        offsets=(0, 1, -1),
        scale=torch.tensor(20.0),
    )


def _search(bank: np.ndarray, tables: MatchTables) -> tuple[torch.Tensor, torch.Tensor]:
    def parts() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(bank), ROWS_READ):
            part = torch.from_numpy(bank[start : start + ROWS_READ])
            yield torch.arange(start, start + len(part)), part

    questions = len(tables.starts) - 1
    return best_passages(parts(), tables.scores, _K, questions=questions, device=torch.device("cpu"))


def _seconds(bank: np.ndarray, codes: int, questions: int) -> float:
    tables = _tables(codes, questions)
    match_kernel.pays(match_kernel.WORTH_COMPILING)  # a process that has asked a while
    return median_seconds(lambda: _search(bank, tables), repeats=5 if len(bank) <= 10**6 else 3)
