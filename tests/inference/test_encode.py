"""Documents become codes: what is stored, what is skipped, and what survives an interruption."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from mbc_store.transaction import Transaction

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import AdapterError, MbcError, UsageError
from mbc_cli.inference.encode import EncodeReport, encode_texts
from mbc_cli.memory import Memory
from tests.support.run_mbc import Process
from tests.support.tiny_memories import CountedCalls, numbered_documents, save_adapter_directory
from tests.support.tiny_models import telegram_config

REPOSITORY = Path(__file__).parents[2]
LONG = " ".join(f"On day {day} the river Tarn rose by {day * 7 % 31} inches." for day in range(12))


def test_stored_codes_are_the_models_own_for_every_passage(memory: Memory) -> None:
    document = Document("tarn", LONG, title="River", timestamp=7, metadata={"source": "log"})

    memory.encode([document], batch_size=3)

    snapshot = memory.store.snapshot()
    passages = snapshot.passages(np.arange(snapshot.row_count))
    assert len(passages) > 3
    for row, passage in enumerate(passages):
        assert passage.text == LONG[passage.start : passage.end]
        batch = memory.tokenizers.encode_documents([passage.text])
        with torch.inference_mode():
            vectors = memory.model.encode_documents(batch.input_ids, batch.attention_mask)
            expected = memory.model.quantize(vectors).codes[0]
        np.testing.assert_array_equal(snapshot.codes(np.array([row]))[0], expected.numpy())


def test_neighbouring_passages_overlap_and_cover_the_document(memory: Memory) -> None:
    memory.encode([Document("tarn", LONG)])
    passages = memory.store.snapshot().passages(np.arange(memory.store.snapshot().row_count))
    spans = sorted((passage.start, passage.end) for passage in passages)
    assert spans[0][0] == 0
    assert spans[-1][1] == len(LONG)
    assert all(later[0] < earlier[1] for earlier, later in pairwise(spans))


def test_padding_does_not_change_the_codes(memory: Memory) -> None:
    texts = [LONG[:length] for length in (3, 90, 17, 55, 8, 41, 73)]
    together, errors = encode_texts(memory.model, memory.tokenizers, texts, batch_size=len(texts))
    alone, errors_alone = encode_texts(memory.model, memory.tokenizers, texts, batch_size=1)
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_allclose(errors, errors_alone, rtol=1e-4)
    assert len(np.unique(together.reshape(len(texts), -1), axis=0)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["whole-bank", "select", "telegram", "news"])
def test_codes_do_not_depend_on_order_company_or_parts(
    kind: str, adapter_directory: Path, select_adapter_directory: Path, tmp_path: Path
) -> None:
    adapters = {"whole-bank": adapter_directory, "select": select_adapter_directory, "news": "news"}
    if kind == "telegram":
        adapters["telegram"] = save_adapter_directory(tmp_path, "llama", make_config=telegram_config)
    documents = [Document(f"d{n}", " ".join([LONG[n : n + 7 * n % 60 + 3]] * (1 + n % 4))) for n in range(40)]
    runs = {
        "in order": [documents],
        "backwards": [documents[::-1]],
        "by length": [sorted(documents, key=lambda document: len(document.text))],
        "in parts": [documents[n : n + 3] for n in range(0, len(documents), 3)],
    }
    found = {}
    for run, parts in runs.items():
        with Memory.create(tmp_path / f"{run}.mbc", adapters[kind], device="cpu") as memory:
            for part in parts:
                memory.encode(part, batch_size=3, commit_every=8)
            with memory.store.snapshot() as snapshot:
                passages = snapshot.passages(np.arange(snapshot.row_count))
                codes = snapshot.codes(np.arange(snapshot.row_count))
                found[run] = {
                    (passage.document_id, passage.index): row.tobytes()
                    for passage, row in zip(passages, codes, strict=True)
                }
    assert len(set(found["in order"].values())) > 20
    for run in runs:
        assert found[run] == found["in order"], run


def test_of_one_id_in_two_chunks_the_later_document_is_kept(memory: Memory) -> None:
    first, second = Document("a", "The ferry sank."), Document("a", "The ferry sailed.")
    memory.encode([first])
    report = memory.encode([second, Document("b", "Rain."), first], commit_every=1)
    with memory.store.snapshot() as snapshot:
        stored = snapshot.document("a")
    assert stored is not None
    assert stored.text == first.text
    assert (report.added, report.replaced) == (1, 2)


def test_encoding_the_same_content_again_costs_no_forward_pass_and_no_commit(memory: Memory) -> None:
    documents = numbered_documents(9)
    first = memory.encode(documents, batch_size=4, commit_every=4)
    before = memory.store.snapshot().id

    with CountedCalls(memory.model, "encode_documents") as calls:
        again = memory.encode(documents, batch_size=4, commit_every=4)

    assert (first.added, first.commits) == (9, 3)
    assert (again.added, again.replaced, again.unchanged, again.commits) == (0, 0, 9, 0)
    assert calls.count == 0
    assert memory.store.snapshot().id == before


@pytest.mark.parametrize("change", [{"text": "The ferry burned."}, {"title": "Ferry"}, {"timestamp": 5}])
def test_changed_content_replaces_only_its_document(memory: Memory, change: dict[str, object]) -> None:
    documents = numbered_documents(5)
    memory.encode(documents)
    changed = replace(documents[2], **change)

    report = memory.encode([*documents[:2], changed, *documents[3:]])

    assert (report.added, report.replaced, report.unchanged) == (0, 1, 4)
    stored = memory.store.snapshot().document(changed.id)
    assert stored is not None
    assert (stored.text, stored.title, stored.timestamp) == (changed.text, changed.title, changed.timestamp)
    assert memory.store.snapshot().document_count == 5


def test_counts_follow_the_codes_through_replacement(memory: Memory) -> None:
    documents = numbered_documents(4)
    memory.encode(documents)
    memory.encode([replace(documents[1], text=LONG)])
    snapshot = memory.store.snapshot()
    counts = np.zeros_like(snapshot.code_counts())
    for _, codes, alive in snapshot.iter_codes(3):
        for passage in codes[alive]:
            for slot, level in np.ndindex(passage.shape):
                counts[slot, level, passage[slot, level]] += 1
    np.testing.assert_array_equal(snapshot.code_counts(), counts)


def test_a_failing_source_keeps_the_committed_documents(memory: Memory) -> None:
    def source() -> Iterator[Document]:
        yield from numbered_documents(7)
        raise OSError("the disk went away")

    with pytest.raises(OSError, match="went away"):
        memory.encode(source(), commit_every=3)

    assert memory.store.snapshot().document_count == 6


@pytest.mark.slow
def test_a_killed_run_resumes_without_encoding_committed_documents_again(
    adapter_directory: Path, tmp_path: Path
) -> None:
    store = tmp_path / "killed.mbc"
    script = f"""
