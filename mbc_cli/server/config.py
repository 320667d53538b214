"""What a server is told: where it listens, who may use it, and how much it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from mbc_cli.errors import UsageError
from mbc_cli.server.keys import NO_KEYS, ApiKeys

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Settings of one server.

    Attributes:
        host, port: where it listens; port 0 is any that is free.
        allowed_hosts: names by which it may be asked, besides ``host`` and those of this machine.
        read_only: refuse what changes the memory.
        max_body: bytes of a request's body.
        timeout: seconds that a request may take, waiting included; and a shutdown.
        queue: questions that may wait; further ones are told to come again.
        batch_size: questions that are answered together, and passages that are encoded together.

    Raises:
        UsageError: it would listen to other machines without asking for a key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    keys: ApiKeys = NO_KEYS
    allowed_hosts: tuple[str, ...] = ()
    read_only: bool = False
    max_body: int = 4 * 2**20
    timeout: float = 60.0
    queue: int = 256
    batch_size: int = 16

    def __post_init__(self) -> None:
        if not self.keys and not is_loopback(self.host):
            raise UsageError(
                f"host {self.host!r:.100} can be reached from other machines, and no API key is asked for",
                "give keys by --api-key-file or the variable MBC_API_KEY, or leave --host out",
            )

    @property
    def host_names(self) -> frozenset[str]:
        """The names by which the server may be asked, in lower case.

        A page elsewhere can point a name of its own at this machine and then read what we answer (DNS
        rebinding); it cannot choose the name that its visitor's browser sends.
        """
        return frozenset(
            name.strip("[]").lower() for name in (*LOOPBACK_NAMES, self.host, *self.allowed_hosts)
        )


def is_loopback(host: str) -> bool:
    """Whether ``host`` is reached from this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
