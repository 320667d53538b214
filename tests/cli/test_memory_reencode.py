"""``mbc memory reencode``: the same documents for another adapter, whatever stops it on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from mbc_store import MemoryStore, StoredDocument

from mbc_cli.corpus.documents import document_digest
from mbc_cli.errors import ExitCode
from mbc_cli.memory import Memory
from tests.support.run_mbc import COMMAND, RunMbc, process_environment
from tests.support.tiny_memories import numbered_documents, save_adapter_directory


@pytest.fixture(scope="module")
def other_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter_directory(tmp_path_factory.mktemp("other"), seed=5)


def documents_of(store: Path) -> dict[str, StoredDocument]:
    with MemoryStore.open(store).snapshot() as snapshot:
        return {document.id: document for document in snapshot.iter_documents()}


def contents_of(store: Path) -> dict[str, tuple]:
    return {
        name: (d.text, d.title, d.timestamp, dict(d.metadata), d.digest)
        for name, d in documents_of(store).items()
    }


@pytest.mark.slow
def test_the_documents_are_the_same_the_adapter_another_and_questions_are_answered(
    mbc: RunMbc, memory: Memory, other_adapter: Path, tmp_path: Path
) -> None:
    documents = numbered_documents(7)
    memory.encode(documents)
    with memory.store.transaction("one goes") as transaction:
        transaction.forget(["d3"])
    old, new = tmp_path / "memory.mbc", tmp_path / "new.mbc"
    before = contents_of(old)
    done = mbc("memory", "reencode", new, "--store", old, "--adapter", other_adapter, "--json")
    assert json.loads(done.out) == {"added": 6, "replaced": 0, "unchanged": 0, "without_text": 0}
    assert contents_of(new) == before == contents_of(old)
    assert before["d0"][-1] == document_digest(documents[0])
    made_with = MemoryStore.open(new).config
    assert made_with.fingerprint == Memory.open(new, device="cpu").model.fingerprint()
    assert made_with.fingerprint != memory.store.config.fingerprint
    assert not MemoryStore.open(new).verify()
    again = mbc("memory", "reencode", new, "--store", old, "--adapter", other_adapter, "--json")
    assert json.loads(again.out)["unchanged"] == 6
    answer = json.loads(mbc("query", "Who opened the museum?", "--store", new, "--json").out)
    assert answer["from_memory"]


def test_without_kept_texts_it_refuses_and_makes_nothing(
    mbc: RunMbc, adapter_directory: Path, other_adapter: Path, tmp_path: Path
) -> None:
    Memory.create(tmp_path / "bare.mbc", adapter_directory, keep_text=False, device="cpu").encode(
        numbered_documents(2)
    )
    done = mbc("memory", "reencode", tmp_path / "new", "--store", tmp_path / "bare.mbc", "-a", other_adapter)
    assert done.code == ExitCode.FAILED
    assert "keeps no texts" in done.err
    assert len(done.err.splitlines()) <= 2
    assert not (tmp_path / "new").exists()


def test_a_document_whose_text_is_lost_is_named_and_the_rest_encoded(
    mbc: RunMbc, memory: Memory, other_adapter: Path, tmp_path: Path
) -> None:
    memory.encode(numbered_documents(3))
    with memory.store.snapshot() as snapshot:
        record = snapshot.record("d1")
    with memory.store.transaction("as a repair leaves it") as transaction:
        transaction.forget(["d1"])
    with memory.store.transaction("as a repair leaves it") as transaction:
        transaction.upsert([replace(record, text=None)])
    new = tmp_path / "new.mbc"
    done = mbc("memory", "reencode", new, "--store", tmp_path / "memory.mbc", "--adapter", other_adapter)
    assert done.code == ExitCode.SKIPPED_INPUT
    assert "'d1' has no text left" in done.err
    assert set(documents_of(new)) == {"d0", "d2"}


@pytest.mark.slow
def test_killed_midway_the_old_memory_is_whole_and_a_second_run_goes_on(
    mbc: RunMbc, memory: Memory, other_adapter: Path, tmp_path: Path
) -> None:
    memory.encode(numbered_documents(300))  # two commits
    old, new = tmp_path / "memory.mbc", tmp_path / "new.mbc"
    before = contents_of(old)
    arguments = ["memory", "reencode", new, "--store", old, "--adapter", other_adapter, "--batch-size", "1"]
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)], env=process_environment(), stdout=subprocess.DEVNULL
    )
    try:
        while not (MemoryStore.exists(new) and MemoryStore.open(new).info().documents):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    kept = len(documents_of(new))
    assert 0 < kept < 300
    assert contents_of(old) == before
    done = json.loads(mbc(*arguments, "--json").out)
    assert (done["added"], done["unchanged"]) == (300 - kept, kept)
    assert contents_of(new) == before
    assert not MemoryStore.open(old).verify()
    assert not MemoryStore.open(new).verify()
