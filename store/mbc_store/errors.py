"""Errors a store raises, each one line of what happened and one of what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = [
    "FingerprintMismatch",
    "InvalidRecord",
    "StoreConflict",
    "StoreCorrupt",
    "StoreError",
    "StoreExists",
    "StoreFull",
    "StoreInUse",
    "StoreNotFound",
    "StoreReadOnly",
    "translated",
]


class StoreError(Exception):
    """Base of everything this package raises for a reason the caller can act on.

    ``message`` says what happened, ``hint`` (may be None) how to fix it.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} ({hint})")
        self.message = message
        self.hint = hint


class StoreNotFound(StoreError):
    """No store, snapshot, tag or document of that name."""


class StoreExists(StoreError):
    """Something is already where a new store should go."""


class FingerprintMismatch(StoreError):
    """The store was written with another adapter."""


class StoreCorrupt(StoreError):
    """Bytes on disk are missing or do not decode."""


class StoreConflict(StoreError):
    """Other writers kept moving the head until the retries ran out."""


class StoreReadOnly(StoreError):
    """The location, or the view that was opened, cannot be written."""


class StoreFull(StoreError):
    """The disk has no room left."""


class StoreInUse(StoreError):
    """Another process holds the lock, or reads what would be deleted."""


class InvalidRecord(StoreError, ValueError):
    """A document record does not fit the store."""


_FULL = ("no space left", "storagefull", "disk quota", "os error 28", "file too large")
_READ_ONLY = (
    "read-only file system",
    "readonlyfilesystem",
    "permission denied",
    "permissiondenied",
    "operation not permitted",
)
_REFUSED = ("token request", "unauthorized", "forbidden", "accessdenied", "invalidaccesskey", "signaturedoes")
_DEVICE = ("input/output error", "os error 5)")
_UNREACHABLE = ("dispatch failure", "connection refused", "connecterror", "dns error", "timed out")


@contextmanager
def translated(location: object) -> Iterator[None]:
    """Turn errors of Icechunk, Zarr, the codecs and the operating system into StoreErrors.

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
    except StoreError:
        raise
    except (IcechunkError, BaseZarrError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise _translate(location, error) from error


def _translate(location: object, error: Exception) -> StoreError:
    text = f"{type(error).__name__}: {error}"
    lower = text.lower()
    if any(sign in lower for sign in _FULL):
        return StoreFull(
            f"no space left while writing the store {location}; nothing of this change was stored",
            "free some space or run `mbc memory gc`, then repeat the command",
        )
    if any(sign in lower for sign in _READ_ONLY):
        return StoreReadOnly(
            f"the store {location} cannot be written: permission denied or read-only file system",
            "write to a copy (`mbc memory copy`) or fix the permissions",
        )
    if any(sign in lower for sign in _DEVICE):
        return StoreError(
            f"the device under {location} reports an input/output error",
            "check the disk and the kernel's log; what was acknowledged before is on disk or in a copy",
        )
    if any(sign in lower for sign in _UNREACHABLE):
        return StoreError(
            f"the storage of {location} does not answer: {_first_line(text)}",
            "check the network, the endpoint and the credentials",
        )
    if any(sign in lower for sign in _REFUSED):
        return StoreError(
            f"the storage of {location} refuses the credentials, or there are none: {_first_line(text)}",
            "check the environment's AWS_... or GOOGLE_... variables",
        )
    if isinstance(error, OSError):
        # Everything that is only read goes through Icechunk, whose errors are its own.
        return StoreError(
            f"the store {location} cannot be written: {error.strerror or error} ({error.filename})",
            "check the folder and its permissions",
        )
    return StoreCorrupt(
        f"the store {location} cannot be read: {_first_line(text)}",
        "run `mbc memory verify`, then `mbc memory repair`",
    )


def _first_line(text: str, limit: int = 200) -> str:
    stripped = (line.strip(" │├╰─▶|") for line in text.splitlines())
    lines = [line for line in stripped if line and line != "context:"]
    line = " ".join(lines[:2]) if lines else "unknown error"
    line = line.removeprefix("IcechunkError:").lstrip().removeprefix("x ")
    return line if len(line) <= limit else line[: limit - 1] + "…"
