"""Access tokens of one configured issuer (OpenID Connect, RFC 9068): checked, and read for who asks."""

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
from sealyard.model.base import FrozenStruct
from sealyard.model.clock import Clock
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import AuthenticationError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.auth.jwks import Fetch, JwksCache
from sealyard.server.settings import OidcSettings

MAX_TOKEN_LENGTH = 16 * 1024
"""Characters."""

MAX_HEADER_LENGTH = 4096

MAX_SUB_LENGTH = 255
"""Characters, of ASCII (OpenID Connect Core, section 2)."""

CLOCK_SKEW_SECONDS = 30
"""For clocks that do not agree."""

ALGORITHMS = frozenset(
    "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA Ed25519".split()  # noqa: SIM905 - as it is configured
)
"""Those that can be allowed: each signs, and none with a secret that we would share (RFC 8725, section 3.1)."""

TOKEN_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
"""Of the header's ``typ`` (RFC 9068, section 2.1), in lower case."""

OTHER_TOKENS = frozenset({"id", "refresh", "offline", "logout"})
"""What some issuers call, in the claim ``typ``, tokens of theirs that give no access."""

SERVICE_ACCOUNT = "service-account-"
"""How Keycloak names the user that stands for a client."""

CLIENTS = "@clients"
"""How Auth0 ends the ``sub`` of a client."""

MACHINE_CLAIM_VALUES = {"idtyp": "app", "gty": "client-credentials"}
"""What Entra ID and Auth0 say of a token that no person is behind."""


class OidcClaims(FrozenStruct, frozen=True, kw_only=True):
    """What a token says of who asks. ``roles`` are names of groups; ``machine``: no person is behind it.

    ``subject`` is what the issuer calls them now, ``account`` who they are, for good.
    """

    subject: str
    account: IssuerAccount
    roles: tuple[str, ...]
    machine: bool
    expires_at: datetime


