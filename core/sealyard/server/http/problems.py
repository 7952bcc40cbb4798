"""Error responses: RFC 9457 problem documents with a stable type for each error code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException
from litestar.types import Send
from msgspec import UNSET, Meta, UnsetType

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import (
    AuthenticationError,
    FencedError,
    IssuerUnreachableError,
    NotFoundError,
    OutcomeUnknownError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    ServerUnreachableError,
    TakingOverError,
    TooLargeError,
    TooManyRequestsError,
    UsageError,
)
from sealyard.model.login import METADATA_PATH
from sealyard.model.safe_text import escape_text
from sealyard.server.http.base_url import public_base_url
from sealyard.server.http.hints import format_api_hint

PROBLEM_JSON = "application/problem+json"
TYPE_PREFIX = "urn:sealyard:problem:"

STATUS: dict[str, int] = {
    "input": 400,
    "input-mismatch": 400,
    "usage": 400,
    "unauthenticated": 401,
    "not-allowed": 403,
    "one-time-password": 403,
    "not-found": 404,
    "method": 405,
    "request-timeout": 408,
    "already-exists": 409,
    "conflict": 409,
    "stale-task": 409,
    "transition": 409,
    "confirmation-needed": 409,
    "integrity": 409,
    "result-expired": 410,
    "result-gone": 410,
    "too-large": 413,
    "media-type": 415,
    "range": 416,
    "audit": 422,
    "container": 422,
    "format-limit": 422,
    "key-provider": 422,
    "key-refused": 422,
    "too-many-requests": 429,
    "head-too-large": 431,
    "outcome-unknown": 502,
    "artifact-store": 503,
    "clock": 503,
    "concurrent-writer": 503,
    "fenced": 503,
    "connection": 503,
    "issuer-unreachable": 503,
    "disk-full": 503,
    "key-provider-unavailable": 503,
    "key-store-locked": 503,
    "storage": 503,
    "taking-over": 503,
    "worker": 503,
    "workspace-held": 503,
    "workspace-read-only": 503,
    "zone-unavailable": 503,
}
"""HTTP status of each error code. All other codes are internal errors (500)."""

MAX_DETAIL_LENGTH = 1000
"""Maximum length of the details of a validation error, in characters."""

_RETRYABLE_ERRORS = (TooManyRequestsError, IssuerUnreachableError, TakingOverError)

log = logging.getLogger(__name__)


class ProblemDetails(FrozenStruct, frozen=True, kw_only=True):
    """A problem document (RFC 9457) with the error's ``code`` and ``hint``.

    ``hint_code``, ``hint_args``: identify the hint, so that a client can show its own text. ``api_hint``: how a client
    of this API can follow the hint. All three are empty if the hint has no code. ``renewable``: whether a new link to
    the result can be requested; only set if a link has expired or a result was removed. ``retry_after``: seconds until
    the request can be repeated; only set if there were too many requests, an issuer is unreachable, or another server
    is taking over.
    """

    type: Annotated[str, Meta(description="urn:sealyard:problem:<code>; stable")]
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    hint_code: Annotated[str, Meta(description="stable; clients must accept unknown codes")] = ""
    hint_args: Mapping[str, str] = {}
    api_hint: str = ""
    renewable: bool | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class MethodError(UsageError):
    """The path does not support the method."""

    code = "method"


class MediaTypeError(UsageError):
    """The path does not support the media type of the body."""

    code = "media-type"


class HeadTooLargeError(UsageError):
    """The header fields of the request are too large."""

    code = "head-too-large"


def to_problem(error: SealyardError) -> ProblemDetails:
    status = STATUS.get(error.code, 500)
    return ProblemDetails(
        type=f"{TYPE_PREFIX}{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        hint_code=error.structured_hint.code,
        hint_args=error.structured_hint.args,
        api_hint=format_api_hint(error),
        renewable=isinstance(error, ResultExpiredError)
        if isinstance(error, ResultExpiredError | ResultGoneError)
        else UNSET,
        retry_after=error.retry_after if isinstance(error, _RETRYABLE_ERRORS) else UNSET,
    )


def headers_of(error: SealyardError) -> dict[str, str]:
    if isinstance(error, _RETRYABLE_ERRORS):
        return {"Retry-After": str(max(1, round(error.retry_after)))}
    if isinstance(error, AuthenticationError):
        return {"WWW-Authenticate": 'Bearer realm="sealyard"'}
    return {}


def handle_error(request: Request[Any, Any, Any], error: SealyardError) -> Response[ProblemDetails]:
    problem = to_problem(error)
    headers = headers_of(error)
    if "WWW-Authenticate" in headers:
        headers["WWW-Authenticate"] += f', resource_metadata="{public_base_url(request)}{METADATA_PATH}"'
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers)


def handle_fenced(request: Request[Any, Any, Any], error: FencedError) -> Response[ProblemDetails]:
    """Return the response of a server whose workspace is taken over by another one.

    A request that had started may have taken effect, so the client must not simply repeat it.
    """
    return handle_error(request, outcome_unknown() if error.started else taking_over())


def taking_over() -> TakingOverError:
    return TakingOverError(
        "Another server is taking over the workspace. The request was not processed.", "Repeat the request."
    )


def outcome_unknown() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "Another server has taken over the workspace during the request, which may have been processed.",
        "Check before you repeat the request.",
    )


async def send_problem(send: Send, error: SealyardError, *extra_headers: tuple[bytes, bytes]) -> None:
    """Send the error response of an ASGI application that is not part of the routes."""
    problem = to_problem(error)
    body = msgspec.json.encode(problem)
    headers = {"Content-Type": PROBLEM_JSON, "Content-Length": str(len(body)), **headers_of(error)}
    raw_headers = [*((name.lower().encode(), value.encode()) for name, value in headers.items()), *extra_headers]
    await send({"type": "http.response.start", "status": problem.status, "headers": raw_headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def handle_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[ProblemDetails]:
    """Return the error response for an exception raised by the framework."""
    sealyard_error = _to_sealyard_error(error)
    if sealyard_error is None:
        return handle_unexpected(request, error)
    response = handle_error(request, sealyard_error)
    response.headers.update({name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
    return response


def handle_unexpected(request: Request[Any, Any, Any], error: Exception) -> Response[ProblemDetails]:
    """Log an unexpected exception, and return an error response without its details."""
    log.error("internal error in a request", exc_info=error)
    return handle_error(request, SealyardError("Internal error.", "Report it to the server's administrator."))


def _to_sealyard_error(error: HTTPException) -> SealyardError | None:
    match error.status_code:
        case 404:
            return NotFoundError("Path not found.", "See /docs for the API reference.")
        case 405:
            return MethodError("Method not allowed.", "See /docs for the API reference.")
        case 413:
            return TooLargeError("Request body too large.", "Send files as uploads.")
        case 415:
            return MediaTypeError("Unsupported media type.", "See /docs for the API reference.")
        case 401:
            return AuthenticationError("Authentication required.", "Send an access token as a bearer token.")
        case 503:
            return ServerUnreachableError("The server is stopping.", "Try again later.")
        case status if 400 <= status < 500:  # noqa: PLR2004 - client errors
            return UsageError(_validation_message(error), "See /docs for the API reference.")
    return None


def _validation_message(error: HTTPException) -> str:
    """Describe which members or parameters are invalid and why. Quotes no values except unknown enum values."""
    extra = error.extra if isinstance(error.extra, list) else []
    reasons = [f"{item.get('key', 'body')}: {item.get('message', '')}" for item in extra if isinstance(item, dict)]
    return f"Invalid request: {escape_text('; '.join(reasons), MAX_DETAIL_LENGTH)}." if reasons else "Invalid request."
