"""Whatever an adapter holds: one clear line or a sound model; nothing runs, nothing outside is touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from mbc_cli.errors import InternalError, MbcError
from mbc_cli.model.adapter import load_adapter, save_adapter
from mbc_cli.model.adapter_verification import verify_adapter
from mbc_cli.model.import_reference import import_reference
from mbc_cli.model.whole_bank.reference import read_checkpoint
from tests.support.hostile_adapters import KNOWN, drawn, make_whole
from tests.support.published import FIXTURES
from tests.support.run_mbc import RunMbc, mbc
from tests.support.tiny_memories import save_adapter_directory

__all__ = ["mbc"]

HARMLESS = {
    # What asks for code or another attention beside a known architecture is not followed.
    "LLM with a kernel",
    "LLM of a known kind with code",
    "tokenizer of a known kind with code",
}


NOT_LOOKED_AT = {"LLM of unknown dtype", "LLM's weights lie elsewhere", "LLM's weights are a pipe"} | {
    "LLM's weights claim a huge header",
    "LLM of a billion columns",
}
"""What `adapter info`, which loads nothing, need not notice."""


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter_directory(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def whole(adapter: Path, tmp_path: Path) -> Path:
    return make_whole(adapter, adapter.parent / "gpt2", tmp_path / "adapter")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_told_in_a_line(act: Callable[[Path], object], directory: Path) -> bool:
    """Whether ``act`` refuses the adapter, which it must do by an MbcError of one line; False if it works."""
    with suppress_mbc_error() as told:
        act(directory)
    for error in told:
        assert not isinstance(error, InternalError)
        assert "\n" not in error.message
        assert error.message.isprintable()
    return bool(told)


@contextmanager
def suppress_mbc_error() -> Iterator[list[MbcError]]:
    told: list[MbcError] = []
    try:
        yield told
    except MbcError as error:
        told.append(error)


def test_a_sound_adapter_with_its_llm_inside_loads(whole: Path) -> None:
    load_adapter(whole)
    assert verify_adapter(whole).sound


@pytest.mark.parametrize("name", KNOWN)
def test_a_hostile_adapter_is_one_clear_line(whole: Path, mbc: RunMbc, name: str) -> None:
    KNOWN[name](whole)
    before = contents(whole.parent / "outside")
    refused = is_told_in_a_line(load_adapter, whole)
    assert refused == (name not in HARMLESS)
    is_told_in_a_line(verify_adapter, whole)
    shown = mbc("adapter", "info", whole)
    if name.startswith(("config", "base", "LLM")) and name not in HARMLESS | NOT_LOOKED_AT:
        assert shown.code == 1, shown.out
    assert "internal error" not in shown.err
    assert not (whole.parent / "mark").exists()
    assert contents(whole.parent / "outside") == before


@pytest.mark.parametrize("seed", range(12))
def test_an_adapter_drawn_from_the_grammar_is_a_line_or_a_model(whole: Path, seed: int) -> None:
    name, change = drawn(seed, whole)
    change(whole)
    is_told_in_a_line(load_adapter, whole)
    is_told_in_a_line(verify_adapter, whole)
    assert not (whole.parent / "mark").exists(), name


@pytest.mark.parametrize("part", ["memory.safetensors", "kv_lora", "tokenizers"])
def test_an_adapter_is_not_written_through_links(adapter: Path, whole: Path, part: str) -> None:
    loaded = load_adapter(adapter)
    place = whole.parent / "new"
    place.mkdir()
    (place / part).symlink_to(whole.parent / "outside")
    before = contents(whole.parent / "outside")
    with pytest.raises(MbcError, match="symbolic link"):
        save_adapter(loaded.model, place, loaded.tokenizers, {})
    assert contents(whole.parent / "outside") == before


def published() -> dict[str, dict[Any, Any]]:
    """The tensors of a published checkpoint."""
    loaded: dict[str, dict[Any, Any]] = torch.load(FIXTURES / "gpt2" / "reference.pt", weights_only=True)
    return loaded


def changed(key: str, value: Callable[[torch.Tensor], Any]) -> dict[str, Any]:
    checkpoint = published()
    checkpoint["state_dict"][key] = value(checkpoint["state_dict"][key])
    return checkpoint


CODEBOOK = "vq.embedding.weight"
CHECKPOINTS: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "integer keys": lambda: {1: 2},
    "state dicts that are lists": lambda: {"state_dict": [], "lora_state_dict": []},
    "tensors under numbers": lambda: {"state_dict": {1: torch.ones(2)}, "lora_state_dict": {}},
    "text for a tensor": lambda: changed(CODEBOOK, lambda _: "text"),
    "a missing dimension": lambda: changed("enc_decoder.learnable_prompts", lambda _: torch.ones(())),
    "a codebook of one code": lambda: changed(CODEBOOK, lambda held: held[:1].clone()),
    "a codebook in three dimensions": lambda: changed(CODEBOOK, lambda held: held[None].clone()),
    "a codebook of many times one number": lambda: changed(
        CODEBOOK, lambda held: torch.ones(1, 1).expand(60_000, 10**9)
    ),
    "numbers that are none": lambda: changed(CODEBOOK, lambda held: held * torch.nan),
    "nameless LoRA layers": lambda: published() | {"lora_state_dict": {"lora_A": torch.ones(2, 3)}},
    "a sparse tensor": lambda: changed(CODEBOOK, lambda held: held.to_sparse()),
}


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_a_malformed_checkpoint_is_one_clear_line(tmp_path: Path, name: str) -> None:
    torch.save(CHECKPOINTS[name](), tmp_path / "checkpoint.pt")

    def act(directory: Path) -> None:
        models = FIXTURES / "gpt2"
        import_reference(
            directory / "checkpoint.pt",
            directory / "adapter",
            base_model=str(models / "base_lm"),
            document_t5=str(models / "amortization_t5"),
            question_t5=str(models / "question_t5"),
        )

    assert is_told_in_a_line(act, tmp_path)
    assert not (tmp_path / "adapter").exists()


def test_a_pipe_in_a_checkpoints_place_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(MbcError, match="is not a checkpoint of tensors"):
        read_checkpoint(tmp_path / "pipe")
