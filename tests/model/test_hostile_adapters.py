"""Whatever an adapter holds: one clear line or a sound model; nothing runs, nothing outside is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from mbc_cli.errors import InternalError, MbcError
from mbc_cli.model.adapter import load_adapter, save_adapter
from mbc_cli.model.adapter_verification import verify_adapter
from tests.support.hostile_adapters import KNOWN, drawn, make_whole
from tests.support.run_mbc import RunMbc, mbc
from tests.support.tiny_memories import save_adapter_directory

__all__ = ["mbc"]

HARMLESS = {
    # What asks for code or another attention beside a known architecture is not followed.
    "LLM with a kernel",
    "LLM of a known kind with code",
    "tokenizer of a known kind with code",
}


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter_directory(tmp_path_factory.mktemp("sound"))


@pytest.fixture
def whole(adapter: Path, tmp_path: Path) -> Path:
    return make_whole(adapter, adapter.parent / "gpt2", tmp_path / "adapter")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def is_told_in_a_line(act: object, directory: Path) -> bool:
    """Whether ``act`` refuses the adapter, which it must do by an MbcError of one line; False if it works."""
    assert callable(act)
    try:
        act(directory)
    except MbcError as error:
        assert not isinstance(error, InternalError)
        assert "\n" not in error.message
        assert error.message.isprintable()
        return True
    return False


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
    assert shown.code in (0, 1), shown.err
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
