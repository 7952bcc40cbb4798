"""Notify people before the certificates of active signing keys expire: once for each certificate and threshold.

Active keys are the signing keys of the newest version of each device configuration. The last notice of each certificate
is stored with the event that announces it, so that a restart neither repeats nor loses notices.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator
from datetime import datetime

from sealyard.engine.devices.certificates import find_chain, find_version
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import CERTIFICATE_NOTICES, DEVICES
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.certificate_notices import CertificateNotice, find_due_days
from sealyard.model.keys import KeyVersion

log = logging.getLogger(__name__)


class CertificateMonitor:
    """Compares the expiry of certificates with the notices that were sent."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    async def check(self) -> None:
        """Commit the notices that are due, and forget those of certificates that are no longer in use.

        A notice is also forgotten if the certificate is valid for longer than its threshold, which happens after the
        clock was ahead. Raises :class:`SealyardError` if the notices cannot be committed.
        """
        due_notices = {notice.id: notice for notice in self._list_due(self._repository.clock.now())}
        stored_notices = {notice.id: notice for notice in self._repository.list_all(CERTIFICATE_NOTICES)}
        unit_of_work = self._repository.begin()
        for notice_id in stored_notices.keys() - due_notices.keys():
            unit_of_work.delete(CERTIFICATE_NOTICES, notice_id)
        for notice in due_notices.values():
            stored_notice = stored_notices.get(notice.id)
            if stored_notice == notice:
                continue
            unit_of_work.put(CERTIFICATE_NOTICES, notice.id, notice)
            if stored_notice is None or notice.days < stored_notice.days:
                resource, text = f"KEY:{notice.uri}", f"{notice.text}."
                unit_of_work.audit(SYSTEM_SUBJECT, AuditAction.STATUS_CHANGED, resource, text)
                unit_of_work.notify(resource, certificate=notice)
                log.warning("%s", text)
        if unit_of_work.puts or unit_of_work.removes:
            await unit_of_work.commit()

    def _list_due(self, now: datetime) -> Iterator[CertificateNotice]:
        devices = self._repository.list_all(DEVICES)
        for key in {(key.uri, key.version): key for device in devices for key in device.signing_keys}.values():
            version = find_version(self._repository, key)
            if version is None or not _is_any_due(version, now):
                continue
            chain = find_chain(self._repository, key)
            if chain is None:
                continue
            for pem, certificate in zip(version.certificate_chain, chain.certificates, strict=True):
                days = find_due_days(certificate.expires_at, now)
                if days is not None:
                    yield CertificateNotice(
                        uri=key.uri,
                        version=key.version,
                        fingerprint=hashlib.sha256(pem.encode()).hexdigest(),
                        subject=certificate.subject,
                        expires_at=certificate.expires_at,
                        days=days,
                    )


def _is_any_due(version: KeyVersion, now: datetime) -> bool:
    """Return whether a notice of the version's chain is due. Only then are the certificates parsed."""
    expiries = [version.certificate_expires_at, *(issuer.expires_at for issuer in version.issuer_certificates)]
    return any(expiry is not None and find_due_days(expiry, now) is not None for expiry in expiries)
