"""What a server's refusal means: its problem document (RFC 9457) as one of the family of errors."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec

from sealyard.client.connection import Answer
from sealyard.model.errors import (
    ConnectionLostError,
    ErrorValue,
    Reach,
    SealyardError,
    TooManyRequestsError,
    error_from,
)
from sealyard.model.safe_text import safe_text
from sealyard.model.value import Value

LATER = frozenset({429, 503})
"""Statuses that a Retry-After goes with (RFC 6585, section 4; RFC 9110, section 15.6.4)."""


class _Problem(Value, frozen=True, kw_only=True):
    code: str
    detail: str
    advice: str = ""


class LaterError(Exception):
    """The server did not do it and says when to ask again."""

    def __init__(self, error: SealyardError, seconds: float) -> None:
        super().__init__()
        self.error = error
        self.seconds = seconds


def require_success(answer: Answer, server: str, now: datetime) -> None:
    """Raises :class:`LaterError`, or what the answer says went wrong. ``server`` is what it is called."""
    if 200 <= answer.status < 300:  # noqa: PLR2004
        return
    seconds = _retry_after(answer, now)
    error = _error(answer, server, seconds)
    if seconds is not None:
        raise LaterError(error, seconds)
    raise error


def not_sealyard(server: str) -> ConnectionLostError:
    """Who answers there is something else."""
    return ConnectionLostError(
        f"What answers at {server} is no server of Sealyard, or of another version.",
        "Check the address; a proxy in between may have answered.",
        reach=Reach.UNTRUSTED,
    )


def _error(answer: Answer, server: str, seconds: float | None) -> SealyardError:
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _foreign(answer, server)
    value = ErrorValue(code=problem.code, message=safe_text(problem.detail), advice=safe_text(problem.advice))
    error = error_from(value)
    if isinstance(error, TooManyRequestsError) and seconds is not None:
        error.retry_after = seconds
    return error


def _foreign(answer: Answer, server: str) -> SealyardError:
    """A server that is just starting behind a proxy will be there soon."""
    if answer.status >= 500:  # noqa: PLR2004
        return ConnectionLostError(f"{server} is not there at the moment (status {answer.status}).", "Try again.")
    return not_sealyard(server)


def _retry_after(answer: Answer, now: datetime) -> float | None:
    """Seconds, at least none; RFC 9110, section 10.2.3."""
    said = answer.headers.get("retry-after")
    if said is None or answer.status not in LATER:
        return None
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        moment = parsedate_to_datetime(said)
    except ValueError:
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds())
