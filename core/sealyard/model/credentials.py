"""Credentials: access tokens, accounts at external issuers, and one-time passwords for approvals."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sealyard.model.base import FrozenStruct, SecretStruct, ShortText


class AccessToken(FrozenStruct, frozen=True, kw_only=True):
    """The public properties of an access token, without its secret.

    ``id``: the public first part of the token. ``is_machine``: decisions made with the token never count as human
    decisions. ``expires_at`` always has a value; ``revoked_at`` is set when the token is revoked.
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
    """The token of a network request: issued by Sealyard or, if ``external`` is set, by an external issuer."""

    expires_at: datetime
    external: bool = False


class IssuerAccount(FrozenStruct, frozen=True, kw_only=True):
    """An account at an external issuer, identified independently of its user name there.

    The issuer never assigns the same ``sub`` to another account.
    """

    issuer: str
    sub: str


class TokenRequest(FrozenStruct, frozen=True, kw_only=True):
    """Requests a new access token.

    ``subject``: the owner; None means the calling subject. A token for another subject requires permission to add
    subjects. ``seconds``: the lifetime; None means 90 days, or less if the token used for the request expires earlier.
    """

    name: ShortText
    subject: ShortText | None = None
    seconds: int | None = None
    is_machine: bool = False


class IssuedToken(SecretStruct, frozen=True, kw_only=True):
    """A new token and its ``secret``, the bearer token to send. The secret is shown only once."""

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("token",)

    token: AccessToken
    secret: str


class OtpStatus(FrozenStruct, frozen=True, kw_only=True):
    """Whether a subject can use one-time passwords.

    ``enrolled``: a first password was confirmed. ``locked_until``: set after too many wrong passwords.
    """

    subject: str
    enrolled: bool
    locked_until: datetime | None = None


class OtpEnrollment(SecretStruct, frozen=True, kw_only=True):
    """The data that a user enters into an authenticator app, shown only once.

    ``secret``: in Base32. ``uri``: the ``otpauth`` URI that the QR code contains.
    """

    REPR_FIELDS: ClassVar[tuple[str, ...]] = ("subject",)

    subject: str
    secret: str
    uri: str
