"""The application: addresses, errors in one form, the page, and the guard around it all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from mbc_store.errors import StoreError
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from mbc_cli import __version__
from mbc_cli.errors import MbcError
from mbc_cli.server import memory_routes, openai_routes
from mbc_cli.server.config import ServerConfig
from mbc_cli.server.failures import ErrorResponse, RequestFailure, error_response, wrong_form
from mbc_cli.server.guard import Guard
from mbc_cli.server.running import Here, Running
from mbc_cli.server.service import MemoryService

PAGE = Path(__file__).parent / "page"
_REASONS = {404: "not_found", 405: "method_not_allowed"}


class Health(BaseModel):
    """That the server answers, and whether it asks for a key."""

    status: Literal["ok"] = "ok"
    version: str = __version__
    needs_key: bool


def create_app(
    service: MemoryService, config: ServerConfig, watch: Callable[[str], None] = lambda line: None
) -> ASGIApp:
    """The application that serves ``service``.

    Args:
        watch: told a line for every request.
    """
    running = Running(service, config)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        running.worker.close()

    app = FastAPI(
        title="mbc",
        version=__version__,
        description="A long-term memory: documents in, answers with their sources out.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages of the documentation load scripts from elsewhere
        redoc_url=None,
        responses={"4XX": {"model": ErrorResponse}, "5XX": {"model": ErrorResponse}},
    )
    app.state.running = running
    app.include_router(openai_routes.router)
    app.include_router(memory_routes.router)
    app.add_api_route("/health", _health, tags=["server"])
    app.add_api_route("/metrics", _metrics, tags=["server"], response_class=Response)
    app.mount("/", StaticFiles(directory=PAGE, html=True))
    app.add_exception_handler(MbcError, _failed)
    app.add_exception_handler(StoreError, _failed)
    app.add_exception_handler(RequestValidationError, _wrong)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(Exception, _failed)
    return Guard(app, config, running.measures, watch)


async def _health(here: Here) -> Health:
    """Whether the server answers; needs no key."""
    return Health(needs_key=bool(here.config.keys))


async def _metrics(here: Here) -> Response:
    """The figures of this server in Prometheus' text format."""
    return Response(await here.without_model(here.measures.text), media_type=CONTENT_TYPE_LATEST)


async def _failed(request: Request, failure: Exception) -> JSONResponse:
    return error_response(failure)


async def _wrong(request: Request, failure: Any) -> JSONResponse:
    return error_response(wrong_form(failure.errors()))


async def _unknown(request: Request, failure: Any) -> JSONResponse:
    kind = _REASONS.get(failure.status_code, "invalid_request")
    what = f"{request.method} {request.url.path:.100}: {failure.detail}"
    return error_response(RequestFailure(failure.status_code, kind, what, "see /openapi.json"))
