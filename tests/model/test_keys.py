"""Tests of key URIs, key versions and expiring certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.keys import CertificateStatus, KeyInfo, KeyVersion, certificate_status, certificate_warning

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def make_key(*validities: timedelta | None) -> KeyInfo:
    versions = tuple(
        KeyVersion(
            version=number,
            created_at=NOW,
            origin="generated",
            fingerprint="",
            certificate_expires_at=None if validity is None else NOW + validity,
        )
        for number, validity in enumerate(validities, start=1)
    )
    return KeyInfo(uri="local:a", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, versions=versions)


def test_certificates_expiring_within_30_days_have_a_status() -> None:
    second = timedelta(seconds=1)
    info = make_key(timedelta(days=30), timedelta(days=30) + second, timedelta(days=-1), None, -second, timedelta())
    statuses = [certificate_status(each, NOW) for each in info.versions]
    expiring, valid, expired = CertificateStatus.EXPIRING, CertificateStatus.VALID, CertificateStatus.EXPIRED
    assert statuses == [expiring, valid, expired, valid, expired, expiring]


@pytest.mark.parametrize(("start", "status"), [(1, CertificateStatus.NOT_YET_VALID), (0, CertificateStatus.EXPIRING)])
def test_certificate_is_not_valid_before_its_start(start: int, status: CertificateStatus) -> None:
    (version,) = make_key(timedelta(days=2)).versions
    version = msgspec.structs.replace(version, certificate_valid_from=NOW + timedelta(seconds=start))
    assert certificate_status(version, NOW) is status


def test_warning_advises_by_origin_and_only_on_current_version() -> None:
    info = make_key(timedelta(days=-1), timedelta(days=7))
    first, second = info.versions
    assert certificate_warning(info, first, NOW) == "The certificate of local:a version 1 expired on 2026-11-22 UTC."
    expiry = "The certificate of local:a version 2 expires on 2026-11-30 UTC."
    assert certificate_warning(info, second, NOW) == f"{expiry} Rotate the key."
    imported = msgspec.structs.replace(second, origin="imported")
    info = msgspec.structs.replace(info, versions=(first, imported))
    assert certificate_warning(info, imported, NOW) == f"{expiry} Import a renewed certificate."


def test_warning_about_certificate_that_is_not_yet_valid() -> None:
    info = make_key(timedelta(days=700))
    version = msgspec.structs.replace(info.current, certificate_valid_from=NOW + timedelta(hours=1))
    warning = "The certificate of local:a version 1 is not valid before 2026-11-23 01:00 UTC."
    assert certificate_warning(info, version, NOW) == warning
    assert certificate_warning(info, info.current, NOW) == ""


def test_version_without_start_of_validity_keeps_its_json() -> None:
    """The JSON of a version is authenticated: versions of earlier releases must keep theirs."""
    encoded = msgspec.json.encode(make_key(timedelta(days=1)).current)
    assert b"alidFrom" not in encoded
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=KeyVersion)) == encoded


def test_current_version_is_the_last() -> None:
    info = make_key(None, None)
    assert info.current.version == 2
    assert info.version(1) == info.versions[0]
    assert info.version(3) is None
