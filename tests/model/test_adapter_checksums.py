"""A damaged adapter is noticed, its frozen LLM included; checksums stay right when something is recorded."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import mbc_cli
from mbc_cli.errors import MbcError
from mbc_cli.model import adapter_files
from mbc_cli.model.adapter import load_adapter, refuse_installed, write_calibration, write_description
from mbc_cli.model.adapter_verification import verify_adapter
from mbc_cli.model.calibration import Calibration
from tests.support.tiny_memories import save_adapter_directory

NEWS = Path(mbc_cli.__file__).parent / "default_adapters" / "news"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter_directory(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def adapter(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "adapter"))


@pytest.fixture
def whole(saved: Path, tmp_path: Path) -> Path:
    """An adapter with its LLM inside."""
    directory = Path(shutil.copytree(saved, tmp_path / "whole"))
    shutil.copytree(saved.parent / "gpt2", directory / "base")
    description = yaml.safe_load((directory / "config.yaml").read_text())
    description["model"]["base_model"] = "./base"
    write_description(directory, description)
    return directory


def flip_bits(path: Path, count: int) -> None:
    content = bytearray(path.read_bytes())
    draw = random.Random(7)
    for _ in range(count):
        content[draw.randrange(len(content) // 2, len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def test_every_file_but_the_description_and_the_card_has_a_checksum(whole: Path) -> None:
    files = {path.relative_to(whole).as_posix() for path in whole.rglob("*") if path.is_file()}
    recorded = yaml.safe_load((whole / "config.yaml").read_text())
    assert set(recorded["files"]) == files - {"config.yaml", "README.md"}
    assert "base_files" not in recorded
    assert verify_adapter(whole).sound


def test_the_bundled_adapter_is_what_its_checksums_say() -> None:
    found = verify_adapter(NEWS)
    assert (found.problems, found.unchecked, found.files) == ((), None, 10)


@pytest.mark.parametrize(
    "name",
    [
        "base/model.safetensors",
        "memory.safetensors",
        "kv_lora/adapter_model.safetensors",
        "tokenizers/document/tokenizer.json",
        "question_t5/config.json",
    ],
)
def test_a_flipped_bit_in_any_file_is_noticed_when_it_is_loaded(whole: Path, name: str) -> None:
    flip_bits(whole / name, 1)
    with pytest.raises(MbcError, match="is damaged"):
        load_adapter(whole)
    assert any(name in problem for problem in verify_adapter(whole).problems)


def test_large_files_are_read_as_a_whole_by_verification_only(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flip_bits(whole / "base" / "model.safetensors", 2000)
    monkeypatch.setattr("mbc_cli.model.adapter.CHECKED_AT_LOAD", 50_000)
    load_adapter(whole)
    assert any("base/model.safetensors is damaged" in problem for problem in verify_adapter(whole).problems)
    with (whole / "base" / "model.safetensors").open("ab") as file:
        file.write(b"0")
    with pytest.raises(MbcError, match="bytes, but had"):  # its size is compared always
        load_adapter(whole)


def test_the_llm_elsewhere_is_verified_where_it_is_on_disk(tmp_path: Path) -> None:
    adapter = save_adapter_directory(tmp_path)
    assert verify_adapter(adapter).sound
    flip_bits(tmp_path / "gpt2" / "model.safetensors", 1)
    (problem,) = [each for each in verify_adapter(adapter).problems if "SHA-256" in each]
    assert str(tmp_path / "gpt2") in problem


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["memory.safetensors", "kv_lora/adapter_model.safetensors"])
def test_weights_that_are_no_numbers_are_refused(adapter: Path, name: str, value: float) -> None:
    state = load_file(adapter / name)
    tensor = next(key for key, held in state.items() if held.is_floating_point())
    state[tensor].view(-1)[-1] = value
    save_file(state, adapter / name)
    write_description(adapter, yaml.safe_load((adapter / "config.yaml").read_text()))
    with pytest.raises(MbcError, match="NaN or infinite"):
        load_adapter(adapter)
    assert any("NaN or infinite" in problem for problem in verify_adapter(adapter).problems)


def test_an_llm_whose_weights_are_no_numbers_is_found_by_verification(whole: Path) -> None:
    path = whole / "base" / "model.safetensors"
    state = load_file(path)
    state["transformer.wte.weight"][0, 0] = torch.nan
    save_file(state, path, metadata={"format": "pt"})
    write_description(whole, yaml.safe_load((whole / "config.yaml").read_text()))
    (problem,) = verify_adapter(whole).problems
    assert "transformer.wte.weight" in problem


CALIBRATION = Calibration(
    score_weight=1.0,
    size_weight=-0.5,
    bias=0.25,
    threshold=0.75,
    questions=21,
    passages=11,
    held_out_questions=19,
    held_out_passages=9,
    false_answer_rate=0.125,
    false_abstention_rate=0.0625,
)


def test_a_calibration_keeps_the_checksums_and_hides_no_damage(adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (adapter / "config.yaml.part").symlink_to(tmp_path / "mine")
    recorded = yaml.safe_load((adapter / "config.yaml").read_text())["files"]
    flip_bits(adapter / "memory.safetensors", 1)
    write_calibration(adapter, CALIBRATION)
    assert yaml.safe_load((adapter / "config.yaml").read_text())["files"] == recorded
    assert not verify_adapter(adapter).sound
    assert (tmp_path / "mine").read_text() == "mine"


def test_an_adapter_of_an_installed_package_is_not_written_to(adapter: Path, tmp_path: Path) -> None:
    installed = Path(shutil.copytree(adapter, tmp_path / "site-packages" / "somebody" / "adapter"))
    for directory in (NEWS, installed):
        before = (directory / "config.yaml").read_bytes()
        with pytest.raises(MbcError, match="belongs to an installed package"):
            write_calibration(directory, CALIBRATION)
        assert (directory / "config.yaml").read_bytes() == before
    refuse_installed(adapter)


def test_an_adapter_without_checksums_loads_and_says_that_it_has_none(adapter: Path) -> None:
    description = yaml.safe_load((adapter / "config.yaml").read_text())
    del description["files"]
    (adapter / "config.yaml").write_text(yaml.safe_dump(description))
    load_adapter(adapter)
    assert "no checksums" in str(verify_adapter(adapter).unchecked)
    assert adapter_files.CHECKED_AT_LOAD >= 1 << 20
