"""Adapters of every method around the same kind of tiny LLM, and a tiny text encoder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.tiny_memories import save_adapter_directory
from tests.support.tiny_models import save_text_encoder, telegram_config


@pytest.fixture(scope="session")
def telegram_adapter_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained adapter of telegrams, around a random Llama."""
    return save_adapter_directory(tmp_path_factory.mktemp("telegram"), "llama", make_config=telegram_config)


@pytest.fixture(scope="session")
def encoder_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT with its tokenizer."""
    return save_text_encoder(tmp_path_factory.mktemp("encoder"))
