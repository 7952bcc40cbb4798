"""Tests of the enrollment file, the zone code and their fingerprints."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import InvalidInputError
from sealyard.model.zone_codes import (
    compute_fingerprint,
    encode_enrollment,
    encode_zone_keys,
    parse_enrollment,
    parse_zone_keys,
)
from sealyard.model.zones import Enrollment, ZonePublicKeys

ENROLLMENT = Enrollment(workspace_id="w1", workspace_name="gateway", zone="vault", order_key=bytes(range(32)))
KEYS = ZonePublicKeys(report_key=bytes(range(32)), sealing_key=bytes(range(32, 64)))

keys = st.binary(min_size=32, max_size=32)
zone_keys = st.builds(ZonePublicKeys, report_key=keys, sealing_key=keys)
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(texts, texts, texts, keys)
def test_enrollment_round_trips(workspace_id: str, name: str, zone: str, order_key: bytes) -> None:
    enrollment = Enrollment(workspace_id=workspace_id, workspace_name=name, zone=zone, order_key=order_key)
    assert parse_enrollment(encode_enrollment(enrollment)) == enrollment


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff",
        encode_enrollment(msgspec.structs.replace(ENROLLMENT, order_key=b"short")),
        encode_enrollment(msgspec.structs.replace(ENROLLMENT, zone="")),
        encode_enrollment(msgspec.structs.replace(ENROLLMENT, workspace_id="")),
        encode_enrollment(ENROLLMENT)[:-5],
        encode_enrollment(msgspec.structs.replace(ENROLLMENT, workspace_name="x" * 100_000)),
    ],
    ids=["empty", "no fields", "no text", "short key", "no zone", "no workspace", "incomplete", "too long"],
)
def test_invalid_enrollment_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidInputError, match="not an enrollment"):
        parse_enrollment(content)


def test_enrollment_of_newer_version_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="newer version"):
        parse_enrollment(encode_enrollment(msgspec.structs.replace(ENROLLMENT, version=2)))


@given(st.binary())
def test_random_enrollment_raises_input_error(content: bytes) -> None:
    with pytest.raises(InvalidInputError):
        parse_enrollment(content)


@given(zone_keys)
def test_zone_code_round_trips(value: ZonePublicKeys) -> None:
    code = encode_zone_keys(value)
    assert parse_zone_keys(code) == value
    assert parse_zone_keys(f"  {code[:40].upper()}\n {code[40:]} \n") == value


@given(zone_keys, st.integers(0, 200), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_changed_zone_code_is_refused(value: ZonePublicKeys, position: int, replacement: str) -> None:
    code = encode_zone_keys(value)
    position %= len(code)
    changed = code[:position] + replacement + code[position + 1 :]
    if changed == code:
        return
    with pytest.raises(InvalidInputError):
        parse_zone_keys(changed)


@given(st.text())
def test_random_zone_code_raises_input_error(code: str) -> None:
    for text in (code, f"zone1-{code}"):
        with pytest.raises(InvalidInputError):
            parse_zone_keys(text)


def test_zone_code_is_one_word() -> None:
    code = encode_zone_keys(KEYS)
    assert code.startswith("zone1-")
    assert code.isascii()
    assert len(code.split()) == 1


def test_fingerprint_covers_every_field() -> None:
    fingerprints = [
        compute_fingerprint(value)
        for value in (
            KEYS,
            msgspec.structs.replace(KEYS, report_key=bytes(32)),
            msgspec.structs.replace(KEYS, sealing_key=bytes(32)),
            ENROLLMENT,
            msgspec.structs.replace(ENROLLMENT, workspace_id="w2"),
            msgspec.structs.replace(ENROLLMENT, workspace_name="other"),
            msgspec.structs.replace(ENROLLMENT, zone="other"),
            msgspec.structs.replace(ENROLLMENT, order_key=bytes(32)),
        )
    ]
    assert len(set(fingerprints)) == len(fingerprints)
    assert all([len(group) for group in each.split("-")] == [4] * 5 for each in fingerprints)
