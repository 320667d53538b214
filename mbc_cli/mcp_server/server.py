"""The server of the Model Context Protocol (https://modelcontextprotocol.io) over one memory."""

from __future__ import annotations

import socket
from collections.abc import Sequence

import anyio
import uvicorn
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types import ToolAnnotations

from mbc_cli import __version__
from mbc_cli.mcp_server.tools import MemoryTools
from mbc_cli.memory import Memory

PATH = "/mcp"
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_INSTRUCTIONS = (
    "Long-term memory that outlives the conversation. Recall before you answer what may have been said or "
    "read earlier; remember what will be worth knowing later; forget what the user wants forgotten."
)


def build_server(memory: Memory, *, read_only: bool = False) -> MCPServer[None]:
    """A server whose tools work on ``memory``; with ``read_only`` none of them changes it."""
    # Crashes of tools are told on stderr by the library; what agents do wrong, only to them.
    server: MCPServer[None] = MCPServer(
        "mbc", title="mbc memory", instructions=_INSTRUCTIONS, version=__version__, log_level="ERROR"
    )
    tools = MemoryTools(memory)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (tools.recall, tools.ask, tools.memory_info):
        server.add_tool(tool, annotations=reads, structured_output=True)
    if not read_only:
        keeps = ToolAnnotations(destructive_hint=False, idempotent_hint=True, open_world_hint=False)
        server.add_tool(tools.remember, annotations=keeps, structured_output=True)
        drops = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)
        server.add_tool(tools.forget, annotations=drops, structured_output=True)
    return server


def serve_stdio(server: MCPServer[None]) -> None:
    """Speak the protocol on stdin and stdout until stdin ends."""
    anyio.run(server.run_stdio_async)


def serve_http(server: MCPServer[None], listening: socket.socket, names: Sequence[str] = ()) -> None:
    """Speak the protocol over HTTP at :data:`PATH` until a signal ends it.

    Args:
        listening: a socket that listens.
        names: further host names that requests may be addressed to. A page from elsewhere in somebody's
            browser can send requests here as well: those for other hosts, or from other origins, are refused.
    """
    hosts = [*_LOOPBACK, *names]
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(
            allowed_hosts=[pattern for host in hosts for pattern in (host, f"{host}:*")],
            allowed_origins=[f"http://{host}{port}" for host in hosts for port in ("", ":*")],
        ),
    )
    # Without a configuration of its own its log would go to stdout.
    config = uvicorn.Config(app, log_config=None, log_level="error", access_log=False)
    anyio.run(lambda: uvicorn.Server(config).serve(sockets=[listening]))
