"""When a message that did not arrive is sent again, and when it is given up."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING

from sealyard.concurrency.backoff import RetryDelays
from sealyard.model.base import FrozenStruct
from sealyard.model.safe_text import escape_text

if TYPE_CHECKING:
    from sealyard.client.http.pinned import PinnedResponse

DELAYS = RetryDelays((5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0), jitter=(0.8, 1.2))
"""Delays before the second try, the third, and so on."""

MAX_TRIES = len(DELAYS.seconds) + 1
FEW_TRIES = 3
ONE_TRY = 1
"""Tries in all: of what may well pass; of what a person must set right; of what said that it is gone."""

MAX_WAIT_SECONDS = 24 * 3600.0
MAX_ERROR_LENGTH = 200

TRANSIENT_STATUSES = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class DeliveryFailure(FrozenStruct, frozen=True, kw_only=True):
    """Why a message did not arrive, how many tries it is worth in all, and the seconds asked to wait."""

    error: str
    tries: int
    wait: float = 0.0


def classify_response(answer: PinnedResponse, now: datetime) -> DeliveryFailure | None:
    """None where the message was taken."""
    status = answer.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    error = f"It answered {status}{_describe(answer)}."
    if status == HTTPStatus.GONE:
        return DeliveryFailure(error=error, tries=ONE_TRY)
    if status in TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return DeliveryFailure(error=error, tries=MAX_TRIES, wait=_asked_wait(answer.retry_after, now))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return DeliveryFailure(error=f"It answered {status}; redirects are not followed.", tries=FEW_TRIES)
    return DeliveryFailure(error=error, tries=FEW_TRIES)


def next_delay(failure: DeliveryFailure, tried: int) -> float | None:
    """After ``tried`` tries; None: it is given up."""
    if tried >= failure.tries:
        return None
    return max(DELAYS.after(tried), failure.wait)


def _describe(answer: PinnedResponse) -> str:
    word = escape_text(answer.body.decode(errors="replace").strip(), MAX_ERROR_LENGTH)
    return f": {word}" if word else ""


def _asked_wait(text: str, now: datetime) -> float:
    """Seconds or a date (RFC 9110 §10.2.3); what is neither asks for nothing."""
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_WAIT_SECONDS)
    try:
        until = parsedate_to_datetime(text)
        return min(max(0.0, (until - now).total_seconds()), MAX_WAIT_SECONDS)
    except (ValueError, TypeError):
        return 0.0
