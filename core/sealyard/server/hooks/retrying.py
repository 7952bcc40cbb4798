"""When a message that did not arrive is sent again, and when it is given up."""

from __future__ import annotations

import random
from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from sealyard.model.safe_text import safe_text
from sealyard.model.value import Value

if TYPE_CHECKING:
    from sealyard.client.connection import PinnedAnswer

DELAYS = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0)
"""Seconds before the second try, the third, and so on."""

SPREAD = 0.2
"""Of a delay, more or less: many that failed together do not come back together."""

ALL = len(DELAYS) + 1
FEW = 3
ONE = 1
"""Tries in all: of what may well pass; of what a person must set right; of what said that it is gone."""

LONGEST_WAIT = 24 * 3600.0
LONGEST_WORD = 200

PASSING = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class Failure(Value, frozen=True, kw_only=True):
    """Why a message did not arrive, how many tries it is worth in all, and the seconds asked to wait."""

    error: str
    tries: int
    wait: float = 0.0


def failure_of(answer: PinnedAnswer, now: datetime) -> Failure | None:
    """None where the message was taken."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    error = f"It answered {status}{_said(answer)}."
    if status == HTTPStatus.GONE:
        return Failure(error=error, tries=ONE)
    if status in PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return Failure(error=error, tries=ALL, wait=_asked_wait(answer.retry_after, now))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Failure(error=f"It answered {status}; redirects are not followed.", tries=FEW)
    return Failure(error=error, tries=FEW)


def seconds_to_next(failure: Failure, tried: int) -> float | None:
    """After ``tried`` tries; None: it is given up."""
    if tried >= failure.tries:
        return None
    spread = random.uniform(1 - SPREAD, 1 + SPREAD)  # noqa: S311 - spreads load, hides nothing
    return max(DELAYS[tried - 1] * spread, failure.wait)


def _said(answer: PinnedAnswer) -> str:
    word = safe_text(answer.body.decode(errors="replace").strip(), LONGEST_WORD)
    return f": {word}" if word else ""


def _asked_wait(text: str, now: datetime) -> float:
    """Seconds or a date (RFC 9110 §10.2.3); what is neither asks for nothing."""
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
        return min(max(0.0, (until - now).total_seconds()), LONGEST_WAIT)
    except (ValueError, TypeError):
        return 0.0
