"""The suite itself: it passes however it is started, and it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
AS_NOHUP_STARTS_IT = ["sh", "-c", "trap '' INT HUP; exec \"$@\"", "sh"]


def test_the_processes_that_tests_start_mind_signals() -> None:
    ask = "from signal import *; assert SIG_IGN not in (getsignal(SIGINT), getsignal(SIGHUP))"
    subprocess.run([sys.executable, "-c", ask], check=True)


def test_they_mind_them_when_the_suite_runs_under_nohup_in_the_background() -> None:
    test = f"{__file__}::{test_the_processes_that_tests_start_mind_signals.__name__}"
    command = [*AS_NOHUP_STARTS_IT, *PYTEST, test]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_test_that_hangs_is_ended(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    assert float(pytestconfig.getini("timeout")) > 0
    hanging = tmp_path / "test_hanging.py"
    hanging.write_text("import threading\n\n\ndef test_hangs() -> None:\n    threading.Event().wait()\n")
    done = subprocess.run(
        [*PYTEST, "-o", "timeout=1", str(hanging)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "Timeout" in done.stdout + done.stderr
