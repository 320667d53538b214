"""Whether the LLM has positions enough for what it is to read and say."""

from __future__ import annotations

from mbc_cli.errors import InputError
from mbc_cli.evaluation.vector_memory import AnyMemory


def positions_of(memory: AnyMemory) -> int | None:
    """How many tokens the LLM can hold; None where it does not say."""
    positions = getattr(memory.model.backbone.transformer.config, "max_position_embeddings", None)
    return positions if isinstance(positions, int) else None


def check_room(memory: AnyMemory, prompt: int, read: int = 0) -> None:
    """Raise InputError if the LLM cannot hold ``read`` tokens, a prompt of ``prompt`` and an answer."""
    positions, answer = positions_of(memory), memory.model.config.answer_tokens
    if positions is not None and read + prompt + answer > positions:
        raise InputError(
            f"a question of {prompt} tokens, {read} tokens of text and the answer need "
            f"{read + prompt + answer} positions, but the LLM has {positions}",
            "ask a shorter question",
        )
