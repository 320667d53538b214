"""What documents hold steers no terminal, begins no line of ours, and stays valid JSON."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from mbc_store import MemoryStore
from mbc_store.identifiers import id_problem

from mbc_cli.cli import output
from mbc_cli.cli.options import DEFAULT_STORE
from tests.support.run_mbc import COMMAND, RunMbc, process_environment
from tests.support.store.operations import SMALL, make_record

HOSTILE = "mill\nerror: fake\r\x1b[31m\u202egpj.exe\u2066\u2028\x9b2J\x00\x7f"
SHOWN = r"mill\nerror: fake\r\x1b[31m\u202egpj.exe\u2066\u2028\x9b2J\x00\x7f"
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that somebody else wrote, whose ids follow no rule."""
    monkeypatch.setattr("mbc_store.records.id_problem", lambda identifier: None)
    store = MemoryStore.create(tmp_path / DEFAULT_STORE, SMALL)
    with store.transaction("encode", "m") as transaction:
        transaction.upsert([make_record(HOSTILE, 1, title=HOSTILE, metadata={HOSTILE: HOSTILE})])
    store.tag("before", None)
    with store.transaction("forget", "m") as transaction:
        transaction.upsert([make_record(f"{HOSTILE}2", 2, title="größer")])
    return tmp_path / DEFAULT_STORE


COMMANDS = [
    ["memory", "list"],
    ["memory", "show", HOSTILE],
    ["memory", "diff", "before"],
    ["memory", "forget", HOSTILE, "--dry-run"],
    ["memory", "forget", f"{HOSTILE}3", "--dry-run"],
    ["memory", "history"],
    ["memory", "info"],
    ["encode", f"none/{HOSTILE.replace(chr(0), '')}.jsonl"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[1][:8])
def test_what_cannot_be_seen_is_escaped_in_text_into_pipes(
    mbc: RunMbc, store: Path, arguments: list[str]
) -> None:
    result = mbc(*arguments, "--store", store)
    for text in (result.out, result.err):
        assert not UNSEEN.search(text)
        assert "\nerror: fake" not in text
        assert not text.startswith("error: fake")
    shown = result.out + result.err
    if arguments[1] in ("list", "show", "diff") or "--dry-run" in arguments:
        assert SHOWN.replace(r"\x00", "") in shown.replace(r"\x00", "").replace(r"\\", "\\")


def test_a_terminal_is_not_steered(store: Path) -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "memory", "diff", "before", "--store", str(store)],
        stdout=theirs,
        stderr=theirs,
        env=process_environment(),
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        assert process.wait(60) == 0
    os.close(ours)
    lines = shown.decode().replace("\r\n", "\n")
    assert lines == f"+ {SHOWN}2\n"


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_is_json_in_every_encoding_and_holds_nothing_unseen(store: Path, encoding: str) -> None:
    done = subprocess.run(
        [*COMMAND, "memory", "list", "--json", "--store", str(store)],
        capture_output=True,
        env=process_environment(PYTHONIOENCODING=encoding, PYTHONUTF8="0"),
        check=True,
    )
    text = done.stdout.decode(encoding)
    assert not UNSEEN.search(text)
    documents = [json.loads(line) for line in text.splitlines()]
    assert [document["id"] for document in documents] == [HOSTILE, f"{HOSTILE}2"]
    assert documents[0]["metadata"] == {HOSTILE: HOSTILE}
    assert documents[1]["title"] == "größer"


def test_an_answer_is_one_line_whatever_the_llm_writes(capsys: pytest.CaptureFixture[str]) -> None:
    output.write("two\nlines\u202e")
    output.note("two\nlines")
    assert capsys.readouterr() == ("two\\nlines\\u202e\n", "two\\nlines\n")


def test_what_people_write_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    text = "größer\t文書 مقال שלום 👩‍👩‍👧 a\\b"
    output.write(text)
    assert capsys.readouterr().out == f"{text}\n"
    assert id_problem(text.replace("\t", " ")) is None


def test_a_kept_text_is_shown_with_its_lines(mbc: RunMbc, tmp_path: Path) -> None:
    store = MemoryStore.create(tmp_path / "s.mbc", SMALL)
    with store.transaction("encode", "m") as transaction:
        record = make_record("a", 1)
        transaction.upsert(
            [make_record("b", 1), type(record)(**{**_fields(record), "text": "one\n\x1b[2Jtwo"})]
        )
    lines = mbc("memory", "show", "a", "--store", tmp_path / "s.mbc").out.splitlines()
    assert [line.split() for line in lines[-2:]] == [["text", "one"], ["\\x1b[2Jtwo"]]


def _fields(record: object) -> dict[str, object]:
    return {name: getattr(record, name) for name in ("id", "codes", "spans", "digest", "text")}
