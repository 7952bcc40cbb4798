"""Tests of the JWKS cache: which published keys it accepts, and from which URLs."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from sealyard.model.errors import AuthenticationError, IssuerUnreachableError, ServerUnreachableError
from sealyard.server.auth import jwks
from sealyard.server.auth.jwks import MAX_KEYS, JwksCache

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.example/realm"


class FrozenClock:
    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    def monotonic(self) -> float:
        return 0.0

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("unexpected sleep")


def create_cache(documents: dict[str, Any]) -> JwksCache:
    async def fetch(url: str) -> bytes:
        if url not in documents:
            raise ServerUnreachableError("Connection refused.")
        document = documents[url]
        return document if isinstance(document, bytes) else msgspec.json.encode(document)

    return JwksCache(ISSUER, "", fetch, FrozenClock())


def create_cache_of_keys(*keys: Any) -> JwksCache:
    discovery = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
    return create_cache(
        {f"{ISSUER}/.well-known/openid-configuration": discovery, "https://issuer.example/keys": {"keys": list(keys)}}
    )


def public_jwk(key: RSAKey | ECKey | OKPKey, kid: str = "k", **members: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, **members}


def generate_short_rsa_key() -> RSAKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(1024)


@pytest.mark.parametrize("kind", [RSAKey, ECKey, OKPKey])
async def test_signature_key_is_loaded(kind: type[RSAKey | ECKey | OKPKey]) -> None:
    key = kind.generate_key()
    for members in ({}, {"use": "sig"}, {"alg": "RS256"}):
        assert (await create_cache_of_keys(public_jwk(key, **members)).key("k")).thumbprint() == key.thumbprint()


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_unusable_keys_are_skipped() -> None:
    good = ECKey.generate_key("P-256")
    unusable = [
        {**OctKey.generate_key(256).as_dict(private=True), "kid": "k"},
        public_jwk(good, use="enc"),
        {**public_jwk(good), "kid": 7},
        good.as_dict(private=False),
        public_jwk(generate_short_rsa_key()),
        {"kty": "RSA", "kid": "k", "n": "AQAB"},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": ["EC"], "kid": "k"},
        {"kty": "PQC", "kid": "k"},
        {},
    ]
    for each in unusable:
        keys = create_cache_of_keys(each, public_jwk(good, "good"))
        with pytest.raises(AuthenticationError):
            await keys.key("k")
        assert await keys.key("good")


async def test_duplicate_key_id_returns_first_key() -> None:
    first, second = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    assert (
        await create_cache_of_keys(public_jwk(first), public_jwk(second)).key("k")
    ).thumbprint() == first.thumbprint()


async def test_keys_above_limit_are_ignored() -> None:
    key = ECKey.generate_key("P-256")
    keys = create_cache_of_keys(*(public_jwk(key, str(number)) for number in range(MAX_KEYS + 1)))
    assert await keys.key(str(MAX_KEYS - 1))
    with pytest.raises(AuthenticationError):
        await keys.key(str(MAX_KEYS))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{", b"\xff", b'{"keys": 1}', b'{"keys": [1]}', b"[" * 20_000, {"issuer": ISSUER}]
)
async def test_malformed_document_makes_issuer_unreachable(document: Any) -> None:
    good = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
    discovery = f"{ISSUER}/.well-known/openid-configuration"
    for documents in ({discovery: document}, {discovery: good, "https://issuer.example/keys": document}):
        with pytest.raises(IssuerUnreachableError, match="unreachable"):
            await create_cache(documents).key("k")


@pytest.mark.parametrize("jwks_uri", ["http://issuer.example/keys", "file:///etc/passwd", "", "//issuer.example"])
async def test_insecure_jwks_uri_is_rejected(jwks_uri: str) -> None:
    discovery = {"issuer": ISSUER, "jwks_uri": jwks_uri}
    keys = {"keys": [public_jwk(ECKey.generate_key("P-256"))]}
    with pytest.raises(IssuerUnreachableError, match="unreachable"):
        await create_cache({f"{ISSUER}/.well-known/openid-configuration": discovery, jwks_uri: keys}).key("k")


def test_retry_interval_allows_recovery_within_five_seconds() -> None:
    assert jwks.RETRY_INTERVAL + timedelta(seconds=jwks.FETCH_TIMEOUT) <= timedelta(seconds=5)
