"""Authentication of requests: by bearer token, or by the peer of a workspace's local socket."""

from __future__ import annotations

import os
import pwd
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Protocol

from litestar.types import Scope

from sealyard.client.engine_handle import EngineHandle
from sealyard.engine.access.tokens import invalid_token
from sealyard.model.access import SubjectKind, parse_subject, subject_kind
from sealyard.model.credentials import IssuerAccount, PresentedToken
from sealyard.model.errors import AuthenticationError, PermissionDeniedError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.auth.caller import Caller
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from sealyard.server.auth.tenants import TenantRegistry
from sealyard.server.http.peer import PEER_SCOPE_KEY, Peer

SERVER_TRUST_NOTE = "on a server: people are authenticated; requesters cannot approve their own tasks"
TOKEN_PREFIX = "sy_"  # noqa: S105
"""Prefix of Sealyard's own access tokens. All others are verified with the issuer, if one is configured."""


class TokenClaims(Protocol):
    """The claims of an issuer's access token."""

    @property
    def subject(self) -> str: ...
    @property
    def account(self) -> IssuerAccount: ...
    @property
    def is_machine(self) -> bool: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def expires_at(self) -> datetime: ...


VerifyToken = Callable[[str], Awaitable[TokenClaims]]
"""Verifies an issuer's access token. Raises :class:`AuthenticationError`."""


class Authenticator:
    """Authenticates each request separately; no session is kept."""

    def __init__(
        self,
        tenants: TenantRegistry,
        limiter: TokenBucketLimiter | None,
        verify: VerifyToken | None,
        max_body_bytes: int,
    ) -> None:
        """Create an authenticator for the callers of ``tenants``.

        ``limiter``: limits requests with tokens and by links. ``verify``: verifies tokens of the configured issuer.
        """
        self._tenants = tenants
        self._limiter = limiter
        self._verify = verify
        self._max_body_bytes = max_body_bytes

    async def authenticate(self, scope: Scope) -> Caller:
        """Return the caller of a request.

        Raises :class:`AuthenticationError`, :class:`TooManyRequestsError` or :class:`PermissionDeniedError`. An
        unknown tenant and an invalid token raise the same error, so that tenants cannot be enumerated.
        """
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        tenant = headers.get("x-se-tenant")
        peer = scope.get(PEER_SCOPE_KEY)
        if isinstance(peer, Peer):
            return self._from_peer(peer, headers.get("x-se-subject"))
        bearer = _bearer(headers.get("authorization", ""))
        if self._verify is None or bearer.startswith(TOKEN_PREFIX):
            return await self._from_token(tenant, bearer)
        return await self._from_claims(tenant, bearer, self._verify)

    def _from_peer(self, peer: Peer, claimed_subject: str | None) -> Caller:
        subject = subject_for_uid(claimed_subject, peer.uid)
        tenant, handle = self._tenants.find(peer.tenant)
        return self._create_caller(tenant, handle, subject, is_machine=False, revalidate=_no_op, presented=None)

    async def _from_token(self, tenant_name: str | None, bearer: str) -> Caller:
        tenant, handle = self._tenants.find(tenant_name)
        token = await handle.authenticate_token(bearer)
        self._rate_limit(tenant, token.subject)

        async def revalidate() -> None:
            await handle.authenticate_token(bearer)

        presented = PresentedToken(expires_at=token.expires_at)
        return self._create_caller(
            tenant, handle, token.subject, is_machine=token.is_machine, revalidate=revalidate, presented=presented
        )

    async def _from_claims(self, tenant_name: str | None, bearer: str, verify: VerifyToken) -> Caller:
        claims = await verify(bearer)
        # Before the tenant is looked up, so that the limit also applies to requests for unknown tenants.
        self._rate_limit(claims.account.issuer, claims.account.sub)
        tenant, handle = self._tenants.find(tenant_name)
        await handle.sign_in(claims.subject, claims.roles, claims.account)

        async def revalidate() -> None:
            await verify(bearer)

        presented = PresentedToken(expires_at=claims.expires_at, external=True)
        return self._create_caller(
            tenant, handle, claims.subject, is_machine=claims.is_machine, revalidate=revalidate, presented=presented
        )

    def rate_limit_link(self, scope: Scope, result: str) -> None:
        """Count a request by link. Raises :class:`TooManyRequestsError`.

        Links are used without authentication, so all requests for one result share the limit of one subject. Requests
        through a workspace's socket are not limited.
        """
        if not isinstance(scope.get(PEER_SCOPE_KEY), Peer):
            self._rate_limit("link", result)

    def _rate_limit(self, scope: str, name: str) -> None:
        """Count a request. ``scope`` is a tenant, or an issuer, whose accounts are counted across all tenants."""
        if self._limiter is not None:
            self._limiter.acquire(f"{scope} {name}")

    def _create_caller(
        self,
        tenant: str,
        handle: EngineHandle,
        subject: str,
        *,
        is_machine: bool,
        revalidate: Callable[[], Awaitable[None]],
        presented: PresentedToken | None,
    ) -> Caller:
        is_local = presented is None
        return Caller(
            tenant=tenant,
            handle=handle,
            subject=subject,
            client=handle.client(subject) if is_local else handle.client(subject, SERVER_TRUST_NOTE, presented),
            max_body_bytes=self._max_body_bytes,
            revalidate=revalidate,
            is_machine=is_machine or subject_kind(subject) is SubjectKind.CLIENT,
            is_local=is_local,
        )


def subject_for_uid(claimed: str | None, uid: int) -> str:
    """Return the subject of a peer on a workspace's socket.

    The owner of the workspace can act as any subject; other users are the subject of their own account, as reported by
    the kernel. Raises :class:`UsageError` or :class:`PermissionDeniedError`.
    """
    if uid == os.getuid():
        if not claimed:
            raise UsageError("No subject selected.", "Name the subject in the header X-SE-SUBJECT.")
        return parse_subject(claimed)
    own = f"{SubjectKind.USER}:{account_name(uid)}"
    if claimed and parse_subject(claimed) != own:
        raise PermissionDeniedError(
            f"Permission denied: on this socket you are {escape_text(own)}.", "Use a profile with this identity."
        )
    return parse_subject(own)


def account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if not authorization:
        raise AuthenticationError(
            "Authentication required.", "Send an access token as bearer token; see `sealyard token create`."
        )
    if scheme.lower() != "bearer" or not token.strip():
        raise invalid_token()
    return token.strip()


async def _no_op() -> None:
    return
