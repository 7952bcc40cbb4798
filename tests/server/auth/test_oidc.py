"""Tests of the OIDC verifier: claims, roles, rejected tokens, signing keys and settings."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import RSAKey

from sealyard.client.http.documents import fetch_document
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import (
    AuthenticationError,
    IssuerUnreachableError,
    SealyardError,
    ServerUnreachableError,
    UsageError,
)
from sealyard.server.auth import jwks
from sealyard.server.auth.jwks import MAX_AGE, MIN_REFRESH_INTERVAL, PROBE_INTERVAL, RETRY_INTERVAL
from sealyard.server.auth.oidc import MAX_TOKEN_LENGTH, OidcClaims, OidcVerifier
from sealyard.server.settings import OidcSettings
from tests.support.extent import scale_examples
from tests.support.limits import TIMEOUT
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, run_issuer

pytestmark = pytest.mark.anyio


class ShiftedClock:
    """Real time plus an offset set by the test."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.offset

    def monotonic(self) -> float:
        return self.now().timestamp()

    def boot_id(self) -> str | None:
        return None

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("unexpected sleep")


@pytest.fixture(scope="module")
def issuer_process() -> Iterator[OidcIssuer]:
    with run_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(issuer_process: OidcIssuer) -> OidcIssuer:
    issuer_process.configure(begin=True)
    return issuer_process


@pytest.fixture
def clock() -> ShiftedClock:
    return ShiftedClock()


@pytest.fixture
def verifier(issuer: OidcIssuer, clock: ShiftedClock) -> OidcVerifier:
    return create_verifier(issuer, clock)


def create_verifier(issuer: OidcIssuer, clock: ShiftedClock | None = None, **overrides: Any) -> OidcVerifier:
    oidc_settings = OidcSettings(**{"issuer": issuer.url, "audience": AUDIENCE, **overrides})
    return OidcVerifier(oidc_settings, fetch_document, clock or ShiftedClock())


async def rejection_message(
    verifier: OidcVerifier, token: str, error_type: type[SealyardError] = AuthenticationError
) -> str:
    """Return the error message of the rejected token, and check that it does not disclose the token."""
    with pytest.raises(error_type) as error:
        await verifier.verify(token)
    message = str(error.value)
    assert message.isprintable()
    assert all(len(part) < 8 or part not in message for part in token.split("."))
    return message


def build_token(header: dict[str, Any], token_claims: dict[str, Any], secret: bytes | None = None) -> str:
    """Build a token that JWT libraries refuse to create; without `secret` its signature is empty."""
    signing_input = b".".join(encode_base64url(msgspec.json.encode(each)) for each in (header, token_claims))
    signature = hmac.digest(secret, signing_input, hashlib.sha256) if secret is not None else b""
    return (signing_input + b"." + encode_base64url(signature)).decode()


def encode_base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# ---- identity


@pytest.mark.parametrize("key", ["rsa", "ec", "okp"])
async def test_valid_token_returns_claims(issuer: OidcIssuer, verifier: OidcVerifier, key: str) -> None:
    expires = int(datetime.now(UTC).timestamp()) + 300
    token = issuer.token(key=key, roles=["devs", "owners"], exp=expires)
    assert await verifier.verify(token) == OidcClaims(
        subject="USER:anna",
        account=IssuerAccount(issuer=issuer.url, sub="5d0c6a0e"),
        roles=("devs", "owners"),
        is_machine=False,
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "application/at+JWT", None])
async def test_access_token_types_are_accepted(issuer: OidcIssuer, verifier: OidcVerifier, typ: str | None) -> None:
    assert (await verifier.verify(issuer.token(header={"typ": typ}))).subject == "USER:anna"


