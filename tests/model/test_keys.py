"""Tests of key URIs, key versions and expiring certificates."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import UsageError
from sealyard.model.keys import KeyInfo, KeyVersion, expiring_versions, parse_key_uri

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


def test_certificates_expiring_within_30_days_are_listed() -> None:
    info = make_key(timedelta(days=30), timedelta(days=30, seconds=1), timedelta(days=-1), None)
    assert [each.version for each in expiring_versions(info, NOW)] == [1, 3]


def test_current_version_is_the_last() -> None:
    info = make_key(None, None)
    assert info.current.version == 2
    assert info.version(1) == info.versions[0]
    assert info.version(3) is None


@pytest.mark.parametrize("text", ["local:gateway-sign", "pkcs11:a", "local:0.x_y-z"])
def test_key_uri_round_trips(text: str) -> None:
    assert str(parse_key_uri(text)) == text


@pytest.mark.parametrize(
    "text", ["", "local", "local:", ":a", "local:A", "local:.a", "local:a/b", "LOCAL:a", "local:a\n"]
)
def test_invalid_key_uri_is_rejected(text: str) -> None:
    with pytest.raises(UsageError):
        parse_key_uri(text)


@given(st.text())
def test_parse_key_uri_accepts_or_rejects_text(text: str) -> None:
    try:
        uri = parse_key_uri(text)
    except UsageError:
        return
    assert str(uri) == text