import time
from mbc_cli.memory import Memory
from tests.support.tiny_memories import numbered_documents
memory = Memory.create({str(store)!r}, {str(adapter_directory)!r}, device="cpu")
def slow_source():
    for document in numbered_documents(60):
        yield document
        time.sleep(0.02)
memory.encode(slow_source(), batch_size=2, commit_every=3, on_progress=lambda r: print(r.added, flush=True))
"""
    command = [sys.executable, "-c", script]
    with Process(command, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(3)][-1]
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL

    memory = Memory.open(store, device="cpu")
    survived = memory.store.snapshot().document_count
    assert acknowledged <= survived < 60
    assert survived % 3 == 0
    with CountedCalls(memory.model, "encode_documents") as calls:
        report = memory.encode(numbered_documents(60), batch_size=1)
    assert (report.unchanged, report.added) == (survived, 60 - survived)
    assert calls.count <= report.passages
    assert memory.store.snapshot().document_count == 60


def test_the_last_of_two_documents_with_one_id_counts(memory: Memory) -> None:
    memory.encode(
        [Document("a", "The ferry sank."), Document("b", "Rain."), Document("a", "The ferry sailed.")]
    )
    stored = memory.store.snapshot().document("a")
    assert stored is not None
    assert stored.text == "The ferry sailed."
    assert memory.store.snapshot().document_count == 2


def test_quantisation_error_is_the_distance_between_vectors_and_their_codes(memory: Memory) -> None:
    texts = ["The ferry sank.", LONG[:60]]
    _, errors = encode_texts(memory.model, memory.tokenizers, texts, batch_size=2)
    for text, error in zip(texts, errors, strict=True):
        batch = memory.tokenizers.encode_documents([text])
        with torch.inference_mode():
            vectors = memory.model.encode_documents(batch.input_ids, batch.attention_mask)
            decoded = memory.model.quantize(vectors).quantized
        assert error == pytest.approx(float(((vectors - decoded) ** 2).mean()), rel=1e-4)
        assert error > 0


def test_an_adapter_without_quantiser_is_refused_in_one_line(tmp_path: Path) -> None:
    directory = save_adapter_directory(tmp_path, quantizer={"kind": "none"})
    with pytest.raises(MbcError, match="no quantiser") as caught:
        Memory.create(tmp_path / "store", directory, device="cpu")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), 1e38])
def test_vectors_that_are_not_finite_are_refused_and_nothing_of_them_is_stored(
    memory: Memory, weight: float
) -> None:
    memory.encode(numbered_documents(2))
    before = memory.store.snapshot().id
    with torch.no_grad():
        memory.model.amortizer.projection.leave.weight.fill_(weight)
    with pytest.raises(AdapterError, match="not finite") as caught:
        memory.encode(numbered_documents(9), commit_every=3)
    assert memory.model.config.base_model in caught.value.message
    assert "\n" not in str(caught.value)
    assert memory.store.snapshot().id == before


def test_shorter_windows_make_more_passages_that_share_what_was_asked(memory: Memory) -> None:
    memory.encode([Document("tarn", LONG)], window=10, overlap=3)
    with memory.store.snapshot() as snapshot:
        passages = snapshot.passages(np.arange(snapshot.row_count))
    tokens = [len(memory.tokenizers.token_offsets(passage.text)) for passage in passages]
    assert max(tokens) <= 10
    for earlier, later in pairwise(passages):
        assert len(memory.tokenizers.token_offsets(LONG[later.start : earlier.end])) == 3


@pytest.mark.parametrize("windows", [{"window": 24}, {"window": 0}, {"window": 8, "overlap": 4}])
def test_windows_that_do_not_fit_the_adapter_are_refused_and_no_store_is_created_for_them(
    memory: Memory, windows: dict[str, int], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="tokens"):
        memory.encode(numbered_documents(1), **windows)
    with pytest.raises(UsageError, match="tokens"):
        Memory.create(tmp_path / "never.mbc", memory.adapter_name, device="cpu", **windows)
    assert not (tmp_path / "never.mbc").exists()


@pytest.mark.parametrize("arguments", [{"batch_size": 0}, {"commit_every": 0}])
def test_sizes_below_one_are_refused(memory: Memory, arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        memory.encode(numbered_documents(1), **arguments)


def test_progress_is_reported_after_every_commit(memory: Memory) -> None:
    seen: list[int] = []
    memory.encode(
        numbered_documents(8), commit_every=3, on_progress=lambda report: seen.append(report.documents)
    )
    assert seen == [3, 6, 8]


def test_documents_that_come_when_they_come_are_committed_after_a_while(memory: Memory) -> None:
    documents = numbered_documents(7)
    stored: list[int] = []
    waiting = Event()

    def arriving() -> Iterator[Document]:
        yield from documents[:3]
        assert waiting.wait(60)  # until those are stored
        yield from documents[3:]

    def on_progress(report: EncodeReport) -> None:
        stored.append(report.documents)
        waiting.set()

    report = memory.encode(arriving(), commit_seconds=0.05, on_progress=on_progress)
    assert stored[0] == 3
    assert report.documents == stored[-1] == memory.document_count == 7


def test_an_interruption_ends_a_live_run_when_what_was_read_is_stored(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = memory.store.transaction
    interrupted = Event()

    def transaction(message: str) -> AbstractContextManager[Transaction]:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt
        return original(message)

    def endless() -> Iterator[Document]:
        yield from numbered_documents(5)
        Event().wait()

    monkeypatch.setattr(memory.store, "transaction", transaction)
    with pytest.raises(KeyboardInterrupt):
        memory.encode(endless(), commit_every=2, commit_seconds=60)
    assert memory.document_count == 5