async def test_audience_list_containing_own_is_accepted(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    assert await verifier.verify(issuer.token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize(
    "token_claims",
    [
        pytest.param({"sub": "ci", "client_id": "ci", "preferred_username": None}, id="RFC 9068"),
        pytest.param({"sub": "ci", "azp": "ci", "preferred_username": None}, id="azp"),
        pytest.param({"client_id": "ci", "preferred_username": "service-account-ci"}, id="Keycloak"),
        pytest.param({"azp": "ci", "preferred_username": "service-account-ci"}, id="Keycloak by azp"),
    ],
)
async def test_client_credentials_token_is_machine(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any]
) -> None:
    claims = await verifier.verify(issuer.token(**token_claims))
    assert (claims.subject, claims.is_machine) == ("CLIENT:ci", True)


@pytest.mark.parametrize(
    "token_claims",
    [
        pytest.param({"azp": "ci", "idtyp": "app"}, id="Entra ID"),
        pytest.param({"appid": "ci", "idtyp": "app"}, id="Entra ID, version 1"),
        pytest.param({"azp": "ci", "gty": "client-credentials"}, id="Auth0"),
        pytest.param({"azp": "ci", "sub": "ci@clients"}, id="Auth0 by sub"),
    ],
)
@pytest.mark.parametrize("subject_claim", ["sub", "preferred_username"])
async def test_machine_marker_overrides_subject_claim(
    issuer: OidcIssuer, token_claims: dict[str, Any], subject_claim: str
) -> None:
    verifier = create_verifier(
        issuer, subject_claim=subject_claim, client_claim="appid" if "appid" in token_claims else "client_id"
    )
    claims = await verifier.verify(issuer.token(**token_claims))
    assert (claims.subject, claims.is_machine) == ("CLIENT:ci", True)


@pytest.mark.parametrize("marker", [{"idtyp": "app"}, {"gty": "client-credentials"}])
@pytest.mark.parametrize("client", [None, "", 7])
async def test_machine_without_client_id_is_rejected(
    issuer: OidcIssuer, marker: dict[str, Any], client: object
) -> None:
    verifier = create_verifier(issuer, subject_claim="sub")
    assert "client_id" in await rejection_message(verifier, issuer.token(azp=client, **marker))


@pytest.mark.parametrize("token_claims", [{"idtyp": "user"}, {"gty": "password"}, {"sub": "other@clients"}])
async def test_human_markers_give_human_subject(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any]
) -> None:
    claims = await verifier.verify(issuer.token(**token_claims))
    assert (claims.subject, claims.is_machine) == ("USER:anna", False)


@pytest.mark.parametrize("token_claims", [{"client_id": "web"}, {"azp": "web"}, {"client_id": "web", "azp": "web"}])
async def test_human_signed_in_via_client_stays_human(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any]
) -> None:
    claims = await verifier.verify(issuer.token(**token_claims))
    assert (claims.subject, claims.is_machine) == ("USER:anna", False)


@pytest.mark.parametrize("token_claims", [{"client_id": "web"}, {"sub": "anna"}, {}])
async def test_missing_subject_claim_is_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any]
) -> None:
    message = await rejection_message(verifier, issuer.token(**{"preferred_username": None, **token_claims}))
    assert "preferred_username" in message


@pytest.mark.parametrize("sub", [None, "", 7, ["a1"], "x" * 256, "änna", "a\n1"])
@pytest.mark.parametrize("token_claims", [{}, {"preferred_username": "service-account-web"}])
async def test_invalid_sub_is_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, sub: object, token_claims: dict[str, Any]
) -> None:
    assert "sub" in await rejection_message(verifier, issuer.token(sub=sub, **token_claims))


@pytest.mark.parametrize("sub", ["a1", "A1", "auth0|5f7c", "x" * 255, "a b"])
async def test_sub_is_kept_unchanged(issuer: OidcIssuer, verifier: OidcVerifier, sub: str) -> None:
    assert (await verifier.verify(issuer.token(sub=sub))).account == IssuerAccount(issuer=issuer.url, sub=sub)


async def test_subject_claim_is_configurable(issuer: OidcIssuer) -> None:
    by_sub = create_verifier(issuer, subject_claim="sub")
    assert (await by_sub.verify(issuer.token())).subject == "USER:5d0c6a0e"


