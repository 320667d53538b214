"""The process of ``mbc``: closed streams, signals, and an end that is never an abort."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from mbc_store import MemoryStore

from tests.support.run_mbc import COMMAND, Process, RunMbc, process_environment

SLOW_WAKING = """
import asyncio, sys, time
from asyncio.selector_events import BaseSelectorEventLoop as Loop
wake = Loop._write_to_self
def wake_and_linger(self):  # what a busy machine makes of the system call in it
    wake(self)
    time.sleep(0.3)
Loop._write_to_self = wake_and_linger
"""


@pytest.fixture
def filled(mbc: RunMbc, tmp_path: Path, adapter_directory: Path) -> Path:
    store = tmp_path / "filled.mbc"
    done = mbc(
        "encode", "-", "--store", store, "--adapter", adapter_directory, stdin=b"The mill burnt down.\n"
    )
    assert done.code == 0
    return store


@pytest.mark.slow
def test_a_command_that_did_its_work_is_not_aborted_at_its_end(filled: Path) -> None:
    code = SLOW_WAKING + "from mbc_cli.cli.app import console; console()"
    done = subprocess.run(
        [sys.executable, "-c", code, "memory", "verify", "--store", str(filled)],
        capture_output=True,
        env=process_environment(),
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"sound\n", b"")


@pytest.mark.slow
def test_a_script_that_reads_a_store_last_is_not_aborted_at_its_end(filled: Path) -> None:
    code = (
        f"{SLOW_WAKING}\nfrom mbc_store import MemoryStore\nprint(MemoryStore.open({str(filled)!r}).verify())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env=process_environment(), check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"[]\n", b"")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("command", ["demo", "evaluate"])
def test_a_signal_leaves_no_temporary_folder_behind(
    command: str, number: signal.Signals, tmp_path: Path, adapter_directory: Path
) -> None:
    arguments = {
        "demo": ["--documents", "100000"],
        "evaluate": ["--documents", str(tmp_path / "d"), "--questions", str(tmp_path / "q")],
    }[command]
    documents = (json.dumps({"id": n, "text": f"Mill {n} burnt down."}) for n in range(20_000))
    (tmp_path / "d").with_suffix(".jsonl").write_text("\n".join(documents))
    (tmp_path / "q.jsonl").write_text(
        json.dumps({"question": "Which?", "answers": "it", "document_ids": ["1"]})
    )
    arguments = [f"{a}.jsonl" if a.startswith(str(tmp_path)) else a for a in arguments]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with Process(
        [*COMMAND, command, *arguments, "--adapter", str(adapter_directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(TMPDIR=str(temporary)),
    ) as process:
        wait_until(lambda: any(temporary.glob("mbc-*/*/*")) or process.poll() is not None)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, b"")
    assert err.decode().splitlines()[-1] == "interrupted"
    assert list(temporary.glob("mbc-*")) == []


@pytest.mark.slow
def test_sigterm_says_what_was_stored_and_how_to_go_on(tmp_path: Path, adapter_directory: Path) -> None:
    store = tmp_path / "s.mbc"
    options = ["--format", "lines", "--commit-every", "2", "--adapter", str(adapter_directory)]
    with Process(
        [*COMMAND, "encode", "-", "--store", str(store), *options],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=process_environment(),
    ) as process:
        assert process.stdin
        assert process.stderr
        process.stdin.write(b"The mill burnt down.\nThe ferry left.\nThe bridge was closed.\n")
        process.stdin.flush()
        wait_until(lambda: MemoryStore.exists(store) and len(MemoryStore.open(store).history()) > 1)
        process.terminate()
        said = process.stderr.read().decode()
        assert process.wait(60) == 143
    assert said.splitlines()[-2:] == ["3 documents are stored; run it again to go on", "interrupted"]


def with_closed(redirection: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of ``mbc`` with a standard stream closed by the shell."""
    done = subprocess.run(
        ["bash", "-c", f'"$@" {redirection}', "bash", *COMMAND, *arguments],
        capture_output=True,
        env=process_environment(),
        check=False,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [["encode", "-"], ["query", "-"], ["memory", "forget", "--ids-from", "-", "--yes"]],
    ids=lambda arguments: arguments[-1] if arguments[0] != "memory" else "forget",
)
def test_closed_stdin_is_one_clear_line(filled: Path, arguments: list[str]) -> None:
    code, out, err = with_closed("<&-", *arguments, "--store", str(filled))
    assert (code, out) == (2, "")
    assert err.splitlines() == ["error: stdin is closed", "hint: give it input, or name a file instead of -"]


def test_a_question_to_a_closed_stdin_is_not_taken_for_consent(filled: Path) -> None:
    ids = json.loads(with_closed("", "memory", "list", "--json", "--store", str(filled))[1])["id"]
    code, out, err = with_closed("<&-", "memory", "forget", ids, "--store", str(filled))
    assert (code, out) == (2, "")
    assert "There is no terminal to ask on" in err


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_outputs_get_nothing_and_fail_nothing(filled: Path, redirection: str) -> None:
    for arguments in (["memory", "list"], ["memory", "info", "--json"], ["query", "Who?", "--sources"]):
        code, out, err = with_closed(redirection, *arguments, "--store", str(filled))
        assert code == 0, err
        assert not out or ">&-" not in redirection.replace("2>&-", "")
        assert "rror" not in err
    assert MemoryStore.open(filled).verify() == []


def wait_until(condition: Callable[[], bool], seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_signals_that_are_ignored_stay_ignored() -> None:
    code = (
        "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN);"
        "from mbc_cli.cli import process; process.interrupt_on_signals();"
        "os.kill(os.getpid(), signal.SIGHUP); process.end(5)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 5
