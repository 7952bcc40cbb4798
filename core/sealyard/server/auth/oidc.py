"""Verification of the access tokens of one OpenID Connect issuer (RFC 9068)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NoReturn

import msgspec
from joserfc import jws
from joserfc.errors import ExpiredTokenError, JoseError, MissingClaimError, UnsupportedAlgorithmError
from joserfc.jwa import JWSAlgModel
from joserfc.jwt import JWTClaimsRegistry

from sealyard.client.http.documents import fetch_document
from sealyard.concurrency.clock import SystemClock
from sealyard.model.access import SubjectKind, parse_subject
from sealyard.model.base import JSON_ERRORS, FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import AuthenticationError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.auth.jwks import Fetch, JwksCache
from sealyard.server.settings import OidcSettings

MAX_TOKEN_LENGTH = 16 * 1024
"""Maximum length of a token in characters."""

MAX_HEADER_LENGTH = 4096
"""Maximum length of the header of a token in bytes."""

MAX_SUB_LENGTH = 255
"""Maximum length of the ``sub`` claim in ASCII characters (OpenID Connect Core, section 2)."""

CLOCK_SKEW_SECONDS = 30
"""Tolerated difference between the clocks of the issuer and this machine, in seconds."""

ALGORITHMS = frozenset(
    "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split()  # noqa: SIM905 - the form used in the settings
)
"""Algorithms that the settings can allow: all asymmetric, none with a shared secret (RFC 8725, section 3.1)."""

TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Accepted values of the ``typ`` header parameter (RFC 9068, section 2.1), in lower case."""

OTHER_TOKEN_TYPES = frozenset({"id", "refresh", "offline", "logout"})
"""Values of the ``typ`` claim with which some issuers mark tokens that are not access tokens."""

SERVICE_ACCOUNT_PREFIX = "service-account-"
"""Keycloak's prefix for the name of the user that represents a client."""

CLIENT_SUB_SUFFIX = "@clients"
"""Auth0's suffix for the ``sub`` of a client."""

MACHINE_CLAIM_VALUES = {"idtyp": "app", "gty": "client-credentials"}
"""Claims with which Entra ID and Auth0 mark the tokens of machine clients."""


class OidcClaims(FrozenStruct, frozen=True, kw_only=True):
    """The verified claims of an access token.

    ``subject`` is derived from the current name, which the issuer can change; ``account`` identifies the caller
    permanently. ``roles``: names of the caller's groups. ``is_machine``: whether the token was issued to a machine
    client rather than a person. ``tenants``: the tenants that accept the token; empty if all do.
    """

    subject: str
    account: IssuerAccount
    roles: tuple[str, ...]
    is_machine: bool
    expires_at: datetime
    tenants: frozenset[str] = frozenset()


