"""Time-based one-time passwords (RFC 6238) as authenticator apps use them: SHA-1, six digits, 30-second steps."""

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
"""Maximum clock drift in time steps, in either direction (RFC 6238, section 5.2)."""

SECRET_BYTES = 20
"""Length in bytes of a new secret (RFC 4226, section 4, requirement R6)."""


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def matching_steps(secret: bytes, password: str, now: datetime) -> Iterator[int]:
    """Yield the time steps (``T`` in RFC 6238) whose password is ``password``, oldest first.

    Checks the time step of ``now`` and ``ALLOWED_DRIFT_STEPS`` steps before and after it.
    """
    totp = _create_totp(secret)
    current_step = int(now.timestamp()) // STEP_SECONDS
    for step in range(current_step - ALLOWED_DRIFT_STEPS, current_step + ALLOWED_DRIFT_STEPS + 1):
        if bytes_eq(totp.generate(step * STEP_SECONDS), password.encode()):
            yield step


def base32(secret: bytes) -> str:
    """Return the secret in Base32, for users who type it into an authenticator app."""
    return base64.b32encode(secret).decode()


def provisioning_uri(secret: bytes, account: str, issuer: str) -> str:
    """Return the ``otpauth://totp/…`` URI that authenticator apps read from a QR code."""
    return _create_totp(secret).get_provisioning_uri(account, issuer)


def _create_totp(secret: bytes) -> TOTP:
    return TOTP(secret, DIGITS, SHA1(), STEP_SECONDS)  # noqa: S303 - authenticator apps use HMAC-SHA-1
