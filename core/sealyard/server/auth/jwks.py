"""The public keys of an issuer of access tokens: where its discovery document says, kept, and looked for again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from joserfc.jwk import ECKey, JWKRegistry, Key, OKPKey, RSAKey

from sealyard.model.clock import Clock
from sealyard.model.errors import AuthenticationError, SealyardError, ServerUnreachableError, UsageError
from sealyard.model.safe_text import escape_text
from sealyard.server.http.listeners import is_loopback

T = TypeVar("T")

Fetch = Callable[[str], Awaitable[bytes]]
"""GETs a URL. Raises :class:`ServerUnreachableError`."""

MIN_REFRESH_INTERVAL = timedelta(seconds=30)
"""At least so long between two looks, however many unknown keys are named meanwhile: whoever names one pays nothing."""

MAX_AGE = timedelta(hours=1)
"""From this age on the keys are looked for again, so that one withdrawn is not believed for ever."""

MAX_KEYS = 100
MIN_RSA_BITS = 2048
"""Bits (NIST SP 800-131A)."""

EPOCH = datetime.min.replace(tzinfo=UTC)

log = logging.getLogger(__name__)


class _Discovery(msgspec.Struct):
    """Of the provider's metadata (OpenID Connect Discovery 1.0, section 3) what is used."""

    issuer: str
    jwks_uri: str


class _KeySet(msgspec.Struct):
    """A JWK Set (RFC 7517, section 5)."""

    keys: list[dict[str, Any]]


class JwksCache:
    """Those of the newest look only: what the issuer has withdrawn is dropped. Lives on one event loop."""

    def __init__(self, issuer: str, jwks_uri: str, fetch: Fetch, clock: Clock) -> None:
        """``jwks_uri`` may be empty: then it is discovered. Raises :class:`UsageError` for URLs that are not safe."""
        for url in filter(None, (issuer, jwks_uri)):
            if not is_secure_url(url):
                raise UsageError(
                    f"{escape_text(url)} can be changed by anybody on the way.", "Keys are fetched by https only."
                )
        self._issuer = issuer
        self._jwks_uri = jwks_uri
        self._fetch = fetch
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._found_at = EPOCH
        self._looked_at = EPOCH
        self._reachable = True
        self._looking: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> Key:
        """Known keys work while the issuer is away. Raises :class:`AuthenticationError` for any other."""
        if kid not in self._keys:
            await self._refresh()
        elif self._clock.now() >= self._found_at + MAX_AGE:
            self._start_refresh()
        if (found := self._keys.get(kid)) is not None:
            return found
        if self._reachable:
            raise AuthenticationError("The token's key is none that its issuer publishes.", "Get a new token.")
        raise AuthenticationError(
            "The issuer of the token cannot be reached, so the token cannot be checked.", "Try again in a moment."
        )

    async def _refresh(self) -> None:
        looking = self._start_refresh()
        if looking is not None:
            # Shared: whoever gives up takes it from nobody.
            await asyncio.shield(looking)

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """The look that goes on, or a new one; None where the last one is too recent."""
        now = self._clock.now()
        if self._looking is not None and not self._looking.done():
            return self._looking
        if now - self._looked_at < MIN_REFRESH_INTERVAL:
            return None
        self._looked_at = now
        self._looking = asyncio.create_task(self._fetch_keys())
        return self._looking

    async def _fetch_keys(self) -> None:
        try:
            keys = _usable_keys((await self._read(self._jwks_uri or await self._discovered(), _KeySet)).keys)
        except SealyardError as error:
            self._reachable = False
            log.warning("the keys of the issuer %s cannot be had: %s", self._issuer, error)
            return
        self._keys, self._found_at, self._reachable = keys, self._clock.now(), True
        log.info("the issuer %s publishes %d keys that can be used", self._issuer, len(keys))

    async def _discovered(self) -> str:
        place = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._read(place, _Discovery)
        if found.issuer != self._issuer:
            raise ServerUnreachableError(f"Its discovery document is that of {escape_text(found.issuer, 200)}.")
        if not is_secure_url(found.jwks_uri):
            raise ServerUnreachableError(f"Its keys at {escape_text(found.jwks_uri, 200)} can be changed on the way.")
        return found.jwks_uri

    async def _read(self, url: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(await self._fetch(url), type=kind)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ServerUnreachableError(f"{escape_text(url)} does not answer with what it should.") from error


def is_secure_url(url: str) -> bool:
    """By https, or to this very machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)))


def _usable_keys(published: Iterable[dict[str, Any]]) -> dict[str, Key]:
    """By key id. What is not for signatures, has no id, or is of no kind that we know is passed over."""
    found: dict[str, Key] = {}
    for each in list(published)[:MAX_KEYS]:
        kid = each.get("kid")
        key = _imported(each)
        if isinstance(kid, str) and kid not in found and key is not None:
            found[kid] = key
    return found


def _imported(published: dict[str, Any]) -> Key | None:
    if published.get("kty") not in (RSAKey.key_type, ECKey.key_type, OKPKey.key_type):
        return None
    if published.get("use", "sig") != "sig":
        return None
    try:
        key = JWKRegistry.import_key(published)
    except Exception:  # the library raises more kinds than it documents
        return None
    if isinstance(key, RSAKey) and key.public_key.key_size < MIN_RSA_BITS:
        return None
    return key