@pytest.mark.parametrize(
    "name", ["", "a b", "änna", "anna\u200b", "a:b", "GROUP:devs", "x" * 65, ".anna", "anna/..", " anna", 7, ["anna"]]
)
async def test_invalid_subject_name_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier, name: object) -> None:
    await rejection_message(verifier, issuer.token(preferred_username=name))


async def test_subject_names_are_kept_unchanged(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    names = ["anna", "Anna", "ANNA", "anna@factory.example", "anna+1", "a-n_n.a"]
    claims = [(await verifier.verify(issuer.token(preferred_username=each))).subject for each in names]
    assert claims == [f"USER:{each}" for each in names]


# ---- roles


@pytest.mark.parametrize(
    ("path", "token_claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["devs"]}}),
        ("https://factory.example/roles", {"https://factory.example/roles": ["devs"]}),
        ("a.b", {"a.b": ["devs"], "a": {"b": ["owners"]}}),
        ("roles", {"roles": "devs"}),
    ],
)
async def test_roles_claim_path_is_resolved(issuer: OidcIssuer, path: str, token_claims: dict[str, Any]) -> None:
    claims = await create_verifier(issuer, roles_claim=path).verify(issuer.token(**token_claims))
    assert claims.roles == ("devs",)


@pytest.mark.parametrize(
    "token_claims", [{"roles": None}, {"roles": []}, {"roles": None, "realm_access": {"roles": ["a"]}}]
)
async def test_missing_roles_give_no_roles(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any]
) -> None:
    assert (await verifier.verify(issuer.token(**token_claims))).roles == ()


@pytest.mark.parametrize("path", ["realm_access.roles", "realm_access.roles.more", "azp.roles"])
async def test_unresolvable_roles_path_gives_no_roles(issuer: OidcIssuer, path: str) -> None:
    verifier = create_verifier(issuer, roles_claim=path)
    assert (await verifier.verify(issuer.token(realm_access=["odd"]))).roles == ()


@pytest.mark.parametrize("roles", [{"devs": True}, 7, True, ["devs", 7], [["devs"]]])
async def test_malformed_roles_are_rejected(issuer: OidcIssuer, verifier: OidcVerifier, roles: object) -> None:
    assert "roles" in await rejection_message(verifier, issuer.token(roles=roles))


async def test_unmapped_groups_give_no_roles(issuer: OidcIssuer) -> None:
    verifier = create_verifier(issuer, groups={"fw-owners": "owners", "fw-all": "owners"})
    claims = await verifier.verify(issuer.token(roles=["fw-owners", "fw-all", "owners", "devs"]))
    assert claims.roles == ("owners",)


# ---- rejected tokens


@pytest.mark.parametrize(
    ("token_claims", "message"),
    [
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": {"sealyard": 1}}, "aud"),
        ({"exp": None}, "exp"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": True}, "exp"),
        ({"exp": 1}, "expired"),
        ({"exp": 10**400}, ""),
        ({"exp": 1e300}, ""),
        ({"nbf": 4102444800}, "nbf"),
        ({"nbf": "now"}, "nbf"),
        ({"iat": 4102444800}, "iat"),
        ({"typ": "ID"}, "Not an access token"),
        ({"typ": "Refresh"}, "Not an access token"),
    ],
)
async def test_invalid_claim_is_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, token_claims: dict[str, Any], message: str
) -> None:
    assert message in await rejection_message(verifier, issuer.token(**token_claims))


async def test_clock_skew_within_leeway_is_accepted(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    now = datetime.now(UTC).timestamp()
    token = issuer.token(exp=int(now) + 60, nbf=int(now) - 60, iat=None)
    for seconds, accepted in ((-120, False), (-80, True), (80, True), (120, False)):
        clock.offset = timedelta(seconds=seconds)
        if accepted:
            assert await verifier.verify(token)
        else:
            await rejection_message(verifier, token)


@pytest.mark.parametrize(
    "header", [{"typ": "ID"}, {"typ": "logout+jwt"}, {"kid": None}, {"cty": "JWT", "typ": "secevent+jwt"}]
)
async def test_header_of_other_token_type_is_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, header: dict[str, Any]
) -> None:
    await rejection_message(verifier, issuer.token(header=header))


