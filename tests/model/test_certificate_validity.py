"""Tests of the validity of the certificates of a key version, and of the warnings about them."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from sealyard.model.certificate_validity import (
    CertificateStatus,
    certificate_status,
    certificate_warnings,
    find_certificate_error,
)
from sealyard.model.keys import IssuerCertificate, KeyInfo
from tests.model.test_keys import NOW, make_key


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
    assert certificate_warnings(info, first, NOW) == (
        "The certificate of local:a version 1 expired on 2026-11-22 UTC.",
    )
    expiry = "The certificate of local:a version 2 expires on 2026-11-30 UTC."
    assert certificate_warnings(info, second, NOW) == (f"{expiry} Rotate the key.",)
    imported = msgspec.structs.replace(second, origin="imported")
    info = msgspec.structs.replace(info, versions=(first, imported))
    assert certificate_warnings(info, imported, NOW) == (f"{expiry} Import a renewed certificate.",)


def test_warning_about_certificate_that_is_not_yet_valid() -> None:
    info = make_key(timedelta(days=700))
    version = msgspec.structs.replace(info.current, certificate_valid_from=NOW + timedelta(hours=1))
    warning = "The certificate of local:a version 1 is not valid before 2026-11-23 01:00 UTC."
    assert certificate_warnings(info, version, NOW) == (warning,)
    assert certificate_warnings(info, info.current, NOW) == ()


def add_issuers(info: KeyInfo, *validities: timedelta) -> KeyInfo:
    issuers = tuple(
        IssuerCertificate(
            certificate="",
            subject=f"CN={number}",
            issuer="",
            valid_from=NOW - timedelta(days=1),
            expires_at=NOW + validity,
        )
        for number, validity in enumerate(validities, start=1)
    )
    version = msgspec.structs.replace(info.current, origin="renewed", issuers=issuers)
    return msgspec.structs.replace(info, versions=(*info.versions[:-1], version))


def test_each_chain_certificate_has_warning() -> None:
    info = add_issuers(make_key(timedelta(days=7)), timedelta(days=-1), timedelta(days=100), timedelta(days=20))
    assert certificate_warnings(info, info.current, NOW) == (
        "The certificate of local:a version 1 expires on 2026-11-30 UTC. Import a renewed certificate.",
        "The issuer certificate CN=1 of local:a version 1 expired on 2026-11-22 UTC. Import a renewed chain.",
        "The issuer certificate CN=3 of local:a version 1 expires on 2026-12-13 UTC. Import a renewed chain.",
    )
    error = "The issuer certificate CN=1 of local:a version 1 expired on 2026-11-22 UTC. Import a renewed chain."
    assert find_certificate_error(info, info.current, NOW) == error


def test_valid_chain_has_no_error() -> None:
    info = add_issuers(make_key(timedelta(days=7)), timedelta(days=1))
    assert find_certificate_error(info, info.current, NOW) == ""
    assert find_certificate_error(info, info.current, NOW + timedelta(days=2)).startswith("The issuer certificate CN=1")


def test_warning_names_certificates_expiring_before_package() -> None:
    info = add_issuers(make_key(timedelta(days=300)), timedelta(days=60))
    assert certificate_warnings(info, info.current, NOW) == ()
    assert certificate_warnings(info, info.current, NOW, NOW + timedelta(days=59)) == ()
    reason = "before the retention period of the package ends"
    issuer_warning = f"of local:a version 1 expires on 2027-01-22 UTC, {reason}. Import a renewed chain."
    assert certificate_warnings(info, info.current, NOW, NOW + timedelta(days=90)) == (
        f"The issuer certificate CN=1 {issuer_warning}",
    )
    assert len(certificate_warnings(info, info.current, NOW, NOW + timedelta(days=365))) == 2
