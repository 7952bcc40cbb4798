"""Tests of keys and key versions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.keys import KeyInfo, KeyVersion

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


def test_version_without_later_fields_keeps_its_json() -> None:
    """The JSON of a version is authenticated: versions of earlier releases must keep theirs."""
    encoded = msgspec.json.encode(make_key(timedelta(days=1)).current)
    assert b"alidFrom" not in encoded
    assert b"issuers" not in encoded
    assert msgspec.json.encode(msgspec.json.decode(encoded, type=KeyVersion)) == encoded


def test_current_version_is_the_last() -> None:
    info = make_key(None, None)
    assert info.current.version == 2
    assert info.version(1) == info.versions[0]
    assert info.version(3) is None