@pytest.mark.parametrize("alg", ["PS256", "RS256"])
async def test_algorithm_not_allowed_is_rejected(issuer: OidcIssuer, alg: str) -> None:
    verifier = create_verifier(issuer, algorithms="ES256")
    assert "algorithm of the token not allowed" in await rejection_message(verifier, issuer.token(header={"alg": alg}))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
@pytest.mark.parametrize("kid", ["rsa-1", None])
async def test_unsigned_token_is_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, alg: str, kid: str | None
) -> None:
    header = {"alg": alg, "typ": "JWT"} | ({"kid": kid} if kid else {})
    await rejection_message(verifier, build_token(header, issuer.claims()))


async def test_public_key_as_hmac_secret_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    (published,) = [each for each in issuer.keys if each["kid"] == "rsa-1"]
    key = RSAKey.import_key(published)
    for secret in (key.as_pem(), key.as_der(), msgspec.json.encode(published), published["n"].encode(), b""):
        token = build_token({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}, issuer.claims(), secret)
        assert "algorithm of the token not allowed" in await rejection_message(verifier, token)


async def test_key_embedded_in_token_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    forged_key = RSAKey.generate_key(2048)
    header = {
        "alg": "RS256",
        "kid": "rsa-1",
        "jwk": forged_key.as_dict(private=False),
        "jku": "https://mine.example/keys",
    }
    token = jwt.encode(header, issuer.claims(), forged_key, algorithms=["RS256"])
    assert "signature" in await rejection_message(verifier, token)


@pytest.mark.parametrize("extension", [{"crit": ["kid"]}, {"crit": ["typ", "kid"]}, {"b64": True}], ids=str)
async def test_critical_extension_headers_are_rejected(
    issuer: OidcIssuer, verifier: OidcVerifier, extension: dict[str, Any]
) -> None:
    assert "Malformed token" in await rejection_message(verifier, issuer.token(header=extension))


async def test_modified_token_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    header, _, signature = issuer.token().split(".")
    forged = encode_base64url(msgspec.json.encode(issuer.claims(preferred_username="admin"))).decode()
    await rejection_message(verifier, f"{header}.{forged}.{signature}")
    good = issuer.token(key="ec").split(".")
    await rejection_message(verifier, ".".join([*good[:2], signature]))
    await rejection_message(verifier, ".".join([*good[:2], ""]))


async def test_oversized_token_is_rejected_before_key_fetch(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    await rejection_message(verifier, issuer.token(overrides="x" * MAX_TOKEN_LENGTH))
    await rejection_message(verifier, build_token({"alg": "RS256", "kid": "k" * 8000}, issuer.claims()))
    assert issuer.key_requests == 0


async def test_deeply_nested_token_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    nested = b"[" * 5000 + b"]" * 5000
    header = encode_base64url(msgspec.json.encode({"alg": "RS256", "kid": "rsa-1"}))
    await rejection_message(verifier, b".".join([encode_base64url(nested), encode_base64url(b"{}"), b"AAAA"]).decode())
    await rejection_message(verifier, b".".join([header, encode_base64url(nested), b"AAAA"]).decode())


@settings(max_examples=scale_examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.binary(max_size=60), max_size=4)))
def test_random_token_is_rejected(garbage: str | list[bytes]) -> None:
    async def fetch(url: str) -> bytes:
        raise ServerUnreachableError("Connection refused.")

    token = garbage if isinstance(garbage, str) else b".".join(map(encode_base64url, garbage)).decode()
    oidc_settings = OidcSettings(issuer="https://issuer.example", audience=AUDIENCE)
    asyncio.run(_check_rejected(OidcVerifier(oidc_settings, fetch, ShiftedClock()), token))


@settings(max_examples=scale_examples(200), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty", "x5c"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.lists(st.text(max_size=3))),
    )
)
def test_random_header_is_rejected(header: dict[str, Any]) -> None:
    async def fetch(url: str) -> bytes:
        raise ServerUnreachableError("Connection refused.")

    oidc_settings = OidcSettings(issuer="https://issuer.example", audience=AUDIENCE)
    asyncio.run(
        _check_rejected(OidcVerifier(oidc_settings, fetch, ShiftedClock()), build_token({"alg": "RS256", **header}, {}))
    )


