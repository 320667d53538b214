"""Exact selection from codes: what one question and a batch of 32 cost over banks of random codes.

The size is the news adapter's kind: one level, 24 slots, 512 codes; random weights, scored and ranked as a
question is.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from benchmarks.speed.machine import median_seconds, memory_pass_seconds
from mbc_cli.inference.bank import ROWS_SCORED
from mbc_cli.model.bank import best_passages
from mbc_cli.model.select.late_interaction import LateInteraction, LateInteractionQuery

_SLOTS, _CODES, _WIDTH, _DIMENSION, _TOKENS = 24, 512, 64, 64, 12


def measure(quick: bool) -> dict[str, object]:
    torch.manual_seed(0)
    interaction = LateInteraction(_WIDTH, _WIDTH, _DIMENSION)
    codebooks = torch.randn(1, 1, _CODES, _WIDTH)
    figures: dict[str, object] = {}
    roofline: dict[str, object] = {}
    with torch.inference_mode():
        for rows in (10_000,) if quick else (10_000, 100_000):
            codes = torch.randint(_CODES, (rows, _SLOTS, 1), dtype=torch.int16)
            one, many = (_seconds(interaction, codebooks, codes, questions) for questions in (1, 32))
            size = codes.numel() * codes.element_size()
            figures[f"{rows} documents, ms a question"] = round(one * 1e3, 2)
            figures[f"{rows} documents, batch of 32 / one"] = round(many / one, 1)
            roofline[f"{rows} documents, times a memory pass"] = round(one / memory_pass_seconds(size), 1)
    roofline["bytes"] = 2 * _SLOTS  # a document
    roofline["operations"] = len(interaction.offsets) * _SLOTS * _TOKENS * 2  # a document
    return {
        "row": "selection",
        "what": f"exact, {_SLOTS} slots, {_CODES} codes, {_TOKENS} tokens a question, "
        f"{torch.get_num_threads()} threads",
        "figures": figures,
        "target": "25 ms at 1e5, 150 ms at 1e6, 1.5 s at 1e7 documents on 2 cores; 32 questions 8x one",
        "roofline": roofline,
    }


def _seconds(
    interaction: LateInteraction, codebooks: torch.Tensor, codes: torch.Tensor, questions: int
) -> float:
    vectors = torch.randn(len(interaction.offsets), questions, _TOKENS, _DIMENSION)
    vectors = torch.nn.functional.normalize(vectors, dim=-1)
    query = LateInteractionQuery(vectors, torch.full((questions, _TOKENS), 1 / _TOKENS))

    def scored() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for start in range(0, len(codes), ROWS_SCORED):
            part = codes[start : start + ROWS_SCORED].long()
            rows = torch.arange(start, start + len(part))
            yield rows, interaction.score_codes(query, codebooks, part)

    return median_seconds(
        lambda: best_passages(scored(), 8, questions=questions, device=codes.device),
        repeats=3 if questions == 1 and len(codes) < 10**6 else 1,
    )
