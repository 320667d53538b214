"""API keys: kept as digests, compared in constant time, never shown."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from mbc_cli.errors import UnreadableError, UsageError

SHORTEST = 16  # characters: nobody goes through all keys of that length
_MOST_BYTES = 1 << 20  # of a file of keys


@dataclass(frozen=True, slots=True)
class ApiKeys:
    """Whoever presents one of these keys may use the server; without any, everybody may."""

    digests: tuple[bytes, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, keys: list[str]) -> ApiKeys:
        """Those of ``keys``.

        Raises:
            UsageError: one is short, or holds what a header cannot. It is not repeated.
        """
        for number, key in enumerate(keys, 1):
            if len(key) < SHORTEST or not key.isascii() or not key.isprintable() or " " in key:
                raise UsageError(
                    f"API key {number} of {len(keys)} has {len(key)} characters, or other characters than "
                    f"visible ASCII; accepted: at least {SHORTEST} of these",
                    "make one: python -c 'import secrets; print(secrets.token_urlsafe(32))'",
                )
        return cls(tuple(_digest(key) for key in keys))

    @classmethod
    def read(cls, file: Path | None, variable: str | None) -> ApiKeys:
        """Those of a file, one a line (empty lines and those that begin with # are none), and of a variable.

        Raises:
            UnreadableError: the file cannot be read.
            UsageError: it holds no key, or one cannot be used.
        """
        keys = [variable] if variable else []
        if file is not None:
            try:
                with file.open("rb") as opened:
                    lines = opened.read(_MOST_BYTES).decode().splitlines()
            except (OSError, UnicodeDecodeError) as failure:
                reason = failure.strerror if isinstance(failure, OSError) else "it is not UTF-8"
                raise UnreadableError(f"the file of API keys {file} cannot be read: {reason}") from failure
            found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
            if not found:
                raise UsageError(f"the file of API keys {file} holds none", "write one a line")
            keys += found
        return cls.of(keys)

    def __bool__(self) -> bool:
        return bool(self.digests)

    def admit(self, authorization: str | None) -> bool:
        """Whether a request of that ``Authorization`` header may pass.

        Digests of one length are compared, all of them: how long it takes tells nothing of the keys.
        """
        if not self.digests:
            return True
        scheme, _, key = (authorization or "").partition(" ")
        presented = _digest(key.strip())
        matches = [hmac.compare_digest(presented, digest) for digest in self.digests]
        return scheme.lower() == "bearer" and any(matches)


NO_KEYS = ApiKeys()


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
