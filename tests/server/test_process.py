"""The server as a process: when it starts, whom it lets in, how much it takes on, and how it ends."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.run_mbc import RunMbc
from tests.support.run_mbc import mbc as mbc
from tests.support.served import KEY, Served, served

pytestmark = pytest.mark.slow

WITH_KEY = {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def server(news_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text(f"# for the tests\n\n{KEY}\n{KEY}-of-another\n")
    options = [
        "--api-key-file",
        str(keys),
        "--read-only",
        "--max-body",
        "5000",
        "--timeout",
        "3",
        "--queue",
        "3",
    ]
    with served(news_store, *options, "--allow-host", "memory.example.org", "--verbose") as running:
        yield running


def test_every_key_opens_and_nothing_else_does(server: Served) -> None:
    for authorization in (f"Bearer {KEY}", f"bearer {KEY}-of-another"):
        assert server.ask("v1/models", headers={"Authorization": authorization}).status == 200
    for authorization in ("", "Bearer", f"Bearer {KEY}x", f"Basic {KEY}", f"Bearer {KEY[:-1]}", "Bearer ä"):
        for path in ("v1/models", "v1/memory/info", "metrics"):
            refused = server.ask(path, headers={"Authorization": authorization})
            assert refused.status == 401, authorization
            assert refused.headers["www-authenticate"] == "Bearer"
            assert KEY not in json.dumps(refused.body)
    for path in ("health", "openapi.json", ""):
        assert server.ask(path).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "memory.example.org"}, 200),
        ({"Host": "LOCALHOST:1234"}, 200),
        ({"Host": "[::1]:1234"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "[127.0.0.1"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost"}, 200),
        ({"Host": "localhost", "Origin": "http://evil.example"}, 403),
        ({"Host": "localhost", "Origin": "http://localhost:1"}, 403),
        ({"Host": "localhost", "Origin": "null"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
    ids=str,
)
def test_only_its_own_names_and_its_own_page_are_answered(
    server: Served, headers: dict[str, str], status: int
) -> None:
    assert server.ask("v1/models", headers=WITH_KEY | headers).status == status


def test_browsers_are_told_to_load_run_and_frame_nothing_foreign(server: Served) -> None:
    for path in ("", "v1/models", "v1/none"):
        headers = server.ask(path).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert not [name for name in headers if name.startswith("access-control")]


def test_a_body_has_an_end_in_bytes_and_in_time(server: Served) -> None:
    large = server.ask("v1/memory/ask", {"question": "x" * 6000}, headers=WITH_KEY)
    assert (large.status, large.body["error"]["code"]) == (413, "too_large")
    host, port = server.url.removeprefix("http://").rstrip("/").split(":")
    head = f"POST /v1/memory/ask HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n"
    for rest, expected in (
        ("Transfer-Encoding: chunked\r\n\r\n" + ("3e8\r\n" + "x" * 1000 + "\r\n") * 6, b" 413 "),
        ("Content-Length: 100\r\n\r\n{", b" 408 "),
    ):
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall((head + rest).encode())
            assert expected in connection.recv(1000).split(b"\r\n")[0]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 4000, b'{"question": NaN}', b'"x"', b"\xff", b'{"question": "x", "y": 1}']
)
def test_what_is_no_request_is_refused_in_words(server: Served, data: bytes) -> None:
    sent = WITH_KEY | {"Content-Type": "application/json"}
    refused = server.ask("v1/memory/ask", data=data, headers=sent, method="POST")
    assert refused.status == 400
    assert refused.body["error"]["message"]


def test_unknown_addresses_and_methods_have_errors_of_the_one_form(server: Served) -> None:
    assert server.ask("v1/none", headers=WITH_KEY).body["error"]["code"] == "not_found"
    assert server.ask("none.html").status == 404
    assert server.ask("../pyproject.toml").status == 404
    assert server.ask("v1/models", headers=WITH_KEY, method="PUT").status == 405
    past = server.ask("v1/memory/info?at=1999-01-01", headers=WITH_KEY)
    assert (past.status, past.body["error"]["code"]) == (404, "store-not-found")


def test_a_read_only_server_changes_nothing(server: Served) -> None:
    document = {"id": "a", "text": "x"}
    assert server.ask("v1/memory/documents", document, headers=WITH_KEY).status == 403
    refused = server.ask("v1/memory/documents/museum", headers=WITH_KEY, method="DELETE")
    assert refused.body["error"]["code"] == "read_only"


def test_the_description_names_every_address_and_its_errors(server: Served) -> None:
    described = server.ask("openapi.json").body
    addresses = {"/v1/chat/completions", "/v1/completions", "/v1/models", "/v1/memory/ask", "/metrics"}
    assert addresses <= described["paths"].keys()
    assert "4XX" in described["paths"]["/v1/memory/ask"]["post"]["responses"]
    assert described["components"]["schemas"]["MemoryPart"]["properties"]["sources"]


def taken_on(server: Served) -> int:
    """Requests that the server is answering or has answered, without those for its figures."""
    lines = server.ask("metrics", headers=WITH_KEY).body.splitlines()
    answered = [line for line in lines if line.startswith("mbc_requests_total") and "/metrics" not in line]
    in_flight = [line for line in lines if line.startswith("mbc_requests_in_flight ")]
    return int(sum(float(line.split()[-1]) for line in [*answered, *in_flight])) - 1


def test_it_ends_when_what_was_asked_is_answered_and_logs_no_key(news_store: Path) -> None:
    question = "Who bought Tornado Records?"
    whole = ("/v1/memory/ask", {"question": [question] * 40})
    stream = ("/v1/completions", {"model": "news", "prompt": [question] * 10, "stream": True})
    with served(news_store, "--verbose", MBC_API_KEY=KEY) as server:
        host = server.url.removeprefix("http://").rstrip("/")
        texts: list[str] = []

        def ask(path: str, body: dict[str, object]) -> None:
            connection = http.client.HTTPConnection(host, timeout=60)
            headers = WITH_KEY | {"Content-Type": "application/json"}
            connection.request("POST", path, json.dumps(body), headers)
            texts.append(connection.getresponse().read().decode())
            connection.close()

        asking = [threading.Thread(target=ask, args=asked) for asked in (whole, stream) * 3]
        for each in asking:
            each.start()
        while taken_on(server) < len(asking):
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        for each in asking:
            each.join()
        streams = [text for text in texts if text.startswith("data: ")]
        assert len(streams) == 3
        assert all(text.endswith("data: [DONE]\n\n") for text in streams)
        answers = [json.loads(text)["answers"] for text in texts if text not in streams]
        assert [len(each) for each in answers] == [40] * 3
        output, errors = server.process.communicate(timeout=60)
        assert server.process.returncode == 0, errors
        assert errors.count("POST /v1/memory/ask 200") == 3
        assert KEY not in output + errors


def test_whoever_finds_the_queue_full_is_told_when_to_come_again(server: Served) -> None:
    question = "Who bought Tornado Records?"
    busy = server.ask("v1/memory/ask", {"question": [question] * 4}, headers=WITH_KEY)
    assert (busy.status, busy.body["error"]["code"]) == (503, "busy")
    assert int(busy.headers["retry-after"]) > 0
    taken = server.ask("v1/memory/ask", {"question": [question] * 3}, headers=WITH_KEY)
    assert len(taken.body["answers"]) == 3


def test_what_cannot_be_served_is_told_before_a_model_is_loaded(
    mbc: RunMbc, news_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MBC_API_KEY", raising=False)

    def refused(*options: str) -> str:
        run = mbc("serve", "--store", news_store, *options)
        assert run.code in (1, 2), run.err
        assert run.out == ""
        return run.err

    assert "no API key is asked for" in refused("--host", "0.0.0.0")
    assert "no API key is asked for" in refused("--host", "192.0.2.1")
    keys = tmp_path / "keys"
    assert "cannot be read" in refused("--api-key-file", str(keys))
    keys.write_text("# none\n")
    assert "holds none" in refused("--api-key-file", str(keys))
    keys.write_text("short-secret\n")
    told = refused("--api-key-file", str(keys))
    assert "at least 16" in told
    assert "short-secret" not in told
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot be listened to" in refused("--port", str(taken.getsockname()[1]))
    assert "no store" in refused("--store", str(tmp_path / "none.mbc"), "--port", "0")
