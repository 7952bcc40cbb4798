"""The OpenID Connect issuers that a server trusts. Each can authenticate only its own subjects."""

from __future__ import annotations

import asyncio
from base64 import urlsafe_b64decode
from collections.abc import Collection, Sequence

import msgspec

from sealyard.client.http.documents import fetch_document
from sealyard.model.access import SubjectKind, parse_subject
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.auth.jwks import Fetch
from sealyard.server.auth.oidc import MAX_TOKEN_LENGTH, OidcClaims, OidcVerifier, malformed_token
from sealyard.server.settings import OidcSettings


class _IssuerClaim(msgspec.Struct):
    iss: str


class IssuerRegistry:
    """A registry of the trusted issuers, used to verify their access tokens.

    The names of an issuer's subjects start with its prefix. If the prefix of another issuer also matches, the subject
    belongs to the issuer with the longer prefix. Therefore, no two issuers can authenticate the same subject, even if
    the prefix of one of them is empty.
    """

    def __init__(
        self,
        settings: Sequence[OidcSettings],
        tenants: Collection[str] = (),
        fetch: Fetch = fetch_document,
        clock: Clock | None = None,
    ) -> None:
        """Create a registry of issuers. ``tenants``: names of the tenants of the server.

        Raises :class:`UsageError` if two issuers have the same URL or prefix, if a prefix is invalid, if a setting
        names an unknown tenant, or if the settings of an issuer are invalid (see :class:`OidcVerifier`).
        """
        _require_distinct("issuer", [issuer.issuer for issuer in settings])
        _require_distinct("subject_prefix", [issuer.subject_prefix for issuer in settings])
        for issuer in settings:
            _check_prefix(issuer.subject_prefix)
            _check_tenants(issuer.tenants.split(), tenants)
        self.settings = tuple(settings)
        self._verifiers = {issuer.issuer: OidcVerifier(issuer, fetch, clock) for issuer in settings}
        self._prefixes = {issuer.issuer: issuer.subject_prefix for issuer in settings}

    async def verify(self, token: str) -> OidcClaims:
        """Verify a token with the keys and settings of the issuer that it names, and return its claims.

        Raises :class:`AuthenticationError` if the token is invalid, its issuer is not trusted, or its subject belongs
        to another issuer. Raises :class:`IssuerUnreachableError` if its signature cannot be verified now.
        """
        issuer = _read_issuer(token)
        verifier = self._verifiers.get(issuer)
        if verifier is None:
            raise AuthenticationError(
                "The issuer of the token is not trusted by this server.", "Get a token from an issuer that it trusts."
            )
        claims = await verifier.verify(token)
        if self._find_owner(claims.subject) != issuer:
            raise AuthenticationError(f"{claims.subject} belongs to another issuer.", "Use another name at the issuer.")
        return claims

    async def check_reachable(self) -> list[bool]:
        """Check for each issuer whether its keys can be fetched, and return the results."""
        return await asyncio.gather(*(verifier.is_reachable() for verifier in self._verifiers.values()))

    def _find_owner(self, subject: str) -> str:
        name = subject.partition(":")[2]
        matching_prefixes = {issuer: prefix for issuer, prefix in self._prefixes.items() if name.startswith(prefix)}
        return max(matching_prefixes, key=lambda issuer: len(matching_prefixes[issuer]))


def _read_issuer(token: str) -> str:
    """Return the ``iss`` claim of a token without verifying the token.

    Raises :class:`AuthenticationError` if the token is malformed.
    """
    payload = token.split(".")[1] if len(token) <= MAX_TOKEN_LENGTH and token.count(".") == 2 else ""  # noqa: PLR2004
    try:
        document = urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
        return msgspec.json.decode(document, type=_IssuerClaim).iss
    except (ValueError, *JSON_ERRORS):
        raise malformed_token() from None


def _require_distinct(setting: str, values: list[str]) -> None:
    duplicate = next((value for value in values if values.count(value) > 1), None)
    if duplicate is not None:
        raise UsageError(
            f"Two issuers have the same oidc.{setting} {escape_text(duplicate)!r}.",
            f"Set a different {setting} for each issuer.",
        )


def _check_prefix(prefix: str) -> None:
    try:
        parse_subject(f"{SubjectKind.USER}:{prefix}name")
    except UsageError:
        raise UsageError(
            f"Invalid oidc.subject_prefix {escape_text(prefix)!r}.", "Use letters, digits and . _ @ + - characters."
        ) from None


def _check_tenants(names: Collection[str], tenants: Collection[str]) -> None:
    unknown = next((name for name in names if name not in tenants), None)
    if unknown is not None:
        raise UsageError(f"Unknown tenant {escape_text(unknown)!r} in oidc.tenants.", "Use names of served tenants.")
