"""Conversion of error responses with a problem document (RFC 9457) to a :class:`SealyardError`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from sealyard.client.http.transport import Response
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.errors import (
    DeliveryCertainty,
    ErrorInfo,
    SealyardError,
    ServerUnreachableError,
    TooManyRequestsError,
    error_from_info,
)
from sealyard.model.safe_text import escape_text

RETRYABLE_STATUSES = frozenset({429, 503})
"""Statuses for which the Retry-After header is honored (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


class _Problem(FrozenStruct, frozen=True, kw_only=True):
    code: str
    detail: str
    hint: str = ""
    hint_code: str = ""
    hint_args: Mapping[str, str] = {}


class RetryLaterError(Exception):
    """The server rejected a request with ``error`` and asked the client to retry it after ``seconds``."""

    def __init__(self, error: SealyardError, seconds: float) -> None:
        super().__init__()
        self.error = error
        self.seconds = seconds


def raise_for_status(response: Response, server: str, now: datetime) -> None:
    """Raise the error that an unsuccessful response reports, or :class:`RetryLaterError` if it has a Retry-After.

    Returns without an error if the status is 2xx. ``server`` is the server's name for messages.
    """
    if 200 <= response.status < 300:  # noqa: PLR2004
        return
    seconds = _parse_retry_after(response, now)
    error = _to_error(response, server, seconds)
    if seconds is not None:
        raise RetryLaterError(error, seconds)
    raise error


def unexpected_server_error(server: str) -> ServerUnreachableError:
    """Return the error for a response that does not come from a compatible Sealyard server."""
    return ServerUnreachableError(
        f"{server} is not a compatible Sealyard server.",
        "Check the address and the version; the response may come from a proxy.",
        reach=DeliveryCertainty.UNTRUSTED,
    )


def _to_error(response: Response, server: str, seconds: float | None) -> SealyardError:
    try:
        problem = msgspec.json.decode(response.body, type=_Problem)
    except JSON_ERRORS:
        return _non_problem_error(response, server)
    error = error_from_info(_escaped_info(problem))
    if isinstance(error, TooManyRequestsError) and seconds is not None:
        error.retry_after = seconds
    return error


def _escaped_info(problem: _Problem) -> ErrorInfo:
    return ErrorInfo(
        code=problem.code,
        message=escape_text(problem.detail),
        hint=escape_text(problem.hint),
        hint_code=problem.hint_code,
        hint_args={name: escape_text(value) for name, value in problem.hint_args.items()},
    )


def _non_problem_error(response: Response, server: str) -> SealyardError:
    """Return the error for a response without a problem document.

    A status 5xx may come from a proxy in front of a server that is just starting, so that a retry may succeed.
    """
    if response.status >= 500:  # noqa: PLR2004
        return ServerUnreachableError(f"{server} is currently unavailable (status {response.status}).", "Try again.")
    return unexpected_server_error(server)


def _parse_retry_after(response: Response, now: datetime) -> float | None:
    """Return the seconds of the response's Retry-After header (RFC 9110, section 10.2.3), at least 0.

    Returns None if the header is missing or invalid, or if the status is not in :data:`RETRYABLE_STATUSES`.
    """
    value = response.headers.get("retry-after")
    if value is None or response.status not in RETRYABLE_STATUSES:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        retry_at = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (retry_at.replace(tzinfo=retry_at.tzinfo or UTC) - now).total_seconds())
