"""Tests of the derivation of random bytes from a build secret, and of the MACs of records."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto.build_secret import BuildSecret

VALUE = bytes(range(32))
SECRETS = st.binary(min_size=32, max_size=32)


def expand(key: bytes, info: bytes, length: int) -> bytes:
    """Return the output of HKDF-Expand with SHA-256, written from RFC 5869, section 2.3."""
    output, block, counter = b"", b"", 0
    while len(output) < length:
        counter += 1
        block = hmac.new(key, block + info + bytes([counter]), hashlib.sha256).digest()
        output += block
    return output[:length]


def test_random_bytes_have_known_values() -> None:
    """The values were computed with `openssl kdf -kdfopt digest:SHA256 -kdfopt mode:EXPAND_ONLY … HKDF`."""
    secret = BuildSecret(VALUE, "se-1")
    assert secret.random("segment 0 iv", 16).hex() == "0d6897d8ef9afb9657529471ae7000df"
    assert secret.random("segment 1 iv", 16).hex() == "b5e95c41f3e6b2a767905254d2a47945"


def test_mac_has_known_value() -> None:
    """The value was computed with `openssl kdf` as above, and `openssl dgst -sha256 -mac HMAC`."""
    mac = "f1405b7f3ef4c1165de12a26b2cc455e467b24e0eae17e77f50e7c552f289dce"
    assert BuildSecret(VALUE, "se-1").authenticate(b"record") == mac


@given(
    value=SECRETS,
    format_name=st.text(st.characters(exclude_characters="|", codec="utf-8"), max_size=20),
    name=st.text(st.characters(codec="utf-8"), max_size=50),
    length=st.integers(0, 200),
    record=st.binary(),
)
def test_derivation_matches_second_implementation(
    value: bytes, format_name: str, name: str, length: int, record: bytes
) -> None:
    secret = BuildSecret(value, format_name)
    assert secret.random(name, length) == expand(value, f"sealyard/build/1|{format_name}|{name}".encode(), length)
    mac_key = expand(value, f"sealyard/records/1|{format_name}".encode(), 32)
    assert secret.authenticate(record) == hmac.new(mac_key, record, hashlib.sha256).hexdigest()


@pytest.mark.parametrize(
    ("secret", "name"),
    [
        (BuildSecret(VALUE, "se-1"), "segment 1 iv"),
        (BuildSecret(VALUE, "se-2"), "segment 0 iv"),
        (BuildSecret(VALUE[::-1], "se-1"), "segment 0 iv"),
    ],
    ids=["name", "format", "secret"],
)
def test_random_bytes_depend_on_everything(secret: BuildSecret, name: str) -> None:
    assert secret.random(name, 16) != BuildSecret(VALUE, "se-1").random("segment 0 iv", 16)


@given(record=st.binary(), position=st.integers(0, 63), digit=st.sampled_from("0123456789abcdef"))
def test_only_exact_mac_is_authentic(record: bytes, position: int, digit: str) -> None:
    secret = BuildSecret(VALUE, "se-1")
    mac = secret.authenticate(record)
    changed_mac = mac[:position] + digit + mac[position + 1 :]
    assert secret.is_authentic(record, changed_mac) == (changed_mac == mac)
    assert not secret.is_authentic(record + b"x", mac)


@pytest.mark.parametrize("mac", ["", "é", "00" * 32])
def test_invalid_mac_is_not_authentic(mac: str) -> None:
    assert not BuildSecret(VALUE, "se-1").is_authentic(b"record", mac)


@pytest.mark.parametrize(("value", "format_name"), [(bytes(31), "se-1"), (bytes(33), "se-1"), (VALUE, "se|1")])
def test_malformed_secret_or_format_is_rejected(value: bytes, format_name: str) -> None:
    with pytest.raises(ValueError, match=r"secret|format"):
        BuildSecret(value, format_name)


def test_generated_secrets_differ_and_are_not_printed() -> None:
    secrets = [BuildSecret.generate("se-1") for _ in range(20)]
    assert len({secret.value for secret in secrets}) == 20
    assert secrets[0].value.hex() not in repr(secrets[0])
    assert repr(secrets[0].value) not in repr(secrets[0])
