"""Errors a store raises, each one line of what happened and one of what to do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

__all__ = [
    "DamagedChunk",
    "FingerprintMismatch",
    "InvalidRecord",
    "StoreClock",
    "StoreConflict",
    "StoreCorrupt",
    "StoreError",
    "StoreExists",
    "StoreFull",
    "StoreInUse",
    "StoreNotFound",
    "StoreReadOnly",
    "StoreUnreachable",
    "StoreUnsafe",
    "StoreWarning",
    "translated",
]


class StoreError(Exception):
    """Base of everything this package raises for a reason the caller can act on.

    ``message`` says what happened, ``hint`` (may be None) how to fix it; ``kind`` names the class for
    programs and never changes.
    """

    kind: ClassVar[str] = "store-failed"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} ({hint})")
        self.message = message
        self.hint = hint


class StoreNotFound(StoreError):
    """No store, snapshot, tag or document of that name."""

    kind = "store-not-found"


class StoreExists(StoreError):
    """Something is already where a new store should go."""

    kind = "store-exists"


class FingerprintMismatch(StoreError):
    """The store was written with another adapter."""

    kind = "store-adapter-mismatch"


class StoreCorrupt(StoreError):
    """Bytes on disk are missing or do not decode."""

    kind = "store-corrupt"


class StoreConflict(StoreError):
    """Other writers kept moving the head until the retries ran out."""

    kind = "store-conflict"


class StoreReadOnly(StoreError):
    """The location, or the view that was opened, cannot be written."""

    kind = "store-read-only"


class StoreFull(StoreError):
    """The disk has no room left."""

    kind = "store-full"


class StoreInUse(StoreError):
    """Another process holds the lock, or reads what would be deleted."""

    kind = "store-in-use"


class StoreUnreachable(StoreError):
    """The disk or the object storage under the store does not answer, or refuses the credentials."""

    kind = "store-unreachable"


class StoreClock(StoreError):
    """The time of this machine is before that of the newest commit, or far from the storage's."""

    kind = "store-clock"


class StoreUnsafe(StoreError):
    """A local store holds something that leads out of it."""

    kind = "store-unsafe"


class InvalidRecord(StoreError, ValueError):
    """A document record does not fit the store."""

    kind = "store-invalid-record"


class StoreWarning(UserWarning):
    """Something the user should hear of while a call goes on: whom it waits for, what it had to do."""


class DamagedChunk(ValueError):
    """The bytes of a chunk or of a header are not what was written. Readers say where, as StoreCorrupt."""


NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""Numbers of the system's errors that say so."""
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}
_NO_ANSWER = {errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ETIMEDOUT}

# Icechunk 1 has one exception class whose only content is a text. Where the operating system failed, the
# text ends in the system's error number; what a network or an object storage said can only be read.
_OS_ERROR = re.compile(r"os error (\d+)\)|Os \{ code: (\d+)")
CLOCK_SIGNS = ("invalid snapshot timestamp ordering", "snapshot timestamp is invalid")
_REMOTE_SIGNS = {
    "dispatch failure": "does not answer",
    "dns error": "does not answer",
    "timed out": "does not answer",
    "token request": "refuses the credentials, or there are none",
    "Unauthorized": "refuses the credentials, or there are none",
    "Forbidden": "refuses the credentials, or there are none",
    "AccessDenied": "refuses the credentials, or there are none",
    "InvalidAccessKey": "refuses the credentials, or there are none",
    "SignatureDoes": "refuses the credentials, or there are none",
}


@contextmanager
def translated(location: object) -> Iterator[None]:
    """Turn what Icechunk, Zarr, a damaged chunk or the operating system raise into StoreErrors.

    Anything else (a TypeError, a KeyError) is a bug of this package and passes as it is: to call it damage
    would send the user to repair a sound store.

    Args:
        location: what to call the store in the message.

    Raises:
        StoreError: the matching subclass, with the original error as its cause.
    """
    # Imported late: naming the classes must not cost the import of zarr and icechunk.
    from icechunk import IcechunkError
    from zarr.errors import BaseZarrError

    try:
        yield
    except (IcechunkError, BaseZarrError, OSError, DamagedChunk) as error:
        raise _translate(location, error) from error


def _translate(location: object, error: Exception) -> StoreError:
    number = _error_number(error)
    if number in NO_ROOM:
        return StoreFull(
            f"no space left while writing the store {location}; the change under way was not stored, "
            "every commit before it is there",
            "free some space, or run `mbc memory gc` and then `mbc memory gc --older-than 0s`",
        )
    if number in _READ_ONLY:
        return StoreReadOnly(
            f"the store {location} cannot be written: permission denied or read-only file system",
            "write to a copy (`mbc memory copy`) or fix the permissions",
        )
    if number == errno.EIO:
        return StoreUnreachable(
            f"the device under {location} reports an input/output error",
            "check the disk and the kernel's log; what was acknowledged before is on disk or in a copy",
        )
    reason = _first_line(error)
    if any(sign in str(error) for sign in CLOCK_SIGNS):
        return StoreClock(
            f"the clock and the times in {location} do not fit: {reason}", "set the clock, then repeat"
        )
    said = "does not answer" if number in _NO_ANSWER else _remote_failure(error)
    if said is not None:
        return StoreUnreachable(
            f"the storage of {location} {said}: {reason}",
            "check the network, the endpoint and the environment's AWS_... or GOOGLE_... variables",
        )
    if isinstance(error, OSError) and number is not None:
        # Everything that is only read goes through Icechunk, whose errors are its own.
        return StoreError(
            f"the store {location} cannot be written: {error.strerror} ({error.filename})",
            "check the folder and its permissions",
        )
    return StoreCorrupt(
        f"the store {location} cannot be read: {reason}", "run `mbc memory verify`, then `mbc memory repair`"
    )


def _error_number(error: Exception) -> int | None:
    """The operating system's number for ``error``, if it had one."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    found = _OS_ERROR.findall(str(error))
    return int("".join(found[-1])) if found else None


def _remote_failure(error: Exception) -> str | None:
    text = str(error)
    return next((said for sign, said in _REMOTE_SIGNS.items() if sign in text), None)


def _first_line(error: Exception, limit: int = 200) -> str:
    """Icechunk's texts are drawn with boxes and hold the call stack."""
    stripped = (line.strip(" │├╰─▶|") for line in f"{type(error).__name__}: {error}".splitlines())
    lines = [line for line in stripped if line and line != "context:"]
    line = " ".join(lines[:2]) if lines else "unknown error"
    line = line.removeprefix("IcechunkError:").lstrip().removeprefix("x ")
    return line if len(line) <= limit else line[: limit - 1] + "…"
