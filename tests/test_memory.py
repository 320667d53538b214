"""One adapter and one store together: who fits whom, and what is seen when."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta, timezone
from itertools import zip_longest
from pathlib import Path
from threading import Event
from typing import Any
from unittest import mock

import pytest
from mbc_store import MemoryStore, StoreError, StoreExists, StoreInUse, StoreNotFound

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import MbcError, UsageError
from mbc_cli.inference.adapters import resolve_adapter
from mbc_cli.memory import Memory
from mbc_cli.stored_documents import Forgotten
from tests.support.run_mbc import run_process
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


def test_a_view_of_the_past_shares_the_model_and_leaves_the_memory_as_it_is(memory: Memory) -> None:
    memory.encode(numbered_documents(3))
    then, answer_then = memory.store.snapshot().id, memory.answer([QUESTION])
    memory.encode(numbered_documents(40))
    now = memory.answer([QUESTION])

    with memory.as_of(then) as past:
        assert past.model is memory.model
        assert past.document_count == 3
        assert past.answer([QUESTION]) == answer_then
        with pytest.raises(StoreError):
            past.forget(["d0"])
    assert memory.answer([QUESTION]) == now
    with pytest.raises(StoreError):
        memory.as_of("1999-01-01")


@pytest.mark.slow
def test_a_memory_that_rests_lets_others_purge_and_answers_again(memory: Memory, tmp_path: Path) -> None:
    memory.encode(numbered_documents(3))
    answer = memory.answer([QUESTION])
    purge = ("memory", "compact", "--purge", "--yes", "--store", tmp_path / "memory.mbc")
    assert "is being read" in run_process(*purge).err
    memory.rest()
    assert run_process(*purge).code == 0
    assert memory.answer([QUESTION]) == answer


def test_a_store_that_does_not_exist_is_an_error(adapter_directory: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        Memory.open(tmp_path / "nothing.mbc", adapter_directory)


@pytest.mark.parametrize(
    "name", ["no such adapter", "a/b/c", "./nowhere", "../nowhere", "~/nowhere", "./a/b"]
)
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


def test_an_adapter_of_the_hub_is_kept_as_a_folder_of_plain_files_inside_the_hubs_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, adapter_directory: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    asked: list[dict[str, Any]] = []

    def download(repository: str, *, local_dir: Path, **options: Any) -> str:
        asked.append({"repository": repository} | options)
        return str(shutil.copytree(adapter_directory, local_dir))

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    found = resolve_adapter("owner/name@../../x")
    assert found.directory.resolve().parent == tmp_path / "cache" / "mbc-adapters" / "owner" / "name"
    assert found.name == "owner/name@../../x"
    assert (asked[0]["repository"], asked[0]["revision"]) == ("owner/name", "../../x")
    assert not any(pattern.endswith(("py", "bin", "pt")) for pattern in asked[0]["allow_patterns"])


@pytest.mark.parametrize("device", ["cuda:99", "abacus"])
def test_a_device_that_is_not_there_is_one_clear_line(
    adapter_directory: Path, tmp_path: Path, device: str
) -> None:
    with pytest.raises(MbcError, match=device) as caught:
        Memory.create(tmp_path / "never.mbc", adapter_directory, device=device)
    assert "\n" not in caught.value.message
    assert not (tmp_path / "never.mbc").exists()


def test_threads_that_ask_while_another_encodes_get_the_answers_of_a_commit(
    memory: Memory, adapter_directory: Path, tmp_path: Path
) -> None:
    documents = numbered_documents(24)
    alone = Memory.create(tmp_path / "alone.mbc", adapter_directory, device="cpu")
    committed = [alone.answer([QUESTION])]
    alone.encode(documents, commit_every=4, on_progress=lambda _: committed.append(alone.answer([QUESTION])))
    heard, done = [], Event()

    def ask() -> None:
        while not done.is_set():
            heard.append(memory.answer([QUESTION]))
            heard.append([memory.stream(QUESTION).answer])

    with ThreadPoolExecutor(3) as threads:
        asking = [threads.submit(ask) for _ in range(2)]
        memory.encode(documents, commit_every=4)
        done.set()
        for each in asking:
            each.result()
    assert all(answers in committed for answers in heard)
    assert memory.answer([QUESTION]) == committed[-1]


def test_a_thread_that_waits_for_documents_keeps_nobody_from_asking(memory: Memory) -> None:
    answered = Event()

    def slow_documents() -> Iterator[Document]:
        for document in numbered_documents(4):
            assert answered.wait(60), "nobody could ask"
            yield document

    with ThreadPoolExecutor(1) as threads:
        encoding = threads.submit(memory.encode, slow_documents())
        assert not memory.answer([QUESTION])[0].from_memory
        answered.set()
        assert encoding.result().added == 4


def test_pieces_of_two_answers_may_be_taken_in_turn(memory: Memory) -> None:
    memory.encode(numbered_documents(5))
    others = ["Who opened the museum?", "How many guests came to Tarn?"]
    whole = memory.answer(others)
    streams = [memory.stream(question) for question in others]
    for _ in zip_longest(*streams):
        assert memory.answer(others[:1]) == whole[:1]
    assert [stream.answer for stream in streams] == whole


def test_a_memory_that_was_read_can_be_purged_by_itself_and_by_others_once_it_is_closed(
    memory: Memory, tmp_path: Path
) -> None:
    memory.encode(numbered_documents(5))
    memory.forget(["d1"])
    memory.answer([QUESTION])
    assert memory.compact(purge=True).purged
    memory.answer([QUESTION])
    other = MemoryStore.open(tmp_path / "memory.mbc")
    with pytest.raises(StoreInUse):
        other.compact(purge=True)
    with memory:
        pass
    assert other.compact(purge=True).purged


def test_a_closed_memory_says_so(memory: Memory) -> None:
    memory.close()
    memory.close()
    for use in (memory.answer, memory.search, memory.encode, memory.forget):
        with pytest.raises(UsageError, match="closed"):
            use(["x"] if use != memory.encode else numbered_documents(1))  # type: ignore[operator]


WRONG_CALLS: dict[str, Callable[[Memory], object]] = {
    "documents is of type str": lambda memory: memory.encode("a text"),  # type: ignore[arg-type]
    "documents is of type dict": lambda memory: memory.encode({"id": "a", "text": "b"}),  # type: ignore[arg-type]
    "documents is of type Document": lambda memory: memory.encode(Document("a", "b")),  # type: ignore[arg-type]
    "documents is of type int": lambda memory: memory.encode(3),  # type: ignore[arg-type]
    "a document is of type str": lambda memory: memory.encode(["a text"]),  # type: ignore[list-item]
    "a document is of type dict": lambda memory: memory.encode([{"id": "a"}]),  # type: ignore[list-item]
    "commit_every is 0": lambda memory: memory.encode([], commit_every=0),
    "batch_size is 1.5": lambda memory: memory.encode([], batch_size=1.5),  # type: ignore[arg-type]
    "document's id is of type int": lambda _: Document(3, "text"),  # type: ignore[arg-type]
    "document's text is of type NoneType": lambda _: Document("a", None),  # type: ignore[arg-type]
    "document's metadata is of type list": lambda _: Document("a", "b", metadata=["c"]),  # type: ignore[arg-type]
    "document's timestamp is 'soon'": lambda _: Document("a", "b", timestamp="soon"),
    "document's timestamp is of type float": lambda _: Document("a", "b", timestamp=1.5),  # type: ignore[arg-type]
    "questions is a string": lambda memory: memory.answer("Who?"),
    "a question is of type int": lambda memory: memory.answer([3]),  # type: ignore[list-item]
    "a question is empty": lambda memory: memory.stream(" "),
    "top_k is '3'": lambda memory: memory.search(["Who?"], top_k="3"),  # type: ignore[arg-type]
    "batch_size is 0": lambda memory: memory.answer(["Who?"], batch_size=0),
    "threshold is 'high'": lambda memory: memory.answer(["Who?"], threshold="high"),  # type: ignore[arg-type]
    "since is of type int": lambda memory: memory.answer(["Who?"], since=3),  # type: ignore[arg-type]
    "until is 'soon'": lambda memory: memory.answer(["Who?"], until="soon"),
    "since is 'then'": lambda memory: memory.documents(since="then"),
    "where is of type str": lambda memory: memory.search(["Who?"], where="a=b"),  # type: ignore[arg-type]
    "ids is a string": lambda memory: memory.forget("d1"),
    "an id is of type int": lambda memory: memory.forget([1]),  # type: ignore[list-item]
    "nothing says what to forget": lambda memory: memory.forget(),
    "both ids and conditions": lambda memory: memory.forget(["d1"], where={"a": "b"}),
}


@pytest.mark.parametrize("message", WRONG_CALLS)
def test_a_wrong_call_is_a_value_error_that_says_what_is_wrong(memory: Memory, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        WRONG_CALLS[message](memory)
    assert isinstance(caught.value, MbcError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "moment",
    [
        "2026-05-02",
        "2026-05-02T00:00:00Z",
        "2026-05-02T02:00:00+02:00",
        date(2026, 5, 2),
        datetime(2026, 5, 2),
        datetime(2026, 5, 2, 2, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_times_are_text_or_datetimes_everywhere(memory: Memory, moment: str | date) -> None:
    days = ["2026-05-01", "2026-05-02", "2026-05-03"]
    memory.encode([Document(day, f"It rained on {day}.", timestamp=day) for day in days])
    assert [document.id for document in memory.documents(since=moment)] == days[1:]
    assert [document.id for document in memory.documents(until=moment)] == days[:1]
    assert Document("a", "b", timestamp=moment).timestamp == Document("a", "b", timestamp=days[1]).timestamp
    assert memory.forget(since=moment, dry_run=True).ids == tuple(days[1:])
    assert memory.document_count == 3
    assert memory.forget(until=moment).ids == tuple(days[:1])
    assert [document.id for document in memory.documents()] == days[1:]


def test_forgetting_names_what_is_not_there_and_history_brings_it_back(memory: Memory) -> None:
    memory.encode(numbered_documents(4))
    before = memory.history()[0]
    assert memory.forget(["d2", "x", "d0", "d2", "x"]) == Forgotten(("d2", "d0"), ("x",))
    assert memory.forget([]) == Forgotten((), ())
    assert memory.document_count == memory.info().documents == 2
    memory.rollback(before.id)
    assert memory.document_count == 4


def test_a_memory_is_encoded_anew_for_another_adapter_by_its_store_alone(
    memory: Memory, tmp_path: Path
) -> None:
    other = save_adapter_directory(tmp_path / "other", seed=3)
    memory.encode(numbered_documents(5))
    report = Memory.reencode(memory.store, tmp_path / "anew.mbc", other, device="cpu")
    assert (report.encoded.added, report.without_text) == (5, ())
    anew = Memory.open(tmp_path / "anew.mbc", device="cpu")
    assert [document.id for document in anew.documents()] == [document.id for document in memory.documents()]
    assert anew.store.config.fingerprint != memory.store.config.fingerprint


def test_open_or_create_creates_once_and_opens_from_then_on(adapter_directory: Path, tmp_path: Path) -> None:
    path = tmp_path / "memory.mbc"
    Memory.open_or_create(path, adapter_directory, device="cpu", keep_text=False).encode(
        numbered_documents(2)
    )
    assert Memory.open_or_create(path, device="cpu").document_count == 2
    with pytest.raises(UsageError, match="does not keep text"):
        Memory.open_or_create(path, keep_text=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("not a store")
    with pytest.raises(StoreExists, match="not empty"):
        Memory.open_or_create(tmp_path / "full", adapter_directory, device="cpu")


def test_a_store_that_another_process_makes_meanwhile_is_opened(
    adapter_directory: Path, tmp_path: Path
) -> None:
    path = tmp_path / "memory.mbc"
    first = Memory.create(path, adapter_directory, device="cpu")
    missing = StoreNotFound("not there yet")
    with mock.patch.object(MemoryStore, "open", side_effect=[missing, first.store]):
        assert Memory.open_or_create(path, adapter_directory, device="cpu").store is first.store