class OidcVerifier:
    """Believes what one issuer has signed for us, and nobody else."""

    def __init__(self, settings: OidcSettings, fetch: Fetch = fetch_document, clock: Clock | None = None) -> None:
        """Raises :class:`UsageError` where the settings would let in more than they should."""
        allowed = frozenset(settings.algorithms.split())
        if not allowed or allowed - ALGORITHMS:
            raise UsageError(
                f"Tokens cannot be believed by {escape_text(settings.algorithms) or 'no algorithm'}.",
                f"Allow some of {', '.join(sorted(ALGORITHMS))}.",
            )
        if not settings.audience:
            raise UsageError("It is not said which audience tokens must name.", "Set oidc.audience.")
        self._settings = settings
        self._clock = clock or SystemClock()
        self._keys = JwksCache(settings.issuer, settings.jwks_uri, fetch, self._clock)
        self._registry = _StrictJwsRegistry(algorithms=allowed, strict_check_header=False)

    async def verify(self, token: str) -> OidcClaims:
        """Raises :class:`AuthenticationError`, which never repeats the token."""
        signed = self._opened(token)
        key = await self._keys.key(signed.headers()["kid"])
        try:
            good = jws.validate_compact(signed, key, registry=self._registry)
        except Exception:  # of a key that does not fit, the library raises more kinds than it documents
            good = False
        if not good:
            raise AuthenticationError("The token's signature is not its issuer's.", "Get a new token.")
        return self._read(_payload(signed))

    def _opened(self, token: str) -> jws.CompactSignature:
        """Taken apart, and nothing of it believed yet."""
        if len(token) > MAX_TOKEN_LENGTH:
            raise _no_token()
        try:
            signed = jws.extract_compact(token.encode("ascii"), None, self._registry)
            header = signed.headers()
            self._registry.check_header(header)
            self._registry.get_alg(header["alg"])
        except UnsupportedAlgorithmError:
            raise AuthenticationError("The token is signed in a way that is not believed here.") from None
        except Exception:  # the parser raises more kinds than it documents
            raise _no_token() from None
        # Extensions that must be understood are not (RFC 7515, section 4.1.11); a key without a name cannot be found.
        if "crit" in header or "b64" in header or "kid" not in header:
            raise _no_token()
        if header.get("typ", "JWT").lower() not in TOKEN_TYPES:
            raise AuthenticationError("This is no access token.", "Send an access token.")
        return signed

    def _read(self, claims: dict[str, Any]) -> OidcClaims:
        self._check(claims)
        machine = self._client(claims)
        if machine is not None:
            subject = _subject(SubjectKind.CLIENT, machine)
        else:
            subject = _subject(SubjectKind.USER, self._person(claims))
        return OidcClaims(
            subject=subject,
            account=self._account(claims),
            roles=self._roles(claims),
            machine=machine is not None,
            expires_at=_time(claims["exp"]),
        )

    def _check(self, claims: dict[str, Any]) -> None:
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
            raise AuthenticationError("The token has expired.", "Get a new one.") from None
        except MissingClaimError as error:
            raise AuthenticationError(f"The token lacks {escape_text(error.claim)}.", "Get a new one.") from None
        except JoseError as error:
            claim = getattr(error, "claim", "contents")
            raise AuthenticationError(f"The token's {escape_text(claim)} is not meant for here.") from None
        if str(claims.get("typ", "")).lower() in OTHER_TOKENS:
            raise AuthenticationError("This is no access token.", "Send an access token.")

    def _client(self, claims: dict[str, Any]) -> str | None:
        """The machine client that speaks for itself; None where a person is behind the token.

        A client's name alone proves nothing: tokens of people name the client they came through.
        """
        client = claims.get(self._settings.client_claim, claims.get("azp"))
        named = client if isinstance(client, str) else ""
        if any(claims.get(claim) == mark for claim, mark in MACHINE_CLAIM_VALUES.items()):
            return named or self._is_client_token()
        return named if named and _is_client_credentials(named, claims) else None

    def _is_client_token(self) -> NoReturn:
        """It must not pass for a person by what names people."""
        raise AuthenticationError(
            f"The token is a machine client's and does not name it: it lacks "
            f"{escape_text(self._settings.client_claim)}.",
            "Name the claim that says it in oidc.client_claim.",
        )

    def _person(self, claims: dict[str, Any]) -> str:
        """By one claim only: with a second one to fall back on, a person could come under two names and approve
        what it asked for itself.
        """
        person = claims.get(self._settings.subject_claim)
        if isinstance(person, str):
            return person
        raise AuthenticationError(
            f"The token does not say who asks: it lacks {escape_text(self._settings.subject_claim)}.",
            "Ask the issuer for a token that has it.",
        )

    def _account(self, claims: dict[str, Any]) -> IssuerAccount:
        sub = claims.get("sub")
        if isinstance(sub, str) and 0 < len(sub) <= MAX_SUB_LENGTH and sub.isascii() and sub.isprintable():
            return IssuerAccount(issuer=self._settings.issuer, sub=sub)
        raise AuthenticationError(
            "The token does not say whose it is for good: it lacks sub, or has one that cannot be kept.",
            "Ask the issuer for an access token with a sub (RFC 9068).",
        )

    def _roles(self, claims: dict[str, Any]) -> tuple[str, ...]:
        found = _at(claims, self._settings.roles_claim)
        roles = [found] if isinstance(found, str) else found or []
        if not isinstance(roles, list) or not all(isinstance(each, str) for each in roles):
            raise AuthenticationError("The token's roles are no list of names.")
        groups = self._settings.groups
        named = [groups[each] for each in roles if each in groups] if groups else roles
        return tuple(dict.fromkeys(named))


class _StrictJwsRegistry(jws.JWSRegistry):
    """Nothing is allowed but what is named."""

    max_header_length = MAX_HEADER_LENGTH

    def get_alg(self, name: str) -> JWSAlgModel:
        if name not in (self.allowed or ()):
            raise UnsupportedAlgorithmError
        return self.algorithms[name]


def _payload(signed: jws.CompactSignature) -> dict[str, Any]:
    try:
        return msgspec.json.decode(signed.payload, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise _no_token() from None


def _is_client_credentials(client: str, claims: dict[str, Any]) -> bool:
    names_itself = claims.get("sub") in (client, f"{client}{CLIENTS}")  # RFC 9068, section 2.2; Auth0
    return names_itself or claims.get("preferred_username") == f"{SERVICE_ACCOUNT}{client.lower()}"


def _subject(kind: SubjectKind, name: str) -> str:
    """Never made to fit: two people must not become one."""
    try:
        return parse_subject(f"{kind}:{name}")
    except UsageError:
        raise AuthenticationError(
            f"{escape_text(name, 80)!r} is no name that a subject can have.",
            "Up to 64 letters, digits and . _ @ + - are allowed.",
        ) from None


def _time(seconds: float) -> datetime:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, ValueError, OSError):
        raise _no_token() from None


def _at(claims: dict[str, Any], path: str) -> Any:
    """The claim of that very name, or the one that the dots lead to."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _no_token() -> AuthenticationError:
    return AuthenticationError("This is no token that can be read.", "Send a token of ours, or of the issuer.")
