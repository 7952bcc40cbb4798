"""Notices of certificates that expire soon, or have expired."""

from __future__ import annotations

from datetime import datetime, timedelta

from sealyard.model.base import FrozenStruct

NOTICE_DAYS = (30, 7, 0)
"""How many days before its expiry people are notified of a certificate, once each."""


class CertificateNotice(FrozenStruct, frozen=True, kw_only=True):
    """A certificate in the chain of an active signing key that expires within ``days``; 0 if it has expired.

    ``uri`` and ``version``: the key and its version. ``fingerprint``: SHA-256 (hex) of the certificate in PEM.
    ``subject``: distinguished name (RFC 4514).
    """

    uri: str
    version: int
    fingerprint: str
    subject: str
    expires_at: datetime
    days: int

    @property
    def id(self) -> str:
        """The id under which the last notice of the certificate is stored."""
        return f"{self.uri} {self.fingerprint}"

    @property
    def text(self) -> str:
        """The notice as a sentence without its full stop."""
        verb = "expired" if self.days == 0 else "expires"
        return f"The certificate {self.subject} of {self.uri} {verb} on {self.expires_at:%Y-%m-%d} UTC"


def find_due_days(expires_at: datetime, now: datetime) -> int | None:
    """Return the smallest of :data:`NOTICE_DAYS` within which a certificate expires; None if it is valid for longer."""
    return min((days for days in NOTICE_DAYS if expires_at <= now + timedelta(days=days)), default=None)
