"""``mbc chat``: what is typed or piped, what is shown, and how it ends."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from mbc_cli.corpus.documents import Document
from mbc_cli.errors import ExitCode
from mbc_cli.memory import Memory
from tests.support.run_mbc import COMMAND, RunMbc, process_environment

DOCUMENTS = [
    Document("museum", "Mira Okafor opened the museum.", title="Museum", metadata={"page": 3}),
    Document("council", "The council elected Jonas Weil.", timestamp=1_777_593_600_000_000),
]


@pytest.fixture
def store(select_memory: Memory, tmp_path: Path) -> Path:
    select_memory.encode(DOCUMENTS)
    return tmp_path / "select.mbc"


def test_lines_of_a_pipe_are_answered_in_their_order_without_a_prompt(mbc: RunMbc, store: Path) -> None:
    said = b"Who opened the museum?\n\n/sources\n/search council\nWho was elected?\n"
    result = mbc("chat", "--store", store, stdin=said)
    assert result.code == 0
    assert ">" not in result.out
    first = mbc("query", "Who opened the museum?", "--store", store, "--sources").out.splitlines()
    found = mbc("search", "council", "--store", store).out.splitlines()
    second = mbc("query", "Who was elected?", "--store", store).out.splitlines()
    assert result.out.splitlines() == [
        first[0],
        *(line.removeprefix("    ") for line in first[1:]),
        *found,
        *second,
    ]


def test_what_is_read_is_chosen_and_chosen_anew(mbc: RunMbc, store: Path) -> None:
    def read(*said: str) -> list[str]:
        lines = "".join(f"{line}\n" for line in (*said, "/search who", "/quit", "/search never"))
        result = mbc("chat", "--store", store, "--top-k", "9", stdin=lines.encode())
        assert result.code == 0
        return sorted({line.split()[0].rstrip(",") for line in result.out.splitlines() if "score" in line})

    assert read() == ["council", "museum"]
    assert read("/since 2026-05-01") == ["council"]
    assert read("/where page>=3") == ["museum"]
    assert read("/where page>=3", "/where page=4") == []
    assert read("/where page>=3", "/where", "/since 2026-05-01", "/since") == ["council", "museum"]
    assert read("/since 2026-05-01", "/until 2026-05-01") == []


def test_what_cannot_be_done_is_one_line_and_the_next_line_is_taken(mbc: RunMbc, store: Path) -> None:
    wrong = ["/sourcs", "/since soon", "/where x", "/search", "/sources", "word " * 3000, "bad \udcff"]
    said = "".join(f"{line}\n" for line in [*wrong, "Who?"]).encode(errors="surrogateescape")
    result = mbc("chat", "--store", store, stdin=said)
    assert result.code == ExitCode.SKIPPED_INPUT
    assert result.err.count("error: ") == len(wrong)
    assert "sources" in result.err.partition("hint: ")[2].splitlines()[0]
    assert result.out == mbc("query", "Who?", "--store", store).out


def test_what_is_not_in_memory_is_said(mbc: RunMbc, store: Path) -> None:
    said = b"/where page=9\nWho?\n/sources\n"
    result = mbc("chat", "--store", store, "--no-fallback", stdin=said)
    assert result.out == "not in memory\n"
    assert "not in memory: the LLM answers" in mbc("chat", "--store", store, stdin=said).err


@pytest.mark.slow
@pytest.mark.parametrize("end", [b"\x04", b"/quit\n"])
def test_a_terminal_has_a_prompt_and_ctrl_c_does_not_end_the_chat(store: Path, end: bytes) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "chat", "--store", str(store)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=process_environment(TERM="dumb", MBC_DEVICE="cpu"),
    )
    os.close(theirs)
    shown = b""

    def until(text: bytes) -> None:
        nonlocal shown
        while text not in shown:
            shown += os.read(ours, 4096)
        shown = shown.partition(text)[2]

    try:
        until(b"> ")
        # One that comes between the prompt and the reading is only noticed with the next.
        while not select.select([ours], [], [], 0.5)[0]:
            process.send_signal(signal.SIGINT)
        until(b"> ")
        os.write(ours, b"/help\n")
        until(b"/quit ")
        until(b"> ")
        os.write(ours, end)
        assert process.wait(60) == 0
    finally:
        process.kill()
        os.close(ours)


@pytest.mark.slow
def test_sigterm_ends_the_chat(store: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "chat", "--store", str(store)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(MBC_DEVICE="cpu"),
    )
    try:
        assert process.stderr
        while b"/help" not in process.stderr.readline():
            pass
        time.sleep(0.2)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
