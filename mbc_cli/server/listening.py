"""The socket of a server, bound before anything is loaded: a port that is taken is told at once."""

from __future__ import annotations

import socket

from mbc_cli.errors import OperatingSystemError
from mbc_cli.server.config import ServerConfig


def bound_socket(config: ServerConfig) -> socket.socket:
    """A socket at the server's address, which does not listen yet.

    Raises:
        OperatingSystemError: the address is taken, or is none of this machine.
    """
    host = config.host.strip("[]")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, config.port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(address)
        except OSError:
            opened.close()
            raise
    except OSError as failure:
        raise OperatingSystemError(
            f"{host}:{config.port} cannot be listened to: {failure.strerror or failure}",
            "choose another --port (0 is any that is free), or another --host",
        ) from failure
    return opened


def address_of(opened: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = opened.getsockname()[:2]
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
