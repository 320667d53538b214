"""The memory as tools of agents: a real server process, and the protocol's own client."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.support.run_mbc import COMMAND, Process, process_environment, run_process

MUSEUM = "Mira Okafor opened the harbour museum in Lindholm."
NOT_ACCEPTED: list[tuple[str, dict[str, Any], str]] = [
    ("remember", {}, "text"),
    ("remember", {"text": " \n"}, "blank"),
    ("remember", {"text": "It rains.", "id": ""}, "id"),
    ("remember", {"text": "It rains.", "timestamp": "yesterday"}, "yesterday"),
    ("remember", {"text": "It rains.", "metadata": [1]}, "metadata"),
    ("recall", {"query": ""}, "question"),
    ("recall", {"query": "Who?", "limit": 0}, "limit"),
    ("recall", {"query": "Who?", "where": ["nonsense"]}, "nonsense"),
    ("ask", {"question": "who " * 5000}, "shorter"),
    ("ask", {"question": "Who?", "since": "01/05/2026"}, "01/05/2026"),
    ("forget", {"ids": []}, "ids"),
    ("forget", {"ids": "museum"}, "ids"),
    ("dream", {}, "dream"),
]


def in_time(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def limited() -> None:
        with anyio.fail_after(120):
            await work()

    anyio.run(limited)


def started(store: Path, *options: str) -> StdioServerParameters:
    arguments = [*COMMAND[1:], "mcp", "--store", str(store), "--adapter", "news", *options]
    return StdioServerParameters(command=sys.executable, args=arguments, env=process_environment())


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """What a tool gives; the text of a failure under "error"."""
    result = await client.call_tool(tool, arguments)
    text = result.content[0].text  # type: ignore[union-attr]
    return {"error": text} if result.is_error else dict(result.structured_content or {})


@pytest.mark.slow
def test_an_agent_remembers_asks_and_forgets_while_others_write(tmp_path: Path) -> None:
    store = tmp_path / "memory.mbc"

    async def work() -> None:
        async with Client(stdio_client(started(store))) as client:
            tools = {tool.name: tool for tool in (await client.list_tools()).tools}
            assert set(tools) == {"remember", "recall", "ask", "forget", "memory_info"}
            for tool in tools.values():
                assert tool.description
                described = tool.input_schema.get("properties", {}).values()
                assert all(parameter["description"] for parameter in described)
            made = await call(client, "remember", text=MUSEUM, id="museum", metadata={"source": "gazette"})
            assert made == {"id": "museum", "status": "added", "passages": 1}
            answer = await call(client, "ask", question="Who opened the harbour museum in Lindholm?")
            assert answer["answer"] == "Mira Okafor"
            assert [source["document_id"] for source in answer["sources"]] == ["museum"]
            assert (await call(client, "ask", question="Which prize went to Tove Sandgren?"))[
                "answer"
            ] is None

            # Between two calls another process writes, and even deletes all history.
            other = b'{"id": "takeover", "text": "Maria Lindqvist bought Tornado Records of Salisbury."}'
            for command in (
                ("encode", "-", "--store", store),
                ("memory", "compact", "--purge", "--yes", "--store", store),
            ):
                done = await anyio.to_thread.run_sync(lambda c=command: run_process(*c, stdin=other))  # type: ignore[misc]
                assert done.code == 0, done.err
            found = await call(client, "recall", query="Who bought Tornado Records?", limit=1)
            assert found["passages"][0]["text"].startswith("Maria Lindqvist")
            assert (await call(client, "recall", query="Who?", where=["source=gazette"]))["passages"][0][
                "document_id"
            ] == "museum"

            for tool_name, arguments, said in NOT_ACCEPTED:
                failure = await call(client, tool_name, **arguments)
                assert said in failure["error"], (tool_name, arguments, failure)
                assert "Traceback" not in failure["error"]
            forgotten = await call(client, "forget", ids=["takeover", "nobody"])
            assert forgotten == {"forgotten": ["takeover"], "missing": ["nobody"]}
            info = await call(client, "memory_info")
            assert (info["documents"], info["adapter"], info["keeps_text"]) == (1, "news", True)

    in_time(work)


@pytest.mark.slow
def test_what_was_remembered_outlives_a_killed_server_and_stdout_is_the_protocol_s(tmp_path: Path) -> None:
    store = tmp_path / "memory.mbc"
    asked: list[dict[str, Any]] = [
        {
            "method": "initialize",
            "id": 1,
            "params": {
                "protocolVersion": "2025-06-18",
                "capabilities": {},
                "clientInfo": {"name": "test", "version": "1"},
            },
        },
        {"method": "notifications/initialized"},
        {
            "method": "tools/call",
            "id": 2,
            "params": {"name": "remember", "arguments": {"text": MUSEUM, "id": "museum"}},
        },
    ]
    command = [*COMMAND, "mcp", "--store", str(store), "--adapter", "news", "--verbose"]
    with Process(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=process_environment(),
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        for message in asked:
            server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        server.stdin.flush()
        replies = [json.loads(server.stdout.readline()) for _ in range(2)]
        os.kill(server.pid, signal.SIGKILL)
        assert server.stdout.read() == b""
    assert [reply["id"] for reply in replies] == [1, 2]
    assert replies[1]["result"]["structuredContent"]["status"] == "added"
    listed = run_process("memory", "list", "--store", store, "--json")
    assert "museum" in listed.out
    assert run_process("memory", "verify", "--store", store).code == 0


@pytest.mark.slow
def test_over_http_requests_for_other_hosts_and_from_other_pages_are_refused(tmp_path: Path) -> None:
    import httpx2

    command = [*COMMAND, "mcp", "--store", str(tmp_path / "memory.mbc"), "--adapter", "news"]
    with Process(
        [*command, "--transport", "http", "--port", "0", "--read-only"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
    ) as server:
        assert server.stderr is not None
        assert server.stdout is not None
        lines = iter(server.stderr.readline, "")
        url = next(found[0] for line in lines if (found := re.search(r"http://127[^;]+", line)))

        async def work() -> None:
            async with Client(url) as client:
                names = {tool.name for tool in (await client.list_tools()).tools}
                assert names == {"recall", "ask", "memory_info"}
                assert (await call(client, "memory_info"))["documents"] == 0
                assert "error" in await call(client, "remember", text=MUSEUM)

        in_time(work)
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        accepts = {"Accept": "application/json, text/event-stream"}
        for header, status in (
            ({}, 200),
            ({"Host": "evil.example"}, 421),
            ({"Origin": "http://evil.example"}, 403),
        ):
            assert httpx2.post(url, json=ping, headers=accepts | header).status_code == status
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 143
        assert server.stdout.read() == ""


def test_without_the_package_the_way_to_install_it_is_told(
    mbc: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mbc_cli.cli.commands.mcp.find_spec", lambda name: None)
    failed = mbc("mcp")
    assert (failed.code, failed.out) == (1, "")
    assert "pip install 'mbc-memory[mcp]'" in failed.err


def test_an_address_that_cannot_be_had_is_told_before_anything_is_loaded(mbc: Callable[..., Any]) -> None:
    failed = mbc("mcp", "--transport", "http", "--host", "192.0.2.1")
    assert failed.code == 1
    assert "cannot listen on 192.0.2.1 port 8766" in failed.err
