"""Of what an issuer publishes, only keys that sign tokens are kept."""

from __future__ import annotations

import warnings
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from sealyard.model.errors import AuthenticationError, ServerUnreachableError
from sealyard.server.auth.jwks import MAX_KEYS, JwksCache, is_secure_url

pytestmark = pytest.mark.anyio

ISSUER = "https://issuer.example/realm"


class Still:
    def now(self) -> datetime:
        return datetime(2026, 11, 23, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


def keys_of(documents: dict[str, Any]) -> JwksCache:
    async def fetch(url: str) -> bytes:
        if url not in documents:
            raise ServerUnreachableError("Nobody is there.")
        found = documents[url]
        return found if isinstance(found, bytes) else msgspec.json.encode(found)

    return JwksCache(ISSUER, "", fetch, Still())


def publishing(*keys: Any) -> JwksCache:
    discovery = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
    return keys_of(
        {f"{ISSUER}/.well-known/openid-configuration": discovery, "https://issuer.example/keys": {"keys": list(keys)}}
    )


def public(key: RSAKey | ECKey | OKPKey, kid: str = "k", **more: Any) -> dict[str, Any]:
    return {**key.as_dict(private=False), "kid": kid, **more}


def short_rsa() -> RSAKey:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return RSAKey.generate_key(1024)


@pytest.mark.parametrize("kind", [RSAKey, ECKey, OKPKey])
async def test_a_key_for_signatures_is_kept(kind: type[RSAKey | ECKey | OKPKey]) -> None:
    key = kind.generate_key()
    for more in ({}, {"use": "sig"}, {"alg": "RS256"}):
        assert (await publishing(public(key, **more)).key("k")).thumbprint() == key.thumbprint()


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
async def test_what_is_no_key_for_signatures_is_passed_over_and_the_others_kept() -> None:
    good = ECKey.generate_key("P-256")
    odd = [
        {**OctKey.generate_key(256).as_dict(private=True), "kid": "k"},
        public(good, use="enc"),
        {**public(good), "kid": 7},
        good.as_dict(private=False),
        public(short_rsa()),
        {"kty": "RSA", "kid": "k", "n": "AQAB"},
        {"kty": "EC", "kid": "k", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": ["EC"], "kid": "k"},
        {"kty": "PQC", "kid": "k"},
        {},
    ]
    for each in odd:
        keys = publishing(each, public(good, "good"))
        with pytest.raises(AuthenticationError):
            await keys.key("k")
        assert await keys.key("good")


async def test_of_two_keys_under_one_name_the_first_counts() -> None:
    first, second = ECKey.generate_key("P-256"), ECKey.generate_key("P-256")
    assert (await publishing(public(first), public(second)).key("k")).thumbprint() == first.thumbprint()


async def test_only_so_many_keys_are_read() -> None:
    key = ECKey.generate_key("P-256")
    keys = publishing(*(public(key, str(number)) for number in range(MAX_KEYS + 1)))
    assert await keys.key(str(MAX_KEYS - 1))
    with pytest.raises(AuthenticationError):
        await keys.key(str(MAX_KEYS))


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{", b"\xff", b'{"keys": 1}', b'{"keys": [1]}', b"[" * 20_000, {"issuer": ISSUER}]
)
async def test_odd_documents_are_as_good_as_none(document: Any) -> None:
    good = {"issuer": ISSUER, "jwks_uri": "https://issuer.example/keys"}
    discovery = f"{ISSUER}/.well-known/openid-configuration"
    for documents in ({discovery: document}, {discovery: good, "https://issuer.example/keys": document}):
        with pytest.raises(ServerUnreachableError, match="unreachable"):
            await keys_of(documents).key("k")


@pytest.mark.parametrize("place", ["http://issuer.example/keys", "file:///etc/passwd", "", "//issuer.example"])
async def test_keys_are_not_fetched_from_where_they_could_be_changed_on_the_way(place: str) -> None:
    discovery = {"issuer": ISSUER, "jwks_uri": place}
    keys = {"keys": [public(ECKey.generate_key("P-256"))]}
    with pytest.raises(ServerUnreachableError, match="unreachable"):
        await keys_of({f"{ISSUER}/.well-known/openid-configuration": discovery, place: keys}).key("k")


@pytest.mark.parametrize("url", ["http://[", "http://", "https://", "http://10.0.0.1", "http://localhost.example"])
def test_what_is_not_safe_is_told(url: str) -> None:
    assert not is_secure_url(url)
