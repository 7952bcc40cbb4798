"""What a server's refusal means: its problem document (RFC 9457) as one of the family of errors."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from sealyard.client.http.transport import Response
from sealyard.model.base import FrozenStruct
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
"""Statuses that a Retry-After goes with (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


class _Problem(FrozenStruct, frozen=True, kw_only=True):
    code: str
    detail: str
    advice: str = ""


class RetryLaterError(Exception):
    """The server did not do it and says when to ask again."""

    def __init__(self, error: SealyardError, seconds: float) -> None:
        super().__init__()
        self.error = error
        self.seconds = seconds


def raise_for_status(answer: Response, server: str, now: datetime) -> None:
    """Raises :class:`RetryLaterError`, or what the answer says went wrong. ``server`` is what it is called."""
    if 200 <= answer.status < 300:  # noqa: PLR2004
        return
    seconds = _retry_after(answer, now)
    error = _error(answer, server, seconds)
    if seconds is not None:
        raise RetryLaterError(error, seconds)
    raise error


def unexpected_server(server: str) -> ServerUnreachableError:
    """Who answers there is something else."""
    return ServerUnreachableError(
        f"What answers at {server} is no server of Sealyard, or of another version.",
        "Check the address; a proxy in between may have answered.",
        reach=DeliveryCertainty.UNTRUSTED,
    )


def _error(answer: Response, server: str, seconds: float | None) -> SealyardError:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _non_problem_error(answer, server)
    value = ErrorInfo(code=problem.code, message=escape_text(problem.detail), hint=escape_text(problem.advice))
    error = error_from_info(value)
    if isinstance(error, TooManyRequestsError) and seconds is not None:
        error.retry_after = seconds
    return error


def _non_problem_error(answer: Response, server: str) -> SealyardError:
    """A server that is just starting behind a proxy will be there soon."""
    if answer.status >= 500:  # noqa: PLR2004
        return ServerUnreachableError(f"{server} is not there at the moment (status {answer.status}).", "Try again.")
    return unexpected_server(server)


def _retry_after(answer: Response, now: datetime) -> float | None:
    """Seconds, at least none; RFC 9110, section 10.2.3."""
    said = answer.headers.get("retry-after")
    if said is None or answer.status not in RETRYABLE_STATUSES:
        return None
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
