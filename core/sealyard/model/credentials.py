"""What proves who one is: access tokens, and one-time passwords for approvals."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct, ShortText


class AccessToken(FrozenStruct, frozen=True, kw_only=True):
    """What may be known of a token: never the token itself. ``machine``: no person decides through it.

    ``id`` is the token's public beginning; ``expires_at`` always has a value, ``revoked_at`` once it was revoked.
    """

    id: str
    name: str
    subject: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    is_machine: bool = False
    revoked_at: datetime | None = None


class PresentedToken(FrozenStruct, frozen=True, kw_only=True):
    """What somebody asks with over a network: a token of ours, or, with ``external``, one of an issuer's."""

    expires_at: datetime
    external: bool = False


class IssuerAccount(FrozenStruct, frozen=True, kw_only=True):
    """Who somebody is at an issuer, whatever they are called there: ``sub`` is never given to anybody else."""

    issuer: str
    sub: str


class TokenRequest(FrozenStruct, frozen=True, kw_only=True):
    """``subject``: oneself where it is None; for others one needs the right to add subjects.

    ``seconds``: 90 days where it is None, or less where the token that one asks with ends before.
    """

    name: ShortText
    subject: ShortText | None = None
    seconds: int | None = None
    is_machine: bool = False


class IssuedToken(SecretStruct, frozen=True, kw_only=True):
    """A new token with its ``secret``: the bearer token as it is sent, shown this once."""

    SHOWN: ClassVar[tuple[str, ...]] = ("token",)

    token: AccessToken
    secret: str


class OtpStatus(FrozenStruct, frozen=True, kw_only=True):
    """``enrolled``: a first password was confirmed. ``locked_until``: after too many wrong ones."""

    subject: str
    enrolled: bool
    locked_until: datetime | None = None


class OtpEnrollment(SecretStruct, frozen=True, kw_only=True):
    """What an authenticator needs, shown this once: ``secret`` in Base32, ``uri`` as in its QR code (otpauth)."""

    SHOWN: ClassVar[tuple[str, ...]] = ("subject",)

    subject: str
    secret: str
    uri: str
