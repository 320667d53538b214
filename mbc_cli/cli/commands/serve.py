"""``mbc serve``: the memory for other programs, over HTTP."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from mbc_cli.cli import output
from mbc_cli.cli.memory_options import Probes, check_probes
from mbc_cli.cli.options import (
    DEFAULT_STORE,
    MOST,
    Adapter,
    BaseModel,
    BatchSize,
    Device,
    Quantize,
    Store,
    count,
)
from mbc_cli.errors import MissingPackageError, install_hint

LISTENING, LIMITS = "Listening", "Limits"


def serve(
    store: Store = DEFAULT_STORE,
    adapter: Adapter = None,
    create: Annotated[
        bool, typer.Option("--create", help="Make an empty memory where there is none.")
    ] = False,
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse what changes the memory.")] = False,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen at.", rich_help_panel=LISTENING)
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            "--port", min=0, max=65535, help="Its port; 0 is any that is free.", rich_help_panel=LISTENING
        ),
    ] = 8080,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host", metavar="NAME", help="Answer to this name too.", rich_help_panel=LISTENING
        ),
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(
            "--api-key-file",
            metavar="FILE",
            help="Keys to ask for, one a line.",
            rich_help_panel=LISTENING,
        ),
    ] = None,
    max_body: Annotated[int, count("--max-body", "Bytes of a request.", panel=LIMITS)] = 4 * 2**20,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout",
            metavar="N",
            min=0.01,
            max=MOST,
            help="Seconds of a request, waiting included.",
            rich_help_panel=LIMITS,
        ),
    ] = 60.0,
    queue: Annotated[int, count("--queue", "Questions that may wait.", panel=LIMITS)] = 256,
    probes: Probes = None,
    batch_size: BatchSize = 16,
    device: Device = "auto",
    base_model: BaseModel = None,
    quantize: Quantize = None,
) -> None:
    """Serve the memory over HTTP: OpenAI's interface, one for documents, and a page for people.

    The address is written to stdout once it answers; docs/server.md says what can be asked there. Questions
    that come at once are answered together, each from the newest commit, whoever made it. Without keys (in
    a file, or one in the variable MBC_API_KEY) it listens to this machine only. SIGTERM and Ctrl-C end it
    when what was asked is answered. --verbose says a line for every request.

    Examples:

      mbc serve --store news.mbc

      mbc serve --create --api-key-file keys.txt --host 0.0.0.0 --allow-host memory.example.org
    """
    from mbc_store import MemoryStore

    from mbc_cli.server.config import ServerConfig
    from mbc_cli.server.keys import ApiKeys
    from mbc_cli.server.listening import address_of, bound_socket

    for package in ("fastapi", "prometheus_client", "uvicorn"):
        if find_spec(package) is None:
            raise MissingPackageError(
                f"serving needs the package {package}, which is not installed", install_hint("server")
            )
    config = ServerConfig(
        host=host,
        port=port,
        keys=ApiKeys.read(api_key_file, os.environ.get("MBC_API_KEY")),
        allowed_hosts=tuple(allow_host or ()),
        read_only=read_only,
        max_body=max_body,
        timeout=timeout,
        queue=queue,
        batch_size=batch_size,
    )
    with bound_socket(config) as listening:  # a port that is taken is told before a model is loaded
        opened = None if create and not MemoryStore.exists(store) else MemoryStore.open(store)
        check_probes(opened, probes)
        with output.progress("loading PyTorch"):
            from mbc_cli.memory import Memory
            from mbc_cli.server.run import serve as serve_until_told

        if opened is None:
            memory = Memory.open_or_create(
                store, adapter, device=device, base_model=base_model, quantize=quantize
            )
            output.note(f"new store {store} for adapter {memory.adapter_name}")
        else:
            memory = Memory.open(opened, adapter, device=device, base_model=base_model, quantize=quantize)
        memory.probes = probes
        with memory:
            listening.listen()
            output.write(address_of(listening))
            serve_until_told(memory, config, listening, output.detail)
