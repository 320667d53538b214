"""Asking part of a memory, or its past, through the command line: as if nothing else had been stored."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mbc_store import MemoryStore

from mbc_cli.corpus.documents import JSON, Document
from mbc_cli.memory import Memory
from tests.support.run_mbc import RunMbc
from tests.support.tiny_models import SENTENCES

DAY = 86_400_000_000
FIRST_OF_MAY = 1_777_593_600_000_000  # 2026-05-01T00:00:00Z
QUESTIONS = ("Who opened the museum in Lindholm?", "Jonas Weil?")


def document(number: int) -> Document:
    text = f"{SENTENCES[number % 2]} {'Then it rained. ' * (number % 3)}No. {number}."
    metadata: dict[str, JSON] = {"source": "ab"[number % 2], "edition": number % 3}
    return Document(f"d{number}", text, timestamp=FIRST_OF_MAY + number * DAY, metadata=metadata)


@pytest.fixture(params=["adapter_directory", "select_adapter_directory"], ids=["whole bank", "select"])
def adapter(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def filled(adapter: Path, tmp_path: Path) -> Path:
    """Twelve documents of the first twelve days of May."""
    memory = Memory.create(tmp_path / "all.mbc", adapter, device="cpu")
    memory.encode([document(number) for number in range(12)])
    return tmp_path / "all.mbc"


def answers(mbc: RunMbc, store: Path, *filters: str) -> list[dict]:
    result = mbc("query", *QUESTIONS, "--store", store, "--json", *filters)
    assert result.code == 0, result.err
    return [json.loads(line) for line in result.out.splitlines()]


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        (["--since", "2026-05-05"], range(4, 12)),
        (["--until", "2026-05-05"], range(4)),
        (["--since", "2026-05-03", "--until", "2026-05-11", "--where", "source=b"], [3, 5, 7, 9]),
        (["--where", "source=a", "--where", "edition=1"], [4, 10]),
    ],
)
def test_a_filter_reads_what_a_memory_of_those_documents_alone_holds(
    mbc: RunMbc, adapter: Path, filled: Path, tmp_path: Path, filters: list[str], kept: list[int]
) -> None:
    alone = Memory.create(tmp_path / "some.mbc", adapter, device="cpu")
    alone.encode([document(number) for number in kept])
    found = answers(mbc, filled, *filters)
    assert found == answers(mbc, tmp_path / "some.mbc")
    assert all(answer["from_memory"] for answer in found)


def test_at_a_snapshot_tag_or_time_the_memory_answers_as_it_did(mbc: RunMbc, filled: Path) -> None:
    then = answers(mbc, filled)
    (newest, *_) = MemoryStore.open(filled).history()
    MemoryStore.open(filled).tag("may")
    Memory.open(filled, device="cpu").encode([document(number) for number in range(12, 40)])
    with MemoryStore.open(filled).transaction("forget") as transaction:
        transaction.forget([f"d{number}" for number in range(12)])
    for moment in (newest.id, "may", newest.time.isoformat()):
        assert answers(mbc, filled, "--at", moment) == then
    early = answers(mbc, filled, "--at", "may", "--until", "2026-05-05")
    assert not any(answer["from_memory"] for answer in answers(mbc, filled, "--until", "2026-05-05"))
    assert all(answer["from_memory"] for answer in early)


def test_a_moment_before_the_memory_was_made_is_one_clear_error(mbc: RunMbc, filled: Path) -> None:
    result = mbc("query", "Who?", "--store", filled, "--at", "2001-01-01")
    assert result.code == 1
    assert "Traceback" not in result.err
    assert "2001-01-01" in result.err
