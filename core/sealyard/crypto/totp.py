"""Time-based one-time passwords (RFC 6238) as authenticators make them: SHA-1, six digits, steps of 30 seconds."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterator
from datetime import datetime

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

DIGITS = 6
STEP_SECONDS = 30
ALLOWED_DRIFT_STEPS = 1
"""Steps that a clock may be off, each way (RFC 6238, section 5.2)."""

SECRET_BYTES = 20
"""RFC 4226, section 4, requirement R6."""


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def matching_steps(secret: bytes, password: str, now: datetime) -> Iterator[int]:
    """The steps around ``now`` whose password it is, oldest first: RFC 6238 calls a step T."""
    totp = _totp(secret)
    current = int(now.timestamp()) // STEP_SECONDS
    for step in range(current - ALLOWED_DRIFT_STEPS, current + ALLOWED_DRIFT_STEPS + 1):
        if bytes_eq(totp.generate(step * STEP_SECONDS), password.encode()):
            yield step


def base32(secret: bytes) -> str:
    """As people type it into an authenticator."""
    return base64.b32encode(secret).decode()


def provisioning_uri(secret: bytes, account: str, issuer: str) -> str:
    """``otpauth://totp/…``, which authenticators take from a QR code."""
    return _totp(secret).get_provisioning_uri(account, issuer)


def _totp(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - HMAC-SHA-1 is what authenticators speak
