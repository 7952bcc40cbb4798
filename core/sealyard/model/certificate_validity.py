"""Whether the certificates of a key version are valid, and warnings about those that are not, or will not be soon."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from msgspec import UNSET

from sealyard.model.keys import KeyInfo, KeyVersion
from sealyard.model.safe_text import escape_text

CERTIFICATE_EXPIRY_WARNING = timedelta(days=30)
"""How long before the expiry of a certificate users are warned."""

_MAX_SUBJECT_LENGTH = 120


class CertificateStatus(StrEnum):
    """Whether a certificate is valid, and will be for the next 30 days."""

    VALID = "valid"
    NOT_YET_VALID = "not yet valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"


def certificate_status(version: KeyVersion, now: datetime) -> CertificateStatus:
    """Return the status of the version's certificate at ``now``; VALID if the version has no certificate.

    EXPIRING means that the certificate expires within :data:`CERTIFICATE_EXPIRY_WARNING`.
    """
    valid_from = None if version.certificate_valid_from is UNSET else version.certificate_valid_from
    return _validity_status(valid_from, version.certificate_expires_at, now, now + CERTIFICATE_EXPIRY_WARNING)


def find_certificate_error(info: KeyInfo, version: KeyVersion, now: datetime) -> str:
    """Return why devices may reject signatures of ``version`` at ``now``; an empty string if its chain is valid."""
    for certificate in _list_certificates(info, version):
        if certificate.status(now, now) in (CertificateStatus.EXPIRED, CertificateStatus.NOT_YET_VALID):
            return certificate.describe(now, now)
    return ""


def certificate_warnings(
    info: KeyInfo, version: KeyVersion, now: datetime, needed_until: datetime | None = None
) -> tuple[str, ...]:
    """Return a warning for each certificate of the version's chain that is not valid from ``now`` for 30 days.

    ``needed_until``: a later time until which the certificates must be valid, that of the package to be signed.

    Warnings about the current version end with advice. An imported or renewed certificate is from elsewhere: rotating
    the key would replace both by a self-signed certificate, which devices do not know.
    """
    deadline = now + CERTIFICATE_EXPIRY_WARNING
    if needed_until is not None:
        deadline = max(deadline, needed_until)
    certificates = _list_certificates(info, version)
    return tuple(filter(None, (certificate.describe(now, deadline) for certificate in certificates)))


class _Certificate(NamedTuple):
    """A certificate of the chain of a key version. ``advice``: what to do once it is not valid."""

    label: str
    valid_from: datetime | None
    expires_at: datetime | None
    advice: str

    def status(self, now: datetime, deadline: datetime) -> CertificateStatus:
        return _validity_status(self.valid_from, self.expires_at, now, deadline)

    def describe(self, now: datetime, deadline: datetime) -> str:
        """Return the warning about the certificate; an empty string if it is valid from ``now`` to ``deadline``."""
        match self.status(now, deadline):
            case CertificateStatus.VALID:
                return ""
            case CertificateStatus.NOT_YET_VALID:
                return f"{self.label} is not valid before {self.valid_from:%Y-%m-%d %H:%M} UTC."
            case CertificateStatus.EXPIRED:
                statement = f"{self.label} expired on {self.expires_at:%Y-%m-%d} UTC."
            case CertificateStatus.EXPIRING:
                statement = f"{self.label} expires on {self.expires_at:%Y-%m-%d} UTC{self._format_reason(now)}."
        return f"{statement} {self.advice}" if self.advice else statement

    def _format_reason(self, now: datetime) -> str:
        assert self.expires_at is not None
        is_soon = self.expires_at <= now + CERTIFICATE_EXPIRY_WARNING
        return "" if is_soon else ", before the retention period of the package ends"


def _list_certificates(info: KeyInfo, version: KeyVersion) -> tuple[_Certificate, ...]:
    """Return the certificates of the version's chain, its own first."""
    is_current = version == info.current
    label = f"The certificate of {info.uri} version {version.version}"
    advice = "Rotate the key." if version.is_generated else "Import a renewed certificate."
    valid_from = None if version.certificate_valid_from is UNSET else version.certificate_valid_from
    own = _Certificate(label, valid_from, version.certificate_expires_at, advice if is_current else "")
    return (
        own,
        *(
            _Certificate(
                f"The issuer certificate {escape_text(each.subject, _MAX_SUBJECT_LENGTH)} of {info.uri} version"
                f" {version.version}",
                each.valid_from,
                each.expires_at,
                "Import a renewed chain." if is_current else "",
            )
            for each in version.issuer_certificates
        ),
    )


def _validity_status(
    valid_from: datetime | None, expires_at: datetime | None, now: datetime, deadline: datetime
) -> CertificateStatus:
    """Return the status at ``now``; EXPIRING if the validity ends before ``deadline``."""
    if valid_from is not None and now < valid_from:
        return CertificateStatus.NOT_YET_VALID
    if expires_at is None or expires_at > deadline:
        return CertificateStatus.VALID
    return CertificateStatus.EXPIRED if now > expires_at else CertificateStatus.EXPIRING
