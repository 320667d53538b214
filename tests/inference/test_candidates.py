"""Finding passages by posting lists: what they promise, and that it is what comparing all finds."""

from __future__ import annotations

from pathlib import Path

import mbc_store.posting_lists as posting_lists
import numpy as np
import pytest
import torch
from mbc_store import MemoryStore, Snapshot, StoreConfig

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import AdapterError, UsageError
from mbc_cli.inference import bank, candidates
from mbc_cli.inference.answer import Source
from mbc_cli.memory import Memory
from mbc_cli.model.match_tables import MatchTables
from tests.support.store import make_record
from tests.support.tiny_memories import numbered_documents, save_adapter_directory
from tests.support.tiny_models import select_config

QUESTIONS = ["Who opened the museum in Lindholm?", "Jonas Weil?", "How many guests came?", "Rain at Tarn?"]
DOCUMENTS = [
    Document(
        f"d{number}",
        document.text,
        timestamp=f"2026-{1 + number // 28:02}-{1 + number % 28:02}",
        metadata={"source": "abc"[number % 3]},
    )
    for number, document in enumerate(numbered_documents(43))
]
ONE_LEVEL = StoreConfig(slots=4, num_quantizers=1, codebook_size=9, fingerprint="f" * 32)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 4, 12, 36... passages, summed in blocks of 5."""
    monkeypatch.setattr(posting_lists, "TAIL", 4)
    monkeypatch.setattr(posting_lists, "GROWTH", 3)
    monkeypatch.setattr(candidates, "_ROWS", 5)


@pytest.fixture(scope="module")
def one_level_adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_adapter_directory(
        tmp_path_factory.mktemp("one"),
        make_config=select_config,
        quantizer={"kind": "vq", "codebook_size": 16},
    )


@pytest.fixture
def one_level_memory(one_level_adapter: Path, tmp_path: Path) -> Memory:
    """An empty memory whose passages have codes of one level."""
    return Memory.create(tmp_path / "one.mbc", one_level_adapter, device="cpu")


@pytest.fixture
def listed(one_level_memory: Memory) -> Memory:
    """A memory of many documents that keeps lists, its last ones in no run."""
    one_level_memory.encode(DOCUMENTS[:42])
    one_level_memory.store.keep_posting_lists()
    one_level_memory.encode(DOCUMENTS[42:])
    with one_level_memory.store.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        assert 0 < lists.indexed < snapshot.row_count
    return one_level_memory


def named(found: list[tuple[Source, ...]]) -> list[list[tuple[str, int, float]]]:
    return [[(s.document_id, s.passage, s.score) for s in sources] for sources in found]


def promises(tables: MatchTables, codes: np.ndarray, probes: int, question: int) -> np.ndarray:
    """By the definition, unrounded: (rows,)."""
    columns = slice(tables.starts[question], tables.starts[question + 1])
    table, weights = tables.tables[0, :-1, columns].numpy(), tables.weights[columns].numpy()
    total = np.zeros(len(codes))
    for token in range(len(weights)):
        order = np.argsort(-table[:, token], kind="stable")
        base = max(table[order[min(probes, len(order) - 1)], token], tables.least)
        gain = np.zeros(len(table))
        gain[order[:probes]] = np.maximum(table[order[:probes], token] - base, 0) * weights[token]
        total += gain[codes].max(axis=1)
    return total


@pytest.mark.parametrize("probes", [1, 3, 8])
def test_the_rows_found_are_those_that_promise_most(
    tmp_path: Path, probes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", 6)
    monkeypatch.setattr(candidates, "LONGEST_LIST", 1.0)
    store = MemoryStore.create(tmp_path / "s", ONE_LEVEL)
    store.keep_posting_lists()
    for first in (0, 20):
        with store.transaction("some") as transaction:
            transaction.upsert([make_record(f"d{n}", n + 1, ONE_LEVEL) for n in range(first, first + 20)])
    made = torch.Generator().manual_seed(probes)
    tables = MatchTables.of(
        [torch.randn(3, 9, count, generator=made) for count in (5, 2)],
        [torch.rand(count, generator=made) for count in (5, 2)],
        offsets=(0, 1, -1),
        scale=torch.tensor(1.0),
    )
    with store.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        codes = snapshot.codes(np.arange(lists.indexed))[..., 0]
        readable = np.random.default_rng(5).random(snapshot.row_count) < 0.7
        for mask in (None, readable):
            found = candidates.likely_rows(lists, tables, probes, mask)
            assert (np.diff(found) > 0).all()
            wanted: set[int] = set()
            for question in range(2):
                promise = promises(tables, codes, probes, question)
                if mask is not None:
                    promise[~mask[: len(promise)]] = 0
                best = np.sort(promise)[::-1][5]
                wanted |= set(np.flatnonzero(promise >= max(best, 1e-9) + 1e-3).tolist())  # but for ties
                near = np.flatnonzero(promise >= best - 1e-3)
                assert set(near.tolist()) & set(found.tolist())
            assert wanted <= set(found.tolist())
            assert len(found) <= 12
            if mask is not None:
                assert mask[found].all()


@pytest.mark.parametrize("fits", [True, False])
def test_found_are_the_passages_that_comparing_all_finds(
    listed: Memory, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "LONGEST_LIST", 1.0)
    monkeypatch.setattr(bank, "CACHED_CODE_BYTES", 2**20 if fits else 0)
    exact = named(listed.search(QUESTIONS, top_k=3))
    texts = [answer.text for answer in listed.answer(QUESTIONS)]
    again = Memory.open(str(listed.store.location), device="cpu")
    again.probes = listed.model.code_shape[2]
    if not fits:  # a bank larger than memory is never read as a whole

        def never(*_: object) -> None:
            raise AssertionError("all codes are read")

        monkeypatch.setattr(Snapshot, "iter_codes", never)
    for _ in range(3):
        found = named(again.search(QUESTIONS, top_k=3))
        assert found == exact
    assert [answer.text for answer in again.answer(QUESTIONS)] == texts


def test_filters_forgotten_and_new_documents_are_respected(
    listed: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "LONGEST_LIST", 1.0)
    codes = listed.model.code_shape[2]
    for change in ("nothing", "forget", "add"):
        if change == "forget":
            listed.forget([source.document_id for source in listed.search(QUESTIONS[:1], top_k=4)[0]])
        elif change == "add":
            listed.encode([Document("new", QUESTIONS[0], metadata={"source": "a"}, timestamp="2026-01-15")])
        for chosen in ({}, {"where": {"source": "a"}}, {"since": "2026-01-10", "until": "2026-02-05"}):
            listed.probes = None
            exact = named(listed.search(QUESTIONS, top_k=5, **chosen))
            listed.probes = codes
            assert named(listed.search(QUESTIONS, top_k=5, **chosen)) == exact


def test_lists_of_codes_that_many_passages_hold_are_not_read(
    listed: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "LONGEST_LIST", 0.0)
    listed.probes = 3
    newest = {DOCUMENTS[42].id}  # it is in no run
    assert {s[0] for sources in named(listed.search(QUESTIONS)) for s in sources} <= newest


def test_probes_without_lists_are_refused_with_what_to_do(one_level_memory: Memory) -> None:
    memory = one_level_memory
    memory.encode(DOCUMENTS[:3])
    memory.probes = 2
    with pytest.raises(UsageError, match="keeps no lists") as told:
        memory.search(QUESTIONS)
    assert "mbc memory index" in (told.value.hint or "")
    memory.store.keep_posting_lists()
    memory.search(QUESTIONS)
    memory.probes = 0
    with pytest.raises(UsageError, match="probes is 0"):
        memory.search(QUESTIONS)


def test_an_adapter_whose_slots_have_codes_of_their_own_is_refused(listed: Memory) -> None:
    tables = MatchTables.of(
        [torch.randn(1, 12, 2)], [torch.rand(2)], offsets=(0,), scale=torch.tensor(1.0), codes_per_slot=4
    )
    with listed.store.snapshot() as snapshot:
        reader = bank.CodeBank(snapshot, torch.device("cpu"))
        reader.probes = 2
        with pytest.raises(AdapterError, match="cannot find passages by lists"):
            list(reader.filtered(bank.MemoryFilter()).chunks(tables))


def test_a_memory_too_small_for_lists_compares_all_that_it_has(one_level_memory: Memory) -> None:
    one_level_memory.store.keep_posting_lists()
    one_level_memory.probes = 2
    assert one_level_memory.search(QUESTIONS) == [()] * len(QUESTIONS)
    one_level_memory.encode([Document("only", "Rain at Tarn.")])
    with one_level_memory.store.snapshot() as snapshot:
        lists = snapshot.posting_lists()
        assert lists is not None
        assert lists.runs == []
    found = named(one_level_memory.search(QUESTIONS))
    one_level_memory.probes = None
    assert found == named(one_level_memory.search(QUESTIONS))
    assert found[0][0][0] == "only"
