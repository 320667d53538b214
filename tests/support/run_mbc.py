"""Run ``mbc``: in a process of its own where exit codes, pipes and signals matter, in this one elsewhere."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import AnyStr

import pytest

from mbc_cli.cli.app import main

COMMAND = [sys.executable, "-m", "mbc_cli"]


@dataclass(frozen=True)
class Result:
    """What a run left behind."""

    code: int
    out: str
    err: str


RunMbc = Callable[..., Result]


class Process(subprocess.Popen[AnyStr]):
    """A process that is killed where its block ends: a test that fails in it must not wait for it."""

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        super().__exit__(kind, value, traceback)


@pytest.fixture
def mbc(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunMbc:
    """Run ``main`` in this process: ``mbc("encode", path, stdin=b"...")``."""

    def run(*arguments: str | Path, stdin: bytes = b"") -> Result:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capsys.readouterr()
        with pytest.raises(SystemExit) as finished:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Result(int(finished.value.code or 0), captured.out, captured.err)

    return run


def process_environment(**changes: str) -> dict[str, str]:
    """The environment of this process, of mbc's settings only the configuration folder, and ``changes``."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("MBC_") or name == "MBC_CONFIG_HOME"
    }
    return kept | {"HF_HUB_OFFLINE": "1"} | changes


def run_process(
    *arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None, **changes: str
) -> Result:
    """Run ``mbc`` in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        env=process_environment(**changes),
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())
