"""Bodies of requests: of a bounded size, and there in bounded time."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import Message, Receive, Scope

from mbc_cli.server.failures import RequestFailure


async def received(scope: Scope, receive: Receive, *, most_bytes: int, seconds: float) -> Receive:
    """What receives the whole body, which has been read by then, and after it what the client does.

    Raises:
        RequestFailure: it has more bytes than ``most_bytes``, or was not there in ``seconds``.
    """
    too_large = RequestFailure(
        413,
        "too_large",
        f"the body has more than {most_bytes:,} bytes",
        "send less at once, or raise --max-body",
    )
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    with suppress(ValueError):  # the server itself refuses what is no number
        if any(int(length) > most_bytes for length in lengths):
            raise too_large
    body = bytearray()
    try:
        async with asyncio.timeout(seconds):
            more = True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestFailure(400, "disconnected", "the client went away")
                body += message.get("body", b"")
                more = message.get("more_body", False)
                if len(body) > most_bytes:
                    raise too_large
    except TimeoutError:
        raise RequestFailure(408, "timeout", f"the body was not there after {seconds:g} seconds") from None
    first: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replayed() -> Message:
        return first.pop() if first else await receive()

    return replayed
