"""Progress on a terminal: how far, how long still, and that something goes on; nothing in pipes."""

from __future__ import annotations

import gzip
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mbc_cli.corpus.bad_input import BadInputs
from mbc_cli.corpus.readers import read_documents
from mbc_cli.corpus.streams import size_of
from tests.support.run_mbc import COMMAND, process_environment, run_process

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


def on_a_terminal(*command: str) -> str:
    """What a command writes to stderr where that is a terminal 120 columns wide, without escape codes."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        stdin=subprocess.DEVNULL,
        env=process_environment(COLUMNS="120", TERM="xterm"),
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 2**16)
            except OSError:  # Linux's way of saying that the other side is closed
                break
            if not piece:
                break
            shown += piece
        assert process.wait(120) == 0, shown.decode()
    os.close(ours)
    return _MOVES.sub("\n", _COLOURS.sub("", shown.decode()))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    documents = [{"id": f"d{n}", "text": f"The bridge number {n} was closed on Monday."} for n in range(37)]
    lines = "".join(json.dumps(document) + "\n" for document in documents)
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.jsonl").write_text(lines)
    return tmp_path / "corpus"


def test_encode_shows_what_it_loads_bytes_of_the_files_time_left_and_what_happens_within_a_commit(
    corpus: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    shown = on_a_terminal(
        *COMMAND,
        *("encode", str(corpus), "--store", str(tmp_path / "s.mbc"), "--adapter", str(adapter_directory)),
        *("--commit-every", "10", "--batch-size", "3"),
    )
    assert "loading PyTorch" in shown
    assert "loading the LLM" in shown
    assert re.search(r"encoding .*\d kB/2\.\d kB, 20 documents, .*/s +\d+:\d\d:\d\d left", shown)
    assert re.search(r"passages .*\d/\d+ passages", shown)


def test_a_row_moves_every_second_though_nothing_is_told_and_notes_stand_above_it() -> None:
    script = """
import time
from mbc_cli.cli import output
with output.progress("encoding", total=2_000_000, unit="bytes") as advance:
    advance(500_000, also="7 documents")
    output.note("a note")
    with output.progress("passages", total=9, unit="passages") as within:
        within(4)
        time.sleep(2.3)
"""
    shown = on_a_terminal(sys.executable, "-c", script)
    assert {"0:00:00", "0:00:01", "0:00:02"} <= set(re.findall(r"\d:\d\d:\d\d$", shown, re.MULTILINE))
    assert re.search(r"encoding .*500\.0 kB/2\.0 MB, 7 documents +0:00:0\d left", shown)
    assert re.search(r"passages .*4/9 passages, \d+ passages/s +0:00:0\d left", shown)
    assert re.search(r"^a note *$", shown, re.MULTILINE)


def test_nothing_of_it_goes_into_a_pipe_or_under_quiet(
    corpus: Path, adapter_directory: Path, tmp_path: Path
) -> None:
    run = ["encode", str(corpus), "--store", str(tmp_path / "s.mbc"), "--adapter", str(adapter_directory)]
    assert run_process(*run).err == f"new store {tmp_path / 's.mbc'} for adapter {adapter_directory}\n"
    assert on_a_terminal(*COMMAND, *run, "--quiet") == ""


@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz"])
def test_reading_tells_the_bytes_of_the_file_as_it_lies_there(corpus: Path, name: str) -> None:
    (corpus / "b.jsonl.gz").write_bytes(gzip.compress((corpus / "a.jsonl").read_bytes()))
    path = str(corpus / name)
    read: list[int] = []
    assert sum(1 for _ in read_documents([path], BadInputs(), on_read=read.append)) == 37
    assert size_of(path) == Path(path).stat().st_size
    assert size_of(path) <= sum(read) <= size_of(path) + 8  # the first bytes tell how it is packed


def test_the_size_of_what_has_no_end_yet_is_not_known(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert size_of(str(tmp_path / "pipe")) is None
    assert size_of(str(tmp_path / "none")) is None
