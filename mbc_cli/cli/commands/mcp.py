"""``mbc mcp``: the memory as tools of agents, by the Model Context Protocol."""

from __future__ import annotations

import ipaddress
import socket
from importlib.util import find_spec
from typing import Annotated, Literal

import typer

from mbc_cli.cli import output
from mbc_cli.cli.memory_options import Probes, check_probes
from mbc_cli.cli.options import DEFAULT_STORE, Adapter, BaseModel, Device, Quantize, Store
from mbc_cli.errors import MissingPackageError, OperatingSystemError, install_hint


def mcp(
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    transport: Annotated[
        Literal["stdio", "http"],
        typer.Option("--transport", help="stdio, for clients that start it, or http."),
    ] = "stdio",
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Of http: the address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of http: the port (0: any that is free).")
    ] = 8766,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Of http: a host name that requests may carry."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Leave out the tools remember and forget.")
    ] = False,
    probes: Probes = None,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
) -> None:
    """Give agents the memory as tools: remember, recall, ask, forget and memory_info.

    Speaks the Model Context Protocol. A client such as Claude Desktop or an editor starts it and talks to it
    on stdin and stdout; with --transport http it listens at http://ADDRESS:PORT/mcp, only for this machine
    unless --host says otherwise. There are no passwords: who reaches it may read and change the memory.
    Makes the store if there is none. Others may write to the store meanwhile; each call reads the newest
    state. Needs the extra mcp. docs/integrations.md shows how clients are set up.

    Examples:

      mbc mcp --store ~/memory.mbc

      mbc mcp --store news.mbc --transport http --port 8766 --read-only
    """
    if find_spec("mcp") is None or find_spec("uvicorn") is None:
        raise MissingPackageError("the package mcp is not installed", install_hint("mcp"))
    listening = _listen(host, port) if transport == "http" else None

    with output.progress("loading PyTorch"):
        from mbc_cli.mcp_server.server import PATH, build_server, serve_http, serve_stdio
        from mbc_cli.memory import Memory

    with Memory.open_or_create(
        store, adapter, device=device, base_model=base_model, quantize=quantize
    ) as memory:
        check_probes(memory.store, probes)
        memory.probes = probes
        server = build_server(memory, read_only=read_only)
        if listening is None:
            serve_stdio(server)
            return
        shown = f"[{host}]" if ":" in host else host
        if not _is_loopback(host):
            output.warn(f"whoever reaches {shown} may read{'' if read_only else ' and change'} the memory")
        output.note(f"listening at http://{shown}:{listening.getsockname()[1]}{PATH}; Ctrl-C ends it")
        serve_http(server, listening, [shown, *(allow_host or ())])


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; told before a model is loaded if it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as failure:
        reason = getattr(failure, "strerror", None) or failure
        raise OperatingSystemError(
            f"cannot listen on {host} port {port}: {reason}", "choose another --host or --port"
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
