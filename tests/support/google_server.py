"""A Google Cloud Storage server on loopback: the part of the XML API that Icechunk speaks, in memory.

The servers that pip can install speak the JSON API: gcp-storage-emulator 2026.7.19 answers 501 to the XML
API's listing (GET /BUCKET?list-type=2) and to DELETE, and takes no notice of x-goog-if-generation-match.

https://cloud.google.com/storage/docs/xml-api/reference-methods and .../reference-headers. A request that is
not written here is answered with 400, which clients do not repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from time import gmtime, sleep, strftime
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

LATENCY = 0.003  # seconds: writers on a server that answers at once hardly ever overtake each other


@dataclass(frozen=True)
class StoredObject:
    content: bytes
    generation: int
    written: Any

    @property
    def headers(self) -> dict[str, str]:
        return {
            "ETag": f'"{md5(self.content).hexdigest()}"',
            "x-goog-generation": str(self.generation),
            "Last-Modified": strftime("%a, %d %b %Y %H:%M:%S GMT", self.written),
        }


@dataclass
class GoogleServer:
    """Everybody may read; writing takes a bearer token, whose signature is not checked.

    ``page`` is how many keys a listing returns at once, ``tokens`` the bearer tokens received.
    """

    page: int
    url: str = ""
    buckets: dict[str, dict[str, StoredObject]] = field(default_factory=dict)
    tokens: set[str] = field(default_factory=set)
    lock: Any = field(default_factory=Lock)
    generations: Iterator[int] = field(default_factory=lambda: count(1))


@contextmanager
def google_server(page: int = 1000) -> Iterator[GoogleServer]:
    """A server that runs while the context lasts."""
    state = GoogleServer(page)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


_LISTING = {"list-type", "prefix"}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: GoogleServer

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        bucket, _, name = unquote(parts.path[1:]).partition("/")
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        sleep(LATENCY)
        with self.state.lock:
            if scheme == "Bearer":
                self.state.tokens.add(token)
            objects = self.state.buckets.get(bucket)
            if not token and self.command not in ("GET", "HEAD"):
                self._answer(401, _error("AuthenticationRequired"))
            elif objects is None:
                self._answer(404, _error("NoSuchBucket"))
            elif not name and self.command == "GET" and query.keys() - {"continuation-token"} == _LISTING:
                self._list(objects, query)
            elif name and not query and self.command in ("PUT", "GET", "HEAD", "DELETE"):
                getattr(self, f"_{self.command.lower()}")(objects, name, body)
            else:
                self._answer(400, _error("NotImplemented"))

    do_GET = do_HEAD = do_PUT = do_DELETE = do_POST = _handle

    def _put(self, objects: dict[str, StoredObject], name: str, body: bytes) -> None:
        if self.headers.get("x-goog-copy-source") is not None:
            return self._answer(400, _error("NotImplemented"))
        expected = self.headers.get("x-goog-if-generation-match")
        present = objects[name].generation if name in objects else 0
        if expected is not None and int(expected) != present:
            return self._answer(412, _error("PreconditionFailed"))
        objects[name] = StoredObject(body, next(self.state.generations), gmtime())
        self._answer(200, b"", objects[name].headers)

    def _get(self, objects: dict[str, StoredObject], name: str, _: bytes) -> None:
        found = objects.get(name)
        if found is None:
            return self._answer(404, _error("NoSuchKey"))
        size = len(found.content)
        if "Range" not in self.headers:
            return self._answer(200, found.content, found.headers)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["Range"])
        if asked is None:
            return self._answer(400, _error("NotImplemented"))
        start, stop = int(asked[1]), min(int(asked[2]) + 1, size)
        if start >= size:
            return self._answer(416, _error("InvalidRange"))
        span = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
        self._answer(206, found.content[start:stop], found.headers | span)

    _head = _get

    def _delete(self, objects: dict[str, StoredObject], name: str, _: bytes) -> None:
        missing = objects.pop(name, None) is None
        self._answer(404 if missing else 204, _error("NoSuchKey") if missing else b"")

    def _list(self, objects: dict[str, StoredObject], query: dict[str, str]) -> None:
        after = query.get("continuation-token", "")
        names = sorted(name for name in objects if name.startswith(query["prefix"]) and name > after)
        shown = names[: self.state.page]
        text = "".join(_entry(name, objects[name]) for name in shown)
        if shown != names:
            text += f"<NextContinuationToken>{escape(shown[-1])}</NextContinuationToken>"
        self._answer(200, f"<ListBucketResult>{text}</ListBucketResult>".encode())

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(name: str, found: StoredObject) -> str:
    written = strftime("%Y-%m-%dT%H:%M:%S.000Z", found.written)
    facts = (
        f"<Key>{escape(name)}</Key><Size>{len(found.content)}</Size><LastModified>{written}</LastModified>"
    )
    return f"<Contents>{facts}<ETag>{escape(found.headers['ETag'])}</ETag></Contents>"


def _error(code: str) -> bytes:
    return f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>".encode()
