"""What a failure looks like to a client: an HTTP status, and OpenAI's error object with our kind and hint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi.responses import JSONResponse
from mbc_store.errors import (
    StoreConflict,
    StoreError,
    StoreFull,
    StoreInUse,
    StoreNotFound,
    StoreReadOnly,
    StoreUnreachable,
)
from pydantic import BaseModel

from mbc_cli.errors import InputError, InternalError, MbcError, OutOfMemoryError, UsageError
from mbc_cli.server.worker import ServerBusy

RETRY_AFTER = 1  # seconds
_STATUS: Sequence[tuple[type[Exception], int]] = (
    (ServerBusy, 503),
    (UsageError, 400),
    (InputError, 400),
    (OutOfMemoryError, 503),
    (StoreNotFound, 404),
    (StoreReadOnly, 409),
    (StoreConflict, 409),
    (StoreInUse, 503),
    (StoreUnreachable, 503),
    (StoreFull, 507),
)
_TYPES = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error"}


class RequestFailure(MbcError):
    """A request is refused with ``status``; ``kind`` says why to programs, ``param`` which field is meant."""

    def __init__(
        self, status: int, kind: str, message: str, hint: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.kind = kind
        self.param = param


class ErrorObject(BaseModel):
    """What went wrong. ``code`` is a word that programs may rely on; ``hint`` is the way out, if any,
    which ``message`` has too: OpenAI's clients show nothing else."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None
    hint: str | None = None


class ErrorResponse(BaseModel):
    """The body of every response that is no success."""

    error: ErrorObject


def refused(param: str, problem: str, hint: str | None = None) -> RequestFailure:
    """A field of a request that cannot be used."""
    return RequestFailure(400, "invalid_value", f"{param} {problem}", hint, param)


def missing_model(received: str, model: str) -> RequestFailure:
    """Another model was asked for than the one that is there."""
    return RequestFailure(
        404, "model_not_found", f"there is no model {received!r:.100}", f"this server has {model!r}", "model"
    )


def error_of(failure: BaseException) -> tuple[int, ErrorObject]:
    """The status and the object of ``failure``. Of what is our fault only the kind is told."""
    if isinstance(failure, RequestFailure):
        status, param = failure.status, failure.param
    else:
        status = next((status for kind, status in _STATUS if isinstance(failure, kind)), 500)
        param = None
    if not isinstance(failure, MbcError | StoreError):
        failure = InternalError(f"internal error: {type(failure).__name__}", "please report it")
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    shown = ErrorObject(message=str(failure), type=kind, param=param, code=failure.kind, hint=failure.hint)
    return status, shown


def error_body(failure: BaseException) -> dict[str, Any]:
    """The JSON of ``failure``."""
    return ErrorResponse(error=error_of(failure)[1]).model_dump()


def error_response(failure: BaseException) -> JSONResponse:
    """The response to a request that ended in ``failure``."""
    status, _ = error_of(failure)
    headers = {"Retry-After": str(RETRY_AFTER)} if status == 503 else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_body(failure), status, headers)


def wrong_form(errors: Sequence[Any]) -> RequestFailure:
    """The first thing that pydantic found wrong with a request."""
    first = errors[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "query", "path")]
    param = ".".join(place) or None
    problem = str(first["msg"]).removeprefix("Value error, ")
    message = f"{param}: {problem}" if param else problem
    more = len(errors) - 1
    return RequestFailure(
        400, "invalid_value", message + (f" (and {more} more)" if more else ""), param=param
    )
