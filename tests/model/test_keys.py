"""Names of keys, versions, and certificates that end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import UsageError
from sealyard.model.keys import KeyInfo, KeyVersion, expiring_versions, parse_key_uri

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def key(*ends: timedelta | None) -> KeyInfo:
    versions = tuple(
        KeyVersion(
            version=number,
            created_at=NOW,
            origin="generated",
            fingerprint="",
            certificate_expires_at=None if end is None else NOW + end,
        )
        for number, end in enumerate(ends, start=1)
    )
    return KeyInfo(uri="local:a", kind=KeyType.ED25519, purpose=KeyPurpose.BOTH, versions=versions)


def test_a_certificate_that_ends_within_thirty_days_is_told() -> None:
    info = key(timedelta(days=30), timedelta(days=30, seconds=1), timedelta(days=-1), None)
    assert [each.version for each in expiring_versions(info, NOW)] == [1, 3]


def test_the_last_version_is_current_and_each_is_found_by_its_number() -> None:
    info = key(None, None)
    assert info.current.version == 2
    assert info.version(1) == info.versions[0]
    assert info.version(3) is None


@pytest.mark.parametrize("text", ["local:gateway-sign", "pkcs11:a", "local:0.x_y-z"])
def test_a_key_uri_is_read_and_written_alike(text: str) -> None:
    assert str(parse_key_uri(text)) == text


@pytest.mark.parametrize(
    "text", ["", "local", "local:", ":a", "local:A", "local:.a", "local:a/b", "LOCAL:a", "local:a\n"]
)
def test_what_is_no_key_uri_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_key_uri(text)


@given(st.text())
def test_any_text_is_a_key_uri_or_our_error(text: str) -> None:
    try:
        found = parse_key_uri(text)
    except UsageError:
        return
    assert str(found) == text
