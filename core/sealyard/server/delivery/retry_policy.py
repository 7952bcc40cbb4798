"""Retry policy of deliveries: which failures are retried, how often, and after what delay."""

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
"""Delays in seconds before the second attempt, the third, and so on."""

MAX_TRIES = len(DELAYS.seconds) + 1
"""Maximum number of attempts if the failure is likely to be temporary."""

FEW_TRIES = 3
"""Maximum number of attempts if the failure is likely to recur until its cause is fixed."""

ONE_TRY = 1
"""Maximum number of attempts if the receiver answers that it no longer exists (410)."""

MAX_RETRY_AFTER = 24 * 3600.0
"""Maximum delay in seconds that a receiver can request."""

MAX_ERROR_LENGTH = 200
"""Maximum length of a response body quoted in an error, in characters."""

TRANSIENT_STATUSES = frozenset(
    {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}
)


class DeliveryFailure(FrozenStruct, frozen=True, kw_only=True):
    """A failed delivery attempt.

    ``tries``: maximum number of attempts after this kind of failure. ``wait``: delay in seconds requested by the
    receiver.
    """

    error: str
    tries: int
    wait: float = 0.0


def classify_response(response: PinnedResponse, now: datetime) -> DeliveryFailure | None:
    """Return the failure that a response indicates, or None if the receiver accepted the message."""
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return None
    error = f"The receiver answered {status}{_quote_body(response)}."
    if status == HTTPStatus.GONE:
        return DeliveryFailure(error=error, tries=ONE_TRY)
    if status in TRANSIENT_STATUSES or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return DeliveryFailure(error=error, tries=MAX_TRIES, wait=_parse_retry_after(response.retry_after, now))
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return DeliveryFailure(error=f"The receiver answered {status}; redirects are not followed.", tries=FEW_TRIES)
    return DeliveryFailure(error=error, tries=FEW_TRIES)


def next_delay(failure: DeliveryFailure, attempts: int) -> float | None:
    """Return the delay in seconds after ``attempts`` failed attempts, or None if the message is undeliverable."""
    if attempts >= failure.tries:
        return None
    return max(DELAYS.delay_after(attempts), failure.wait)


def _quote_body(response: PinnedResponse) -> str:
    text = escape_text(response.body.decode(errors="replace").strip(), MAX_ERROR_LENGTH)
    return f": {text}" if text else ""


def _parse_retry_after(text: str, now: datetime) -> float:
    """Return the delay in seconds from a Retry-After header (RFC 9110, section 10.2.3), or 0 if it is invalid.

    ``text``: a number of seconds or a date. The delay is at most MAX_RETRY_AFTER.
    """
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_RETRY_AFTER)
    try:
        retry_at = parsedate_to_datetime(text)
        return min(max(0.0, (retry_at - now).total_seconds()), MAX_RETRY_AFTER)
    except (ValueError, TypeError):
        return 0.0
