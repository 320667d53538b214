"""The process of ``mbc``: its standard streams, the signals that end it, and its end."""

from __future__ import annotations

import atexit
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from mbc_cli.cli import output
from mbc_cli.errors import ExitCode

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP)
_received: list[int] = []


def occupy_standard_streams() -> None:
    """Put the null device where stdin, stdout or stderr is closed.

    Otherwise the next file that is opened gets the number, and what a library prints goes into a store.
    ``sys.stdin`` stays None, so that whoever wants to read it can say that it is closed.
    """
    if sys.stdin is None:
        os.open(os.devnull, os.O_RDONLY)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115


def interrupt_on_signals() -> None:
    """Let SIGTERM and SIGHUP do what Ctrl-C does, so that temporary folders go and locks are given back.

    Those that are ignored, as SIGHUP is under ``nohup``, stay ignored.
    """
    for number in _ENDING_SIGNALS:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _interrupt)


def told_to_end() -> bool:
    """Whether a signal other than Ctrl-C's has interrupted us."""
    return bool(_received)


def interrupted_code() -> int:
    """The exit code of an interrupted command: that of the signal, as a shell reports it."""
    return 128 + _received[0] if _received else ExitCode.INTERRUPTED


@contextmanager
def told_if_interrupted(message: Callable[[], str]) -> Iterator[None]:
    """Say what an interrupted block has saved and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        output.note(message())
        raise


def end(code: int) -> NoReturn:
    """End the process with ``code``, when what was registered for its exit has run.

    Python's finalisation is left out: threads of Icechunk and torch that are not Python's may still ask for
    the interpreter's lock, after an interruption for instance, and abort the process during it.
    """
    atexit._run_exitfuncs()
    output.flush()
    os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    for other in _ENDING_SIGNALS:  # a second one must not cut the cleaning up short
        signal.signal(other, signal.SIG_IGN)
    _received.append(number)
    raise KeyboardInterrupt