class OidcVerifier:
    """Verifier for access tokens from the configured issuer for the configured audience."""

    def __init__(self, settings: OidcSettings, fetch: Fetch = fetch_document, clock: Clock | None = None) -> None:
        """Create a verifier.

        Raises :class:`UsageError` if the settings contain an unsupported algorithm, no audience, or an insecure URL.
        """
        allowed_algorithms = frozenset(settings.algorithms.split())
        if not allowed_algorithms or allowed_algorithms - ALGORITHMS:
            raise UsageError(
                f"Invalid oidc.algorithms: {escape_text(settings.algorithms) or 'none'}.",
                f"Use one or more of {', '.join(sorted(ALGORITHMS))}.",
            )
        if not settings.audience:
            raise UsageError("Missing setting oidc.audience.", "Set it to the audience that tokens must name.")
        self._settings = settings
        self._tenants = frozenset(settings.tenants.split())
        self._clock = clock or SystemClock()
        self._keys = JwksCache(settings.issuer, settings.jwks_uri, fetch, self._clock)
        self._registry = _StrictJwsRegistry(algorithms=allowed_algorithms, strict_check_header=False)

    async def is_reachable(self) -> bool:
        """Return whether the keys of the issuer can be fetched."""
        return await self._keys.is_reachable()

    async def verify(self, token: str) -> OidcClaims:
        """Verify a token and return its claims.

        Raises :class:`AuthenticationError` if the token is invalid, and :class:`IssuerUnreachableError` if its
        signature cannot be verified now. Error messages never contain the token.
        """
        parsed_token = self._parse_token(token)
        key = await self._keys.key(parsed_token.headers()["kid"])
        try:
            is_valid = jws.validate_compact(parsed_token, key, registry=self._registry)
        except Exception:  # joserfc raises undocumented exceptions if the key is of the wrong type
            is_valid = False
        if not is_valid:
            raise AuthenticationError("Invalid signature of the token.", "Get a new token.")
        return self._parse_claims(_parse_payload(parsed_token))

    def _parse_token(self, token: str) -> jws.CompactSignature:
        """Parse a token and check its header. The caller must then verify the signature and the claims."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise malformed_token()
        try:
            parsed_token = jws.extract_compact(token.encode("ascii"), None, self._registry)
            header = parsed_token.headers()
            self._registry.check_header(header)
            self._registry.get_alg(header["alg"])
        except UnsupportedAlgorithmError:
            raise AuthenticationError("Signature algorithm of the token not allowed.") from None
        except Exception:  # joserfc raises undocumented exceptions
            raise malformed_token() from None
        # No critical extension is supported (RFC 7515, section 4.1.11); without a key id no key can be selected.
        if "crit" in header or "b64" in header or "kid" not in header:
            raise malformed_token()
        if header.get("typ", "JWT").lower() not in TOKEN_TYPES:
            raise _not_an_access_token()
        return parsed_token

    def _parse_claims(self, claims: dict[str, Any]) -> OidcClaims:
        self._check_claims(claims)
        client = self._client_name(claims)
        if client is not None:
            subject = self._create_subject(SubjectKind.CLIENT, client)
        else:
            subject = self._create_subject(SubjectKind.USER, self._user_name(claims))
        return OidcClaims(
            subject=subject,
            account=self._parse_account(claims),
            roles=self._parse_roles(claims),
            is_machine=client is not None,
            expires_at=_parse_time(claims["exp"]),
            tenants=self._tenants,
        )

    def _check_claims(self, claims: dict[str, Any]) -> None:
        settings = self._settings
        registry = JWTClaimsRegistry(
            now=int(self._clock.now().timestamp()),
            leeway=CLOCK_SKEW_SECONDS,
            iss={"essential": True, "value": settings.issuer},
            aud={"essential": True, "value": settings.audience},
            exp={"essential": True},
        )
        try:
            registry.validate(claims)
        except ExpiredTokenError:
            raise AuthenticationError("Token expired.", "Get a new token.") from None
        except MissingClaimError as error:
            raise AuthenticationError(
                f"Missing claim {escape_text(error.claim)} in the token.", "Get a new token."
            ) from None
        except JoseError as error:
            claim = getattr(error, "claim", "contents")
            raise AuthenticationError(
                f"Invalid claim {escape_text(claim)} in the token: not issued for this server."
            ) from None
        if str(claims.get("typ", "")).lower() in OTHER_TOKEN_TYPES:
            raise _not_an_access_token()

    def _client_name(self, claims: dict[str, Any]) -> str | None:
        """Return the name of the machine client that the token was issued to, or None if it was issued to a person.

        The name of a client in the token is not sufficient evidence: the token of a person contains the name of the
        client through which the person signed in. Raises :class:`AuthenticationError` if a machine client has no name.
        """
        client = claims.get(self._settings.client_claim, claims.get("azp"))
        name = client if isinstance(client, str) else ""
        if any(claims.get(claim) == value for claim, value in MACHINE_CLAIM_VALUES.items()):
            # Reject a machine client without a name: the user name claim must not be used instead.
            return name or self._reject_nameless_client()
        return name if name and _is_client_credentials(name, claims) else None

    def _reject_nameless_client(self) -> NoReturn:
        raise AuthenticationError(
            f"Missing claim {escape_text(self._settings.client_claim)} in the token of a machine client.",
            "Set oidc.client_claim to the claim that names the client.",
        )

    def _user_name(self, claims: dict[str, Any]) -> str:
        """Return the user name of the person. Raises :class:`AuthenticationError` if the claim is missing.

        Only one claim is read, without a fallback: a person with two names could approve their own requests.
        """
        name = claims.get(self._settings.subject_claim)
        if isinstance(name, str):
            return name
        raise AuthenticationError(
            f"Missing claim {escape_text(self._settings.subject_claim)} in the token.",
            "Request a token with this claim from the issuer.",
        )

    def _create_subject(self, kind: SubjectKind, name: str) -> str:
        """Return the subject for the name of a user or client at the issuer.

        Raises :class:`AuthenticationError` if the name is invalid. The name is not normalized, because two people
        could then get the same subject.
        """
        try:
            return parse_subject(f"{kind}:{self._settings.subject_prefix}{name}")
        except UsageError:
            raise AuthenticationError(
                f"Invalid subject name {escape_text(name, 80)!r}.",
                "Use up to 64 letters, digits and . _ @ + - characters.",
            ) from None

    def _parse_account(self, claims: dict[str, Any]) -> IssuerAccount:
        sub = claims.get("sub")
        if isinstance(sub, str) and 0 < len(sub) <= MAX_SUB_LENGTH and sub.isascii() and sub.isprintable():
            return IssuerAccount(issuer=self._settings.issuer, sub=sub)
        raise AuthenticationError(
            "Missing or invalid claim sub in the token.",
            "Request an access token with a sub from the issuer (RFC 9068).",
        )

    def _parse_roles(self, claims: dict[str, Any]) -> tuple[str, ...]:
        claim = _find_claim(claims, self._settings.roles_claim)
        roles = [claim] if isinstance(claim, str) else claim or []
        if not isinstance(roles, list) or not all(isinstance(role, str) for role in roles):
            raise AuthenticationError("Invalid roles in the token: not a list of names.")
        groups = self._settings.groups
        names = [groups[role] for role in roles if role in groups] if groups else roles
        return tuple(dict.fromkeys(names))


class _StrictJwsRegistry(jws.JWSRegistry):
    """A JWS registry that allows only the configured algorithms, not the defaults of joserfc."""

    max_header_length = MAX_HEADER_LENGTH

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def _parse_payload(parsed_token: jws.CompactSignature) -> dict[str, Any]:
    try:
        return msgspec.json.decode(parsed_token.payload, type=dict[str, Any])
    except JSON_ERRORS:
        raise malformed_token() from None


def _is_client_credentials(client: str, claims: dict[str, Any]) -> bool:
    """Return whether the token was issued to the client itself, not to a person who signed in through it."""
    is_own_sub = claims.get("sub") in (
        client,
        f"{client}{CLIENT_SUB_SUFFIX}",
    )  # as specified in RFC 9068, section 2.2, or as set by Auth0
    return is_own_sub or claims.get("preferred_username") == f"{SERVICE_ACCOUNT_PREFIX}{client.lower()}"


def _parse_time(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise malformed_token() from None


def _find_claim(claims: dict[str, Any], path: str) -> Any:
    """Return the value of the claim ``path`` or else of the nested member at this dotted path, or None if missing."""
    if path in claims:
        return claims[path]
    value: Any = claims
    for name in path.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def malformed_token() -> AuthenticationError:
    return AuthenticationError("Malformed token.", "Send a Sealyard token, or an access token of the issuer.")


def _not_an_access_token() -> AuthenticationError:
    return AuthenticationError("Not an access token.", "Send an access token.")
