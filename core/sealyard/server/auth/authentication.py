"""Authentication of requests by bearer token, or by the peer's user id on the Unix socket of a workspace."""

from __future__ import annotations

import dataclasses
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
"""Prefix of access tokens that Sealyard itself issues.

If an OpenID Connect issuer is configured, tokens without this prefix are verified as issuer tokens.
"""


class TokenClaims(Protocol):
    """The claims of an access token of an OpenID Connect issuer.

    ``tenants``: names of the tenants that accept the token; empty if all do.
    """

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
    @property
    def tenants(self) -> frozenset[str]: ...


VerifyToken = Callable[[str], Awaitable[TokenClaims]]
"""Function that verifies an access token of an OpenID Connect issuer and returns its claims.

Raises :class:`AuthenticationError` if it is invalid, and :class:`IssuerUnreachableError` if it cannot be verified now.
"""


class Authenticator:
    """Authenticator that determines the caller of each request. It keeps no sessions."""

    def __init__(
        self,
        tenants: TenantRegistry,
        limiter: TokenBucketLimiter | None,
        verify: VerifyToken | None,
        max_body_bytes: int,
    ) -> None:
        """Create an authenticator for the callers of ``tenants``.

        ``limiter``: rate limit for requests with a token or a download link; None for no limit. ``verify``: function
        that verifies tokens of the OpenID Connect issuers; None if no issuer is configured. ``max_body_bytes``: maximum
        size of an upload.
        """
        self._tenants = tenants
        self._limiter = limiter
        self._verify = verify
        self._max_body_bytes = max_body_bytes

    async def authenticate(self, scope: Scope) -> Caller:
        """Authenticate a request, and return its caller.

        Raises :class:`AuthenticationError` if the token is missing or invalid or the tenant is unknown (with the same
        message, so that tenants cannot be enumerated), :class:`IssuerUnreachableError` if the token cannot be verified
        now, :class:`TooManyRequestsError` if the rate limit is exceeded, :class:`PermissionDeniedError` if the caller
        may not act as the subject, and :class:`UsageError` if the request does not name a required tenant or subject.
        """
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        tenant = headers.get("x-se-tenant")
        peer = scope.get(PEER_SCOPE_KEY)
        if isinstance(peer, Peer):
            return self._authenticate_peer(peer, headers.get("x-se-subject"))
        bearer_token = _parse_bearer_token(headers.get("authorization", ""))
        if self._verify is None or bearer_token.startswith(TOKEN_PREFIX):
            return await self._authenticate_own_token(tenant, bearer_token)
        return await self._authenticate_issuer_token(tenant, bearer_token, self._verify)

    def _authenticate_peer(self, peer: Peer, claimed_subject: str | None) -> Caller:
        subject = subject_for_uid(claimed_subject, peer.uid)
        tenant, engine_handle = self._tenants.find(peer.tenant)
        caller = self._create_caller(
            tenant, engine_handle, subject, is_machine=False, revalidate=_no_op, presented_token=None
        )
        return dataclasses.replace(caller, can_act_as_others=peer.uid == os.getuid())

    async def _authenticate_own_token(self, tenant_name: str | None, bearer_token: str) -> Caller:
        tenant, engine_handle = self._tenants.find(tenant_name)
        access_token = await engine_handle.authenticate_token(bearer_token)
        self._rate_limit(tenant, access_token.subject)

        async def revalidate() -> None:
            await engine_handle.authenticate_token(bearer_token)

        presented_token = PresentedToken(expires_at=access_token.expires_at)
        return self._create_caller(
            tenant,
            engine_handle,
            access_token.subject,
            is_machine=access_token.is_machine,
            revalidate=revalidate,
            presented_token=presented_token,
        )

    async def _authenticate_issuer_token(
        self, tenant_name: str | None, bearer_token: str, verify: VerifyToken
    ) -> Caller:
        claims = await verify(bearer_token)
        # Count the request before looking up the tenant, so that requests for unknown tenants are limited too.
        self._rate_limit(claims.account.issuer, claims.account.sub)
        tenant, engine_handle = self._tenants.find(tenant_name)
        if claims.tenants and tenant not in claims.tenants:
            raise invalid_token()
        await engine_handle.sign_in(claims.subject, claims.roles, claims.account)

        async def revalidate() -> None:
            await verify(bearer_token)

        presented_token = PresentedToken(expires_at=claims.expires_at, external=True)
        return self._create_caller(
            tenant,
            engine_handle,
            claims.subject,
            is_machine=claims.is_machine,
            revalidate=revalidate,
            presented_token=presented_token,
        )

    def rate_limit_link(self, scope: Scope, result: str) -> None:
        """Count a download through a signed link against the rate limit.

        ``result``: workspace id and task id of the downloaded result. Links require no authentication, so all clients
        that download the same result share one limit. Requests over the Unix socket of a workspace are not counted.
        Raises :class:`TooManyRequestsError` if the limit is exceeded.
        """
        if not isinstance(scope.get(PEER_SCOPE_KEY), Peer):
            self._rate_limit("link", result)

    def _rate_limit(self, namespace: str, name: str) -> None:
        """Count a request against the rate limit of ``name``.

        ``name``: a subject, an account at an issuer, or a downloaded result. ``namespace``: the tenant of the subject,
        the issuer of the account, or ``link``. An account has a single limit across all tenants. Raises
        :class:`TooManyRequestsError` if the limit is exceeded.
        """
        if self._limiter is not None:
            self._limiter.acquire(f"{namespace} {name}")

    def _create_caller(
        self,
        tenant: str,
        engine_handle: EngineHandle,
        subject: str,
        *,
        is_machine: bool,
        revalidate: Callable[[], Awaitable[None]],
        presented_token: PresentedToken | None,
    ) -> Caller:
        is_local = presented_token is None
        return Caller(
            tenant=tenant,
            engine_handle=engine_handle,
            subject=subject,
            client=engine_handle.client(subject)
            if is_local
            else engine_handle.client(subject, SERVER_TRUST_NOTE, presented_token),
            max_body_bytes=self._max_body_bytes,
            revalidate=revalidate,
            is_machine=is_machine or subject_kind(subject) is SubjectKind.CLIENT,
            is_local=is_local,
        )


def subject_for_uid(claimed_subject: str | None, uid: int) -> str:
    """Return the subject that a peer on the Unix socket of a workspace acts as.

    ``claimed_subject``: the subject that the request names. ``uid``: user id of the peer, as reported by the kernel.
    The user that runs this process can act as any subject; other users act as the subject of their own account.

    Raises :class:`UsageError` if the subject is missing or invalid, and :class:`PermissionDeniedError` if a user claims
    the subject of another account.
    """
    if uid == os.getuid():
        if not claimed_subject:
            raise UsageError("No subject selected.", "Name the subject in the header X-SE-SUBJECT.")
        return parse_subject(claimed_subject)
    own_subject = f"{SubjectKind.USER}:{account_name(uid)}"
    if claimed_subject and parse_subject(claimed_subject) != own_subject:
        raise PermissionDeniedError(
            f"Permission denied: on this socket you are {escape_text(own_subject)}.",
            "Use a profile with this identity.",
        )
    return parse_subject(own_subject)


def account_name(uid: int) -> str:
    """Return the account name of a user id, or the number itself if there is no such account."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _parse_bearer_token(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if not authorization:
        raise AuthenticationError("Authentication required.", "Send an access token as a bearer token.")
    if scheme.lower() != "bearer" or not token.strip():
        raise invalid_token()
    return token.strip()


async def _no_op() -> None:
    return
