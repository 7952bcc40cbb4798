"""One-time passwords against the vectors of RFC 6238, and how far a clock may be off."""

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


def at(seconds: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


@pytest.mark.parametrize(("seconds", "password"), VECTORS.items())
def test_the_vectors_of_rfc_6238_are_matched_in_their_step(seconds: int, password: str) -> None:
    assert list(totp.matching_steps(SECRET, password[-6:], at(seconds))) == [seconds // 30]


def test_the_password_of_another_secret_is_not_matched() -> None:
    assert list(totp.matching_steps(b"x" * 20, "287082", at(59))) == []


@given(st.binary(min_size=20, max_size=20), st.integers(3, 2**32), st.integers(-3, 3))
def test_a_clock_may_be_off_by_one_step_each_way(secret: bytes, step: int, off: int) -> None:
    app = Authenticator(totp.provisioning_uri(secret, "anna", "Sealyard"))
    password = app.code_at_step(step + off)
    near = {app.code_at_step(step + each) for each in (-1, 0, 1)}
    found = list(totp.matching_steps(secret, password, at(step * 30 + 29)))
    assert bool(found) is (password in near)
    assert (step + off in found) is (abs(off) <= 1)


def test_secrets_are_of_the_length_that_rfc_4226_recommends_and_never_the_same() -> None:
    made = {totp.new_secret() for _ in range(10)}
    assert len(made) == 10
    assert {len(each) for each in made} == {20}


def test_what_is_typed_by_hand_is_what_the_qr_code_holds() -> None:
    secret = totp.new_secret()
    app = Authenticator(totp.provisioning_uri(secret, "anna@gießerei", "Sealyard"))
    assert (app.secret, app.label, app.issuer) == (secret, "Sealyard:anna@gießerei", "Sealyard")
    assert totp.base32(secret).rstrip("=") == totp.base32(secret), "nothing that people would not type"
