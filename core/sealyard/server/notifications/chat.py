"""Send a message to a chat service, with Apprise (the optional dependency ``notifications``)."""

from __future__ import annotations

import logging
import re
from urllib.parse import unquote, urlsplit

from apprise import Apprise, AppriseAsset, NotifyFormat, NotifyType

from sealyard.model.notification_address import SERVICES
from sealyard.model.safe_text import escape_text
from sealyard.server.notifications.messages import SendOutcome, SendRequest

MAX_ERROR_LENGTH = 200
MIN_SECRET_LENGTH = 4
"""Minimum length of the parts of the address that are removed from error messages."""

_STATUS = re.compile(r"\berror=([1-5][0-9]{2})\b")
_TRANSIENT_STATUSES = range(500, 600)
_RETRIED_STATUSES = frozenset({408, 409, 425, 429})


class _ErrorCollector(logging.Handler):
    """Keeps the last warning of Apprise, which is where it explains a failure."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        self.text = record.getMessage()


def send_chat(request: SendRequest) -> SendOutcome:
    """Send the message to the chat service of the request."""
    collector = _ErrorCollector()
    logger = logging.getLogger("apprise")
    logger.addHandler(collector)
    logger.propagate = False
    asset = AppriseAsset(app_id="Sealyard", app_desc="Sealyard", app_url="", async_mode=False, http_redirects=False)
    apprise = Apprise(asset=asset)
    if not apprise.add(request.address) or not _are_verified(apprise):
        return SendOutcome(error=f"The address is not valid for {SERVICES[urlsplit(request.address).scheme.lower()]}.")
    is_sent = apprise.notify(
        body=request.body,
        title=f"Sealyard: {request.title}",
        notify_type=NotifyType.INFO,
        body_format=NotifyFormat.TEXT,
    )
    return SendOutcome() if is_sent else _describe_failure(collector.text, request.address)


def _are_verified(apprise: Apprise) -> bool:
    """Return whether certificates are verified and redirects are not followed, whatever the address says."""
    return all(service.verify_certificate and not service.redirects for service in apprise)


def _describe_failure(warning: str, address: str) -> SendOutcome:
    match = _STATUS.search(warning)
    status = int(match[1]) if match is not None else 0
    text = escape_text(remove_secrets(warning, address), MAX_ERROR_LENGTH) or "The chat service cannot be reached."
    is_transient = not status or status in _TRANSIENT_STATUSES or status in _RETRIED_STATUSES
    return SendOutcome(error=text, is_transient=is_transient)


def remove_secrets(text: str, address: str) -> str:
    """Return ``text`` without the parts of the address, which may be tokens."""
    parts = re.split(r"[/:@?&=#,]+", address.partition("://")[2])
    for part in sorted({*parts, *map(unquote, parts)}, key=len, reverse=True):
        if len(part) >= MIN_SECRET_LENGTH:
            text = text.replace(part, "…")
    return text
