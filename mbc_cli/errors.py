"""What a user may be told went wrong: one clear line, a way out, and an exit code."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import IntEnum

# The name on the package index, where `mbc` is another project.
DISTRIBUTION = "mbc-memory"


class ExitCode(IntEnum):
    """Exit codes of the ``mbc`` command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SKIPPED_INPUT = 3
    NOT_IN_MEMORY = 4
    INTERRUPTED = 130


class MbcError(Exception):
    """A failure the user can act on. The command line prints it without a traceback.

    Args:
        kind: short machine-readable category, such as ``"input"`` or ``"adapter"``.
        message: one line: the value received and what is accepted.
        hint: how to get out of it, if there is a way.
        exit_code: what the process returns.
    """

    def __init__(
        self, kind: str, message: str, hint: str | None = None, exit_code: int = ExitCode.FAILED
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.hint = hint
        self.exit_code = int(exit_code)

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MbcError):
    """The command line, a setting or an option's value is wrong (exit code 2)."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__("usage", message, hint, ExitCode.USAGE)


def install_hint(extra: str) -> str:
    """How to install what one of this distribution's extras brings."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def nearest_hint(received: str, accepted: Iterable[str]) -> str:
    """A hint that names the accepted value closest to ``received``, or all of them if none is close."""
    names = sorted(accepted)
    close = get_close_matches(received, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"accepted: {', '.join(names)}"
