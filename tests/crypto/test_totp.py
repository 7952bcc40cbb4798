"""Tests of one-time passwords: the vectors of RFC 6238, and the accepted clock deviation."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.crypto import totp
from tests.support.authenticator import Authenticator

# RFC 6238, appendix B: the SHA-1 rows, in 8 digits there. Fewer digits are the last ones (RFC 4226, section 5.3).
SECRET = b"12345678901234567890"
VECTORS = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


def moment(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "password"), VECTORS.items())
def test_rfc_6238_vector_matches_its_step(seconds: int, password: str) -> None:
    assert list(totp.matching_steps(SECRET, password[-6:], moment(seconds))) == [seconds // 30]


def test_password_of_another_secret_is_rejected() -> None:
    assert list(totp.matching_steps(b"x" * 20, "287082", moment(59))) == []


@given(st.binary(min_size=20, max_size=20), st.integers(3, 2**32), st.integers(-3, 3))
def test_clock_deviation_of_one_step_is_accepted(secret: bytes, step: int, deviation: int) -> None:
    app = Authenticator(totp.provisioning_uri(secret, "anna", "Sealyard"))
    password = app.code_at_step(step + deviation)
    accepted = {app.code_at_step(step + each) for each in (-1, 0, 1)}
    steps = list(totp.matching_steps(secret, password, moment(step * 30 + 29)))
    assert bool(steps) is (password in accepted)
    assert (step + deviation in steps) is (abs(deviation) <= 1)


def test_secrets_are_unique_and_20_bytes() -> None:
    secrets = {totp.new_secret() for _ in range(10)}
    assert len(secrets) == 10
    assert {len(each) for each in secrets} == {20}


def test_provisioning_uri_contains_the_secret() -> None:
    secret = totp.new_secret()
    app = Authenticator(totp.provisioning_uri(secret, "anna@gießerei", "Sealyard"))
    assert (app.secret, app.label, app.issuer) == (secret, "Sealyard:anna@gießerei", "Sealyard")
    assert totp.base32(secret).rstrip("=") == totp.base32(secret), "padding that users do not type"