async def _check_rejected(verifier: OidcVerifier, token: str) -> None:
    with pytest.raises((AuthenticationError, IssuerUnreachableError)):
        await verifier.verify(token)


# ---- signing keys


async def test_keys_are_cached_after_first_fetch(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    for _ in range(20):
        assert await verifier.verify(issuer.token())
    assert issuer.key_requests == 1


async def test_concurrent_first_requests_share_one_fetch(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    await asyncio.gather(*(verifier.verify(issuer.token()) for _ in range(20)))
    assert issuer.key_requests == 1


async def test_key_rotation_replaces_old_key(issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock) -> None:
    old = issuer.token()
    await verifier.verify(old)
    issuer.configure(rotate=True)
    clock.offset = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    assert (await verifier.verify(issuer.token())).subject == "USER:anna"
    assert issuer.key_requests == 2
    assert "Unknown signing key" in await rejection_message(verifier, old)


async def test_unknown_keys_do_not_flood_issuer(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    await verifier.verify(issuer.token())
    for number in range(50):
        await rejection_message(verifier, issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.key_requests == 1
    clock.offset = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    for number in range(50):
        await rejection_message(verifier, issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.key_requests == 2


async def test_unreachable_issuer_keeps_cached_keys(clock: ShiftedClock) -> None:
    with run_issuer() as issuer:
        verifier = create_verifier(issuer, clock)
        known, stranger = issuer.token(exp=4102444800), issuer.token(header={"kid": "other"})
        await verifier.verify(known)
    for later in (MIN_REFRESH_INTERVAL, MAX_AGE, 2 * MAX_AGE):
        clock.offset = later + timedelta(seconds=1)
        assert await verifier.verify(known)
        assert "unreachable" in await rejection_message(verifier, stranger, IssuerUnreachableError)


async def test_recovered_issuer_is_fetched_again(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    issuer.configure(status=500)
    token = issuer.token()
    assert "unreachable" in await rejection_message(verifier, token, IssuerUnreachableError)
    issuer.configure(status=200)
    assert "unreachable" in await rejection_message(verifier, token, IssuerUnreachableError)
    clock.offset = RETRY_INTERVAL + timedelta(milliseconds=1)
    assert await verifier.verify(token)


async def test_new_key_while_issuer_fails_makes_issuer_unreachable(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    old = issuer.token()
    await verifier.verify(old)
    issuer.configure(rotate=True, status=503)
    clock.offset = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    new = issuer.token()
    assert "unreachable" in await rejection_message(verifier, new, IssuerUnreachableError)
    assert await verifier.verify(old)
    issuer.configure(status=200)
    clock.offset += RETRY_INTERVAL + timedelta(milliseconds=1)
    assert await verifier.verify(new)
    assert "Unknown signing key" in await rejection_message(verifier, old)


async def test_issuer_that_hangs_is_unreachable_and_recovers(
    issuer: OidcIssuer, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "FETCH_TIMEOUT", 0.05)
    hangs = True

    async def fetch(url: str) -> bytes:
        if hangs:
            await asyncio.Event().wait()
        return await fetch_document(url)

    verifier = OidcVerifier(OidcSettings(issuer=issuer.url, audience=AUDIENCE), fetch, clock)
    await rejection_message(verifier, issuer.token(), IssuerUnreachableError)
    monkeypatch.undo()
    hangs = False
    clock.offset = RETRY_INTERVAL + timedelta(milliseconds=1)
    assert await verifier.verify(issuer.token())


@pytest.mark.parametrize("proxy", ["gopher://proxy.example:70", "socks5://127.0.0.1:9", "http://[", "http://a b"])
async def test_invalid_proxy_makes_issuer_unreachable(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    oidc_settings = OidcSettings(issuer="https://issuer.example", audience=AUDIENCE)
    token = build_token({"alg": "RS256", "kid": "a"}, {"iss": "https://issuer.example"})
    verifier = OidcVerifier(oidc_settings, fetch_document, ShiftedClock())
    assert "unreachable" in await rejection_message(verifier, token, IssuerUnreachableError)
    assert not await verifier.is_reachable()


async def test_reachability_is_probed_with_a_minimum_interval(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    assert [await verifier.is_reachable() for _ in range(3)] == [True] * 3
    assert issuer.key_requests == 1
    issuer.configure(status=500)
    clock.offset = PROBE_INTERVAL + timedelta(seconds=1)
    assert not await verifier.is_reachable()
    issuer.configure(status=200)
    clock.offset += RETRY_INTERVAL + timedelta(milliseconds=1)
    assert await verifier.is_reachable()


async def test_withdrawn_key_is_rejected_after_refresh(
    issuer: OidcIssuer, verifier: OidcVerifier, clock: ShiftedClock
) -> None:
    old = issuer.token(exp=4102444800)
    await verifier.verify(old)
    issuer.configure(rotate=True)
    clock.offset = MAX_AGE + timedelta(seconds=1)
    await verifier.verify(old)
    async with asyncio.timeout(TIMEOUT):
        while issuer.key_requests < 2 or (await _verification_error(verifier, old)) is None:
            await asyncio.sleep(0.01)
    assert "Unknown signing key" in await rejection_message(verifier, old)


async def _verification_error(verifier: OidcVerifier, token: str) -> AuthenticationError | None:
    try:
        await verifier.verify(token)
    except AuthenticationError as error:
        return error
    return None


async def test_discovery_of_other_issuer_is_rejected(issuer: OidcIssuer, verifier: OidcVerifier) -> None:
    issuer.configure(named="https://elsewhere.example")
    await rejection_message(verifier, issuer.token(), IssuerUnreachableError)
    assert issuer.key_requests == 0


async def test_configured_jwks_uri_bypasses_discovery(issuer: OidcIssuer) -> None:
    issuer.configure(named="https://elsewhere.example")
    verifier = create_verifier(issuer, jwks_uri=f"{issuer.url}/keys")
    assert await verifier.verify(issuer.token())


# ---- subjects and tenants


async def test_subject_prefix_applies_to_people_and_machines(issuer: OidcIssuer) -> None:
    verifier = create_verifier(issuer, subject_prefix="corp.", tenants="acme brix")
    claims = await verifier.verify(issuer.token())
    assert (claims.subject, sorted(claims.tenants)) == ("USER:corp.anna", ["acme", "brix"])
    assert (await verifier.verify(issuer.token(azp="ci", sub="ci"))).subject == "CLIENT:corp.ci"
    assert "subject name" in await rejection_message(verifier, issuer.token(preferred_username="x" * 60))


# ---- settings


@pytest.mark.parametrize(
    "insecure",
    [
        {"algorithms": ""},
        {"algorithms": "none"},
        {"algorithms": "RS256 HS256"},
        {"algorithms": "RS256 none"},
        {"algorithms": "rs256"},
        {"audience": ""},
        {"issuer": "http://issuer.example"},
        {"issuer": "ftp://issuer.example"},
        {"issuer": "http://127.0.0.1.issuer.example"},
        {"issuer": "http://127.0.0.1@issuer.example"},
        {"issuer": "issuer.example"},
        {"jwks_uri": "http://issuer.example/keys"},
    ],
    ids=str,
)
def test_insecure_settings_are_rejected(insecure: dict[str, str]) -> None:
    oidc_settings = OidcSettings(**{"issuer": "https://issuer.example", "audience": AUDIENCE, **insecure})  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        OidcVerifier(oidc_settings)


@pytest.mark.parametrize("issuer_url", ["http://127.0.0.1:80", "http://localhost", "http://[::1]:8080/realm"])
def test_loopback_http_issuer_is_accepted(issuer_url: str) -> None:
    assert OidcVerifier(OidcSettings(issuer=issuer_url, audience=AUDIENCE))
