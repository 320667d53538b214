"""One adapter and one store together: who fits whom, and what is seen when."""

from __future__ import annotations

from pathlib import Path

import pytest
from mbc_store import StoreError

from mbc_cli.errors import MbcError
from mbc_cli.inference.adapters import resolve_adapter
from mbc_cli.memory import Memory
from tests.support.tiny_memories import CountedCalls, numbered_documents, save_adapter_directory

QUESTION = "Who opened the museum?"


def test_a_store_is_opened_with_the_adapter_that_made_it(
    memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    memory.encode(numbered_documents(5))
    reopened = Memory.open(tmp_path / "memory.mbc", device="cpu")
    assert reopened.adapter_name == str(adapter_directory)
    assert reopened.answer([QUESTION]) == memory.answer([QUESTION])


def test_another_adapter_is_an_error_that_names_both(memory: Memory, tmp_path: Path) -> None:
    other = save_adapter_directory(tmp_path / "other", seed=3)
    with pytest.raises(StoreError) as caught:
        Memory.open(tmp_path / "memory.mbc", other, device="cpu")
    message = str(caught.value)
    assert memory.model.fingerprint() in message
    assert Memory.create(tmp_path / "second.mbc", other, device="cpu").model.fingerprint() in message


def test_what_another_process_commits_is_read_at_the_next_question(
    memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    assert not memory.answer([QUESTION])[0].from_memory
    Memory.open(tmp_path / "memory.mbc", adapter_directory, device="cpu").encode(numbered_documents(5))
    assert memory.answer([QUESTION])[0].from_memory


def test_counts_are_fetched_once_while_the_store_does_not_change(memory: Memory) -> None:
    memory.encode(numbered_documents(5))
    memory.answer([QUESTION])
    bank = memory._bank
    assert bank is not None
    with CountedCalls(bank.snapshot, "code_counts") as calls:
        memory.answer([QUESTION, QUESTION], batch_size=1)
    assert calls.count == 0


def test_an_older_snapshot_answers_as_it_did_and_cannot_be_written(memory: Memory, tmp_path: Path) -> None:
    memory.encode(numbered_documents(3))
    then, answer_then = memory.store.snapshot().id, memory.answer([QUESTION])
    memory.encode(numbered_documents(40))

    past = Memory.open(tmp_path / "memory.mbc", device="cpu", at=then)

    assert past.store.snapshot().document_count == 3
    assert past.answer([QUESTION]) == answer_then
    with pytest.raises(StoreError):
        past.encode(numbered_documents(41))


def test_a_store_that_does_not_exist_is_an_error(adapter_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Memory.open(tmp_path / "nothing.mbc", adapter_directory)


@pytest.mark.parametrize("name", ["no such adapter", "a/b/c"])
def test_an_adapter_that_is_no_directory_is_refused_with_the_ways_out(name: str) -> None:
    with pytest.raises(MbcError, match="no directory") as caught:
        resolve_adapter(name)
    assert caught.value.hint is not None


def test_a_directory_without_a_configuration_is_no_adapter(tmp_path: Path) -> None:
    with pytest.raises(MbcError, match=r"config\.yaml"):
        resolve_adapter(tmp_path)


def test_a_hub_adapter_without_a_hub_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MbcError, match="hub") as caught:
        resolve_adapter("somebody/some-adapter")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_one_clear_line(
    adapter_directory: Path, tmp_path: Path, device: str
) -> None:
    with pytest.raises(MbcError, match=device) as caught:
        Memory.create(tmp_path / "never.mbc", adapter_directory, device=device)
    assert "\n" not in caught.value.message
    assert not (tmp_path / "never.mbc").exists()
