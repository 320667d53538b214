"""``mbc serve`` in a process of its own, as clients meet it."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.run_mbc import COMMAND, Process, process_environment

KEY = "a-key-of-the-tests-0123456789"


@dataclass(frozen=True)
class Response:
    """What a request got."""

    status: int
    headers: dict[str, str]
    body: Any


@dataclass(frozen=True)
class Served:
    """A running server: where it is, and its process."""

    url: str
    process: subprocess.Popen[str]

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
    ) -> Response:
        """Send a request: POST with JSON where there is a ``body``; the response's JSON, or else its text."""
        sent = dict(headers or {})
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path.lstrip("/"), data, sent, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as got:
                return _response(got)
        except urllib.error.HTTPError as got:
            with got:
                return _response(got)


def _response(got: Any) -> Response:
    text = got.read().decode()
    headers = {name.lower(): value for name, value in got.headers.items()}
    is_json = headers.get("content-type", "").startswith("application/json")
    return Response(got.status, headers, json.loads(text) if is_json and text else text)


@contextmanager
def served(store: Path, *options: str, **environment: str) -> Iterator[Served]:
    """Serve ``store`` at a port that is free, until the block ends."""
    command = [*COMMAND, "serve", "--store", str(store), "--port", "0", *options]
    process = Process(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(**environment),
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        if not url:
            raise RuntimeError(f"the server did not start: {process.stderr.read()}")
        yield Served(url, process)
