"""A cache of the public keys of an OpenID Connect issuer, which fetches and refreshes them when necessary."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from sealyard.client.config.servers import is_secure_url
from sealyard.model.base import JSON_ERRORS
from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, IssuerUnreachableError, ServerUnreachableError, UsageError
from sealyard.model.safe_text import escape_text

T = TypeVar("T")

Fetch = Callable[[str], Awaitable[bytes]]
"""Function that fetches a URL with GET. Raises :class:`ServerUnreachableError` if there is no successful response."""

MIN_REFRESH_INTERVAL = timedelta(seconds=5)
"""Minimum time between two fetches. Limits how often unauthenticated clients can trigger one with unknown key ids."""

RETRY_INTERVAL = timedelta(seconds=1)
"""Minimum time between two fetches after a failed one, so that requests succeed soon after the issuer recovers."""

PROBE_INTERVAL = timedelta(seconds=30)
"""Minimum time after a successful fetch before a readiness check triggers another."""

FETCH_TIMEOUT = 4.0
"""Maximum duration of a fetch, in seconds. A hanging fetch delays the next one, which might succeed."""

RETRY_AFTER_SECONDS = 2.0
"""Seconds after which clients should retry a request that failed because the issuer is unreachable."""

MAX_AGE = timedelta(hours=1)
"""Age at which the keys are fetched again, so that a withdrawn key does not remain valid forever."""

MAX_KEYS = 100
"""Maximum number of keys of an issuer; any others are ignored."""

MIN_RSA_BITS = 2048
"""Minimum size of an RSA key (NIST SP 800-131A)."""

EPOCH = datetime.min.replace(tzinfo=UTC)
"""Value for the time of the last fetch before the first one."""

log = logging.getLogger(__name__)


class _Discovery(msgspec.Struct):
    """The members of a discovery document (OpenID Connect Discovery 1.0, section 3) that are used here."""

    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class JwksCache:
    """A cache for the keys of an issuer, for use on a single event loop.

    Each fetch replaces all keys, so that keys that the issuer has withdrawn are no longer accepted.
    """

    def __init__(self, issuer: str, jwks_uri: str, fetch: Fetch, clock: Clock) -> None:
        """Create an empty cache. If ``jwks_uri`` is empty, it is taken from the discovery document.

        Raises :class:`UsageError` if a URL is not secure (see :func:`is_secure_url`).
        """
        for url in filter(None, (issuer, jwks_uri)):
            if not is_secure_url(url):
                raise UsageError(f"Insecure URL {escape_text(url)}.", "Use https to fetch the issuer's keys.")
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._fetched_at = EPOCH
        self._refreshed_at = EPOCH
        self._is_reachable = True
        self._refresh_task: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> Key:
        """Return the key with this id, fetching the keys if it is not cached.

        Cached keys stay usable while the issuer is unreachable. Raises :class:`AuthenticationError` if the issuer
        publishes no such key, and :class:`IssuerUnreachableError` if the key is not cached and the last fetch failed.
        """
        if kid not in self._keys:
            await self._refresh()
        elif self._clock.now() >= self._fetched_at + MAX_AGE:
            self._start_refresh()
        if (key := self._keys.get(kid)) is not None:
            return key
        if self._is_reachable:
            raise AuthenticationError(
                "Unknown signing key: the issuer does not publish the token's key.", "Get a new token."
            )
        raise IssuerUnreachableError(
            "Cannot verify the token: its issuer is unreachable.", "Try again later.", retry_after=RETRY_AFTER_SECONDS
        )

    async def is_reachable(self) -> bool:
        """Return whether the last fetch succeeded. Fetches the keys first unless they were fetched recently."""
        if not self._is_reachable or self._clock.now() >= self._fetched_at + PROBE_INTERVAL:
            await self._refresh()
        return self._is_reachable

    async def _refresh(self) -> None:
        refresh_task = self._start_refresh()
        if refresh_task is not None:
            # Several requests share the fetch: cancelling one of them must not cancel the fetch for the others.
            await asyncio.shield(refresh_task)

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """Return the task that fetches the keys, starting one if none is running.

        Returns None if the last fetch started too recently (see MIN_REFRESH_INTERVAL and RETRY_INTERVAL).
        """
        now = self._clock.now()
        if self._refresh_task is not None and not self._refresh_task.done():
            return self._refresh_task
        if now - self._refreshed_at < (MIN_REFRESH_INTERVAL if self._is_reachable else RETRY_INTERVAL):
            return None
        self._refreshed_at = now
        self._refresh_task = asyncio.create_task(self._fetch_keys())
        return self._refresh_task

    async def _fetch_keys(self) -> None:
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                jwks_uri = self._jwks_uri or await self._discover_jwks_uri()
                keys = _import_keys((await self._fetch_json(jwks_uri, _KeySet)).keys)
        except Exception as error:
            # Not just SealyardError: httpx raises several other exceptions for invalid proxy settings.
            self._is_reachable = False
            log.warning("cannot fetch the keys of issuer %s: %s", self._issuer, str(error) or type(error).__name__)
            return
        self._keys, self._fetched_at, self._is_reachable = keys, self._clock.now(), True
        log.info("fetched the keys of issuer %s: %d usable", self._issuer, len(keys))

    async def _discover_jwks_uri(self) -> str:
        url = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        discovery = await self._fetch_json(url, _Discovery)
        if discovery.issuer != self._issuer:
            raise ServerUnreachableError(
                f"Wrong issuer in the discovery document: {escape_text(discovery.issuer, 200)}."
            )
        if not is_secure_url(discovery.jwks_uri):
            raise ServerUnreachableError(f"Insecure URL of the issuer's keys: {escape_text(discovery.jwks_uri, 200)}.")
        return discovery.jwks_uri

    async def _fetch_json(self, url: str, document_type: type[T]) -> T:
        try:
            return msgspec.json.decode(await self._fetch(url), type=document_type)
        except JSON_ERRORS as error:
            raise ServerUnreachableError(f"Invalid response from {escape_text(url)}.") from error


def _import_keys(jwks: Iterable[dict[str, Any]]) -> dict[str, Key]:
    """Return the supported signing keys by key id. Skips keys without an id, and all after the first MAX_KEYS."""
    keys: dict[str, Key] = {}
    for jwk in list(jwks)[:MAX_KEYS]:
        kid = jwk.get("kid")
        key = _import_key(jwk)
        if isinstance(kid, str) and kid not in keys and key is not None:
            keys[kid] = key
    return keys


def _import_key(jwk: dict[str, Any]) -> Key | None:
    if jwk.get("kty") not in (RSAKey.key_type, ECKey.key_type, OKPKey.key_type):
        return None
    if jwk.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(jwk)
    except Exception:  # joserfc raises undocumented exceptions
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return None
    return key
