"""Errors as RFC 9457 problem documents: one stable type for each code of the family."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request, Response
from litestar.exceptions import HTTPException
from msgspec import UNSET, Meta, UnsetType

from sealyard.model.base import FrozenStruct
from sealyard.model.errors import (
    AuthenticationError,
    NotFoundError,
    ResultExpiredError,
    ResultGoneError,
    SealyardError,
    ServerUnreachableError,
    TooLargeError,
    TooManyRequestsError,
    UsageError,
)
from sealyard.model.safe_text import escape_text

PROBLEM_JSON = "application/problem+json"
TYPE = "urn:sealyard:problem:"

STATUS: dict[str, int] = {
    "input": 400,
    "usage": 400,
    "unauthenticated": 401,
    "not-allowed": 403,
    "one-time-password": 403,
    "not-found": 404,
    "method": 405,
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
    "key-refused": 422,
    "too-many-requests": 429,
    "head-too-large": 431,
    "connection": 503,
    "key-store-locked": 503,
    "storage": 503,
    "worker": 503,
    "workspace-held": 503,
}
"""Of each code; one that is not here is a fault of ours: 500."""

MAX_DETAIL_LENGTH = 1000

log = logging.getLogger(__name__)


class ProblemDetails(FrozenStruct, frozen=True, kw_only=True):
    """RFC 9457, with the family's ``code`` and ``advice``. ``renewable``: whether an expired link can be renewed.

    ``retry_after``: seconds until the same may be asked again.
    """

    type: Annotated[str, Meta(description="urn:sealyard:problem:<code>; stable")]
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    renewable: bool | UnsetType = UNSET
    retry_after: float | UnsetType = UNSET


class MethodError(UsageError):
    """The path is there, and takes other methods."""

    code = "method"


class MediaTypeError(UsageError):
    """A body of a kind that is not taken there."""

    code = "media-type"


class HeadTooLargeError(UsageError):
    """More of header fields than is read of anybody."""

    code = "head-too-large"


def to_problem(error: SealyardError) -> ProblemDetails:
    status = STATUS.get(error.code, 500)
    return ProblemDetails(
        type=f"{TYPE}{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
        renewable=isinstance(error, ResultExpiredError)
        if isinstance(error, ResultExpiredError | ResultGoneError)
        else UNSET,
        retry_after=error.retry_after if isinstance(error, TooManyRequestsError) else UNSET,
    )


def headers_of(error: SealyardError) -> dict[str, str]:
    if isinstance(error, TooManyRequestsError):
        return {"Retry-After": str(max(1, round(error.retry_after)))}
    if isinstance(error, AuthenticationError):
        return {"WWW-Authenticate": 'Bearer realm="sealyard"'}
    return {}


def handle_error(_: Request[Any, Any, Any], error: SealyardError) -> Response[ProblemDetails]:
    problem = to_problem(error)
    return Response(problem, status_code=problem.status, media_type=PROBLEM_JSON, headers=headers_of(error))


def handle_http_exception(request: Request[Any, Any, Any], error: HTTPException) -> Response[ProblemDetails]:
    """What the framework refuses by itself, in the family's words."""
    refused = _refused(error)
    if refused is None:
        return handle_unexpected(request, error)
    answer = handle_error(request, refused)
    answer.headers.update({name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"})
    return answer


def handle_unexpected(_: Request[Any, Any, Any], error: Exception) -> Response[ProblemDetails]:
    """A fault of ours: what it was stands in the log only."""
    log.error("a call ended by a fault", exc_info=error)
    fault = SealyardError("Something went wrong that should not have.", "Tell who runs the server; it is in its log.")
    return handle_error(_, fault)


def _refused(error: HTTPException) -> SealyardError | None:
    match error.status_code:
        case 404:
            return NotFoundError("There is nothing here.", "See /docs for what there is.")
        case 405:
            return MethodError("This path does not take that method.", "See /docs.")
        case 413:
            return TooLargeError("The body is larger than is taken here.", "Hand files in as uploads.")
        case 415:
            return MediaTypeError("A body of this media type is not taken here.", "See /docs.")
        case 401:
            return AuthenticationError("A token is needed.", "Send it as a bearer token.")
        case 503:
            return ServerUnreachableError("The server is stopping.", "Try again in a moment.")
        case status if 400 <= status < 500:  # noqa: PLR2004 - the client's fault
            return UsageError(_validation_message(error), "See /docs for what is expected.")
    return None


def _validation_message(error: HTTPException) -> str:
    """What is wrong with which member or parameter; of values no more than what was no word of ours."""
    extra = error.extra if isinstance(error.extra, list) else []
    wrong = [f"{each.get('key', 'body')}: {each.get('message', '')}" for each in extra if isinstance(each, dict)]
    return (
        f"The request makes no sense: {escape_text('; '.join(wrong), MAX_DETAIL_LENGTH)}."
        if wrong
        else "The request makes no sense as written."
    )
