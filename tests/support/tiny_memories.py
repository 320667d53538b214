"""Untrained adapters around tiny models, documents to fill a memory with, and a counter of calls."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from mbc_cli.corpus.documents import Document
from mbc_cli.model.adapter import save_adapter
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.config import MemoryConfig
from tests.support.tiny_models import SENTENCES, memory_config


def save_adapter_directory(
    directory: Path,
    family: str = "gpt2",
    *,
    seed: int = 4,
    make_config: Callable[..., MemoryConfig] = memory_config,
    **changes: Any,
) -> Path:
    """Write an untrained adapter for the models of ``make_config`` to ``directory / "adapter"``."""
    config = make_config(directory, family, **changes)
    torch.manual_seed(seed)
    model, tokenizers = create_memory_model(config, device="cpu")
    with torch.no_grad():
        # As initialised, every document gets much the same codes and LoRA does nothing.
        for parameter in model.trainable_parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    save_adapter(model, directory / "adapter", tokenizers, {})
    return directory / "adapter"


def numbered_documents(count: int) -> list[Document]:
    """Short documents ``d0``, ``d1``, ... that all differ, of lengths that differ too."""
    return [
        Document(f"d{number}", f"{SENTENCES[number % 2]} {'Then it rained. ' * (number % 3)}No. {number}.")
        for number in range(count)
    ]


class CountedCalls:
    """Counts the calls of one method of an object while the block runs; the method works as ever."""

    def __init__(self, target: object, method: str) -> None:
        self.count = 0
        self._patch = mock.patch.object(target, method, self._counting(getattr(target, method)))

    def _counting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            return original(*arguments, **options)

        return call

    def __enter__(self) -> CountedCalls:
        self._patch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._patch.stop()
