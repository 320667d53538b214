"""An adapter that selects by equal tokens and is calibrated, with documents it has never seen.

Untrained parts already do that: a question's tokens start in the passages' own space, and k-means places a
code near every token. So who is asked about is found, and who was never mentioned is not.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from mbc_cli.corpus.documents import Document, Question
from mbc_cli.inference.forward import TokenRows, encoded_passages
from mbc_cli.model.adapter import save_adapter
from mbc_cli.model.build import create_memory_model
from mbc_cli.model.select.model import SelectMemoryModel
from mbc_cli.model.tokenizers import Tokenizers
from mbc_cli.training.calibrate import calibrate
from tests.support.tiny_models import select_config

CALIBRATION_SEED, TEST_SEED = 3, 5


def people(count: int, seed: int) -> tuple[list[Document], list[Question]]:
    """Documents that are an invented name each, and a question about each; another seed, other names."""
    generator = random.Random(seed)

    def syllables() -> str:
        return "".join(generator.choice("bcdfgklmnprst") + generator.choice("aeiou") for _ in range(2))

    names = [(syllables(), syllables()) for _ in range(count)]
    documents = [Document(f"{seed}-{n}", f"{first} {last}") for n, (first, last) in enumerate(names)]
    questions = [
        Question(f"q{n}", f"{first} {last}?", (last,), (documents[n].id,))
        for n, (first, last) in enumerate(names)
    ]
    return documents, questions


def matching_model(directory: Path) -> tuple[SelectMemoryModel, Tokenizers]:
    """A model around a random GPT-2 that finds passages with the question's tokens."""
    config = select_config(directory, context_vectors=10, quantizer={"kind": "vq", "codebook_size": 256})
    torch.manual_seed(4)
    model, tokenizers = create_memory_model(config)
    assert isinstance(model, SelectMemoryModel)
    texts = [document.text for document in people(80, CALIBRATION_SEED)[0]]
    batches = encoded_passages(model, tokenizers, TokenRows.of(model, tokenizers, texts, batch_size=16))
    model.place_codebooks(torch.cat([encoded.passages for _, encoded in batches]).clone())
    return model.eval(), tokenizers


def save_calibrated_adapter(directory: Path) -> Path:
    """Write the model's adapter, calibrated on 80 invented people, to ``directory / "adapter"``."""
    model, tokenizers = matching_model(directory)
    found = calibrate(model, tokenizers, *people(80, CALIBRATION_SEED))
    assert found is not None
    save_adapter(model, directory / "adapter", tokenizers, {}, found)
    return directory / "adapter"
