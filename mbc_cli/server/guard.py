"""Before and after every request: who may ask, how much at once, what browsers are told, what is counted."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mbc_cli import reporting
from mbc_cli.server.body import received
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.failures import RequestFailure, error_response
from mbc_cli.server.measures import Measures

# Nothing is loaded from elsewhere, nothing inline runs, nobody frames the page.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_LOCKED = ("/v1/", "/metrics")  # what needs a key; the page itself, its parts and /health hold no secret


class Guard:
    """The outermost layer of the application.

    Args:
        watch: told a line for every request, and the traceback of an internal error.
    """

    def __init__(
        self, app: ASGIApp, config: ServerConfig, measures: Measures, watch: Callable[[str], None]
    ) -> None:
        self._app = app
        self._config = config
        self._measures = measures
        self._watch = watch

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; of lifespans nothing is changed."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()
        status = 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if status == 413:
                    headers["Connection"] = "close"  # what is left of the body is not waited for
                secret = scope["path"].startswith(_LOCKED)
                headers.setdefault("Cache-Control", "no-store" if secret else "no-cache")
            await send(message)

        with self._measures.in_flight.track_inprogress():
            try:
                self._check(Headers(scope=scope), scope["path"])
                config = self._config
                whole = await received(scope, receive, most_bytes=config.max_body, seconds=config.timeout)
                await self._app(scope, whole, send_with_headers)
            except Exception as failure:
                if not isinstance(failure, RequestFailure):
                    self._tell(failure, scope)
                if not status:
                    await error_response(failure)(scope, receive, send_with_headers)
        seconds = time.perf_counter() - begun
        # Not the path, nor any method: whoever asks for many would have us remember each.
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._measures.requests.labels(method, route, str(status)).inc()
        self._measures.seconds.labels(route).observe(seconds)
        self._watch(f"{scope['method']} {scope['path']} {status} {seconds * 1000:.0f} ms")

    def _check(self, headers: Headers, path: str) -> None:
        """Raise RequestFailure if this request may not pass."""
        host = headers.get("host", "")
        if _name(host) not in self._config.host_names:
            raise RequestFailure(
                403,
                "host_not_allowed",
                f"this server does not answer to the name {host!r:.100}",
                "allow it with --allow-host",
            )
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise RequestFailure(
                403, "origin_not_allowed", f"pages of {origin!r:.100} may not ask this server"
            )
        if headers.get("sec-fetch-site") == "cross-site" and path.startswith(_LOCKED):
            raise RequestFailure(403, "origin_not_allowed", "other sites may not ask this server")
        if path.startswith(_LOCKED) and not self._config.keys.admit(headers.get("authorization")):
            raise RequestFailure(
                401,
                "invalid_api_key",
                "the API key is missing, or is none of this server's",
                "send it as the header Authorization: Bearer KEY",
            )

    def _tell(self, failure: Exception, scope: Scope) -> None:
        kind = type(failure).__name__
        reporting.note(f"internal error while answering {scope['method']} {scope['path']}: {kind}: {failure}")
        for line in "".join(traceback.format_exception(failure)).splitlines():
            self._watch(line)


def _name(host: str) -> str:
    """The name in a ``Host`` header, without port and brackets, in lower case."""
    try:
        return (urlsplit(f"//{host}").hostname or "").rstrip(".")
    except ValueError:
        return ""
