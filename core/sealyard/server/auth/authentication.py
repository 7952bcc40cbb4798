"""Who asks: the bearer of a token, or whoever sits at this machine and reaches the workspace's own socket."""

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

SERVER_TRUST_NOTE = "on a server: people are authenticated, nobody approves what they asked for"
TOKEN_PREFIX = "sy_"  # noqa: S105
"""How our own begin; all others are an issuer's, where one is configured."""


class TokenClaims(Protocol):
    """What an access token of an issuer says."""

    @property
    def subject(self) -> str: ...
    @property
    def account(self) -> IssuerAccount: ...
    @property
    def machine(self) -> bool: ...
    @property
    def roles(self) -> tuple[str, ...]: ...
    @property
    def expires_at(self) -> datetime: ...


VerifyToken = Callable[[str], Awaitable[TokenClaims]]
"""Reads a foreign access token. Raises :class:`AuthenticationError`."""


class Authenticator:
    """Decides for each request who asks; nothing is remembered between two of them."""

    def __init__(
        self, tenants: TenantRegistry, limits: TokenBucketLimiter | None, verify: VerifyToken | None, largest_body: int
    ) -> None:
        """``limits``: for bearers of tokens, and for links. ``verify``: for tokens that are not ours, with an issuer
        configured.
        """
        self._tenants = tenants
        self._limits = limits
        self._verify = verify
        self._largest_body = largest_body

    async def authenticate(self, scope: Scope) -> Caller:
        """Raises :class:`AuthenticationError`, :class:`TooManyRequestsError`, :class:`PermissionDeniedError`.

        Whether a tenant is there is learned by nobody whom it does not know: the words and the status are the same.
        """
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        named = headers.get("x-se-tenant")
        peer = scope.get(PEER_SCOPE_KEY)
        if isinstance(peer, Peer):
            return self._local(peer.tenant, subject_for_uid(headers.get("x-se-subject"), peer.uid))
        bearer = _bearer(headers.get("authorization", ""))
        if self._verify is None or bearer.startswith(TOKEN_PREFIX):
            return await self._from_token(named, bearer)
        return await self._from_claims(named, bearer, self._verify)

    def _local(self, named: str, subject: str) -> Caller:
        tenant, host = self._tenants.find(named)
        return self._made(tenant, host, subject, machine=False, check=_nothing, shown=None)

    async def _from_token(self, named: str | None, bearer: str) -> Caller:
        tenant, host = self._tenants.find(named)
        token = await host.authenticate_token(bearer)
        self._rate_limit(tenant, token.subject)

        async def check() -> None:
            await host.authenticate_token(bearer)

        shown = PresentedToken(expires_at=token.expires_at)
        return self._made(tenant, host, token.subject, machine=token.is_machine, check=check, shown=shown)

    async def _from_claims(self, named: str | None, bearer: str, verify: VerifyToken) -> Caller:
        claims = await verify(bearer)
        # Whoever asks too often is told so of tenants that are not there, too.
        self._rate_limit(claims.account.issuer, claims.account.sub)
        tenant, host = self._tenants.find(named)
        await host.sign_in(claims.subject, claims.roles, claims.account)

        async def check() -> None:
            await verify(bearer)

        shown = PresentedToken(expires_at=claims.expires_at, external=True)
        return self._made(tenant, host, claims.subject, machine=claims.machine, check=check, shown=shown)

    def rate_limit_link(self, scope: Scope, result: str) -> None:
        """Nobody is known who follows a link: all who do, for one result, share what one subject may ask.

        At a workspace's own socket nobody is counted. Raises :class:`TooManyRequestsError`.
        """
        if not isinstance(scope.get(PEER_SCOPE_KEY), Peer):
            self._rate_limit("link", result)

    def _rate_limit(self, where: str, who: str) -> None:
        """``where``: a tenant, or an issuer, whose accounts are counted over all tenants."""
        if self._limits is not None:
            self._limits.acquire(f"{where} {who}")

    def _made(
        self,
        tenant: str,
        host: EngineHandle,
        subject: str,
        *,
        machine: bool,
        check: Callable[[], Awaitable[None]],
        shown: PresentedToken | None,
    ) -> Caller:
        return Caller(
            tenant=tenant,
            host=host,
            subject=subject,
            client=host.client(subject) if shown is None else host.client(subject, SERVER_TRUST_NOTE, shown),
            max_body_bytes=self._largest_body,
            revalidate=check,
            is_machine=machine or subject_kind(subject) is SubjectKind.CLIENT,
            is_local=shown is None,
        )


def subject_for_uid(named: str | None, uid: int) -> str:
    """At the workspace's own socket: its owner is believed, others are who the kernel says they are.

    Raises :class:`UsageError`, :class:`PermissionDeniedError`.
    """
    if uid == os.getuid():
        if not named:
            raise UsageError("It is not said who asks.", "Name the subject in the header X-SE-SUBJECT.")
        return parse_subject(named)
    own = f"{SubjectKind.USER}:{account_name(uid)}"
    if named and parse_subject(named) != own:
        raise PermissionDeniedError(f"At this socket you are {escape_text(own)}.", "Add a profile of that identity.")
    return parse_subject(own)


def account_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if not authorization:
        raise AuthenticationError("A token is needed.", "Send it as a bearer token; `sealyard token create` makes one.")
    if scheme.lower() != "bearer" or not token.strip():
        raise invalid_token()
    return token.strip()


async def _nothing() -> None:
    return
