"""The application as a process: a socket, a loop, and an end that leaves no request unanswered."""

from __future__ import annotations

import logging
import math
import socket
from collections.abc import Callable

import uvicorn

from mbc_cli import reporting
from mbc_cli.memory import Memory
from mbc_cli.server.app import create_app
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.service import MemoryService


def serve(memory: Memory, config: ServerConfig, opened: socket.socket, watch: Callable[[str], None]) -> None:
    """Serve ``memory`` until SIGTERM or Ctrl-C, then answer what has been asked and return.

    Args:
        opened: the socket to listen at (listening.py).
        watch: told a line for every request.
    """
    application = create_app(MemoryService(memory, config), config, watch)
    logger = logging.getLogger("uvicorn")
    logger.handlers, logger.propagate = [_Reported(watch)], False
    server = uvicorn.Server(
        uvicorn.Config(
            application,
            loop="asyncio",
            http="h11",
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(config.timeout),
        )
    )
    try:
        server.run(sockets=[opened])
    except KeyboardInterrupt:  # which the server raises when it has ended because it was told to
        if not server.should_exit:
            raise


class _Reported(logging.Handler):
    """What uvicorn would log: failures are worth knowing, what strangers send is for those who watch."""

    def __init__(self, watch: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._watch = watch

    def emit(self, record: logging.LogRecord) -> None:
        tell = reporting.note if record.levelno >= logging.ERROR else self._watch
        tell(record.getMessage())
