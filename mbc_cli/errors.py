"""What a user may be told went wrong: one clear line, a way out, and an exit code.

The classes differ by what whoever catches them does about it. Each has a ``kind``, a word that programs may
rely on, and an exit code; docs/python-api.md lists them, with those of ``mbc_store``.
"""

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
    """Base of the failures a user can act on. The command line prints them without a traceback.

    Args:
        message: one line: the value received and what is accepted.
        hint: how to get out of it, if there is a way.

    Attributes:
        kind: short and stable, for programs to tell failures apart by.
        exit_code: what the process returns.
    """

    kind = "failed"
    exit_code = ExitCode.FAILED

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class UsageError(MbcError, ValueError):
    """The call is wrong: an option, an argument or a setting. Change it."""

    kind = "usage"
    exit_code = ExitCode.USAGE


class InputError(MbcError):
    """A document, question or file cannot be used. Mend it, or leave it out."""

    kind = "input"


class UnreadableError(InputError):
    """A file cannot be opened. Check its name and permissions."""

    kind = "unreadable"


class OutputError(MbcError):
    """Something is already where a result should go. Choose another place."""

    kind = "output"


class AdapterError(MbcError):
    """The adapter is not to be had, is damaged, or cannot do this. Use another, or train one."""

    kind = "adapter"


class ModelError(MbcError):
    """The LLM or its tokenizer is not to be had, or the adapter's settings do not fit it. Use another."""

    kind = "model"


class CheckpointError(MbcError):
    """A checkpoint cannot be read, or belongs to another run. Name another, or start anew."""

    kind = "checkpoint"


class TrainingError(MbcError):
    """Training cannot go on with these settings or data. Change them."""

    kind = "training"


class DeviceError(MbcError):
    """The device is not there or cannot do this. Use another."""

    kind = "device"


class OutOfMemoryError(MbcError):
    """Memory ran out, of the machine or the GPU. Use smaller batches."""

    kind = "memory"


class MissingPackageError(MbcError):
    """An optional package is not installed. Install it."""

    kind = "missing-package"


class ClusterError(MbcError):
    """Ray cannot be started or reached, or gave up. Look at the cluster; what was committed stays."""

    kind = "cluster"


class OperatingSystemError(MbcError):
    """The operating system refused: permissions, a full disk, a name that is not there."""

    kind = "system"


class DeclinedError(MbcError):
    """The user was asked and said no. Nothing was changed."""

    kind = "declined"


class InternalError(MbcError):
    """A fault of this program. Please report it."""

    kind = "internal"


def install_hint(extra: str) -> str:
    """How to install what one of this distribution's extras brings."""
    return f"pip install '{DISTRIBUTION}[{extra}]'"


def nearest_hint(received: str, accepted: Iterable[str]) -> str:
    """A hint that names the accepted value closest to ``received``, or all of them if none is close."""
    names = sorted(accepted)
    close = get_close_matches(received, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"accepted: {', '.join(names)}"
