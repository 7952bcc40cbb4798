"""Only what the one configured issuer has signed for us is believed, and it is read for one name and no other."""

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
from sealyard.model.errors import AuthenticationError, ServerUnreachableError, UsageError
from sealyard.server.auth.jwks import MAX_AGE, MIN_REFRESH_INTERVAL
from sealyard.server.auth.oidc import MAX_TOKEN_LENGTH, OidcClaims, OidcVerifier
from sealyard.server.settings import OidcSettings
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, run_issuer

pytestmark = pytest.mark.anyio


class Moved:
    """The real time, and what was added to it."""

    def __init__(self) -> None:
        self.by = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing here sleeps")


@pytest.fixture(scope="module")
def process() -> Iterator[OidcIssuer]:
    with run_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(process: OidcIssuer) -> OidcIssuer:
    process.configure(begin=True)
    return process


@pytest.fixture
def clock() -> Moved:
    return Moved()


@pytest.fixture
def ours(issuer: OidcIssuer, clock: Moved) -> OidcVerifier:
    return believing(issuer, clock)


def believing(issuer: OidcIssuer, clock: Moved | None = None, **more: Any) -> OidcVerifier:
    named = OidcSettings(**{"issuer": issuer.url, "audience": AUDIENCE, **more})
    return OidcVerifier(named, fetch_document, clock or Moved())


async def refused(ours: OidcVerifier, token: str) -> str:
    """The words of the refusal, which never hold the token."""
    with pytest.raises((AuthenticationError, ServerUnreachableError)) as error:
        await ours.verify(token)
    words = str(error.value)
    assert words.isprintable()
    assert all(len(part) < 8 or part not in words for part in token.split("."))
    return words


def by_hand(header: dict[str, Any], claims: dict[str, Any], secret: bytes | None = None) -> str:
    """A token that no library would make."""
    signed = b".".join(encoded(msgspec.json.encode(each)) for each in (header, claims))
    signature = hmac.digest(secret, signed, hashlib.sha256) if secret is not None else b""
    return (signed + b"." + encoded(signature)).decode()


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


# ---- who asks


@pytest.mark.parametrize("key", ["rsa", "ec", "okp"])
async def test_a_good_token_says_who_asks_with_which_roles_and_until_when(
    issuer: OidcIssuer, ours: OidcVerifier, key: str
) -> None:
    expires = int(datetime.now(UTC).timestamp()) + 300
    token = issuer.token(key=key, roles=["devs", "owners"], exp=expires)
    assert await ours.verify(token) == OidcClaims(
        subject="USER:anna",
        account=IssuerAccount(issuer=issuer.url, sub="5d0c6a0e"),
        roles=("devs", "owners"),
        is_machine=False,
        expires_at=datetime.fromtimestamp(expires, UTC),
    )


@pytest.mark.parametrize("typ", ["JWT", "at+jwt", "application/at+JWT", None])
async def test_the_types_of_access_tokens_are_taken(issuer: OidcIssuer, ours: OidcVerifier, typ: str | None) -> None:
    assert (await ours.verify(issuer.token(header={"typ": typ}))).subject == "USER:anna"


async def test_an_audience_among_several_is_enough(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    assert await ours.verify(issuer.token(aud=["other", AUDIENCE]))


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"sub": "ci", "client_id": "ci", "preferred_username": None}, id="RFC 9068"),
        pytest.param({"sub": "ci", "azp": "ci", "preferred_username": None}, id="azp"),
        pytest.param({"client_id": "ci", "preferred_username": "service-account-ci"}, id="Keycloak"),
        pytest.param({"azp": "ci", "preferred_username": "service-account-ci"}, id="Keycloak by azp"),
    ],
)
async def test_a_client_that_speaks_for_itself_is_a_machine(
    issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any]
) -> None:
    found = await ours.verify(issuer.token(**claims))
    assert (found.subject, found.is_machine) == ("CLIENT:ci", True)


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"azp": "ci", "idtyp": "app"}, id="Entra ID"),
        pytest.param({"appid": "ci", "idtyp": "app"}, id="Entra ID, version 1"),
        pytest.param({"azp": "ci", "gty": "client-credentials"}, id="Auth0"),
        pytest.param({"azp": "ci", "sub": "ci@clients"}, id="Auth0 by sub"),
    ],
)
@pytest.mark.parametrize("named_by", ["sub", "preferred_username"])
async def test_a_machine_is_no_person_whatever_claim_names_people(
    issuer: OidcIssuer, claims: dict[str, Any], named_by: str
) -> None:
    ours = believing(issuer, subject_claim=named_by, client_claim="appid" if "appid" in claims else "client_id")
    found = await ours.verify(issuer.token(**claims))
    assert (found.subject, found.is_machine) == ("CLIENT:ci", True)


@pytest.mark.parametrize("mark", [{"idtyp": "app"}, {"gty": "client-credentials"}])
@pytest.mark.parametrize("client", [None, "", 7])
async def test_a_machine_without_a_name_is_refused_rather_than_taken_for_a_person(
    issuer: OidcIssuer, mark: dict[str, Any], client: object
) -> None:
    ours = believing(issuer, subject_claim="sub")
    assert "client_id" in await refused(ours, issuer.token(azp=client, **mark))


@pytest.mark.parametrize("claims", [{"idtyp": "user"}, {"gty": "password"}, {"sub": "other@clients"}])
async def test_what_marks_people_makes_no_machine(
    issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any]
) -> None:
    found = await ours.verify(issuer.token(**claims))
    assert (found.subject, found.is_machine) == ("USER:anna", False)


@pytest.mark.parametrize("claims", [{"client_id": "web"}, {"azp": "web"}, {"client_id": "web", "azp": "web"}])
async def test_a_person_stays_one_whatever_client_it_came_through(
    issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any]
) -> None:
    found = await ours.verify(issuer.token(**claims))
    assert (found.subject, found.is_machine) == ("USER:anna", False)


@pytest.mark.parametrize("claims", [{"client_id": "web"}, {"sub": "anna"}, {}])
async def test_without_the_claim_that_names_people_nobody_comes_under_another_name(
    issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any]
) -> None:
    words = await refused(ours, issuer.token(**{"preferred_username": None, **claims}))
    assert "preferred_username" in words


@pytest.mark.parametrize("sub", [None, "", 7, ["a1"], "x" * 256, "änna", "a\n1"])
@pytest.mark.parametrize("claims", [{}, {"preferred_username": "service-account-web"}])
async def test_a_token_that_does_not_say_whose_it_is_for_good_is_refused(
    issuer: OidcIssuer, ours: OidcVerifier, sub: object, claims: dict[str, Any]
) -> None:
    assert "sub" in await refused(ours, issuer.token(sub=sub, **claims))


@pytest.mark.parametrize("sub", ["a1", "A1", "auth0|5f7c", "x" * 255, "a b"])
async def test_an_account_is_taken_as_it_is(issuer: OidcIssuer, ours: OidcVerifier, sub: str) -> None:
    assert (await ours.verify(issuer.token(sub=sub))).account == IssuerAccount(issuer=issuer.url, sub=sub)


async def test_the_claim_that_names_people_can_be_chosen(issuer: OidcIssuer) -> None:
    by_sub = believing(issuer, subject_claim="sub")
    assert (await by_sub.verify(issuer.token())).subject == "USER:5d0c6a0e"


@pytest.mark.parametrize(
    "name", ["", "a b", "änna", "anna\u200b", "a:b", "GROUP:devs", "x" * 65, ".anna", "anna/..", " anna", 7, ["anna"]]
)
async def test_a_name_that_no_subject_can_have_is_refused_and_not_made_to_fit(
    issuer: OidcIssuer, ours: OidcVerifier, name: object
) -> None:
    await refused(ours, issuer.token(preferred_username=name))


async def test_names_are_taken_as_they_are(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    names = ["anna", "Anna", "ANNA", "anna@factory.example", "anna+1", "a-n_n.a"]
    found = [(await ours.verify(issuer.token(preferred_username=each))).subject for each in names]
    assert found == [f"USER:{each}" for each in names]


# ---- roles


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["devs"]}}),
        ("https://factory.example/roles", {"https://factory.example/roles": ["devs"]}),
        ("a.b", {"a.b": ["devs"], "a": {"b": ["owners"]}}),
        ("roles", {"roles": "devs"}),
    ],
)
async def test_roles_are_found_where_they_are(issuer: OidcIssuer, path: str, claims: dict[str, Any]) -> None:
    found = await believing(issuer, roles_claim=path).verify(issuer.token(**claims))
    assert found.roles == ("devs",)


@pytest.mark.parametrize("claims", [{"roles": None}, {"roles": []}, {"roles": None, "realm_access": {"roles": ["a"]}}])
async def test_no_roles_are_no_roles(issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any]) -> None:
    assert (await ours.verify(issuer.token(**claims))).roles == ()


@pytest.mark.parametrize("path", ["realm_access.roles", "realm_access.roles.more", "azp.roles"])
async def test_a_path_that_leads_nowhere_is_no_roles(issuer: OidcIssuer, path: str) -> None:
    ours = believing(issuer, roles_claim=path)
    assert (await ours.verify(issuer.token(realm_access=["odd"]))).roles == ()


@pytest.mark.parametrize("roles", [{"devs": True}, 7, True, ["devs", 7], [["devs"]]])
async def test_roles_that_are_no_names_are_refused(issuer: OidcIssuer, ours: OidcVerifier, roles: object) -> None:
    assert "roles" in await refused(ours, issuer.token(roles=roles))


async def test_where_groups_are_named_for_roles_others_count_for_nothing(issuer: OidcIssuer) -> None:
    ours = believing(issuer, groups={"fw-owners": "owners", "fw-all": "owners"})
    found = await ours.verify(issuer.token(roles=["fw-owners", "fw-all", "owners", "devs"]))
    assert found.roles == ("owners",)


# ---- what is not believed


@pytest.mark.parametrize(
    ("claims", "words"),
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
async def test_a_token_for_elsewhere_or_another_time_is_refused(
    issuer: OidcIssuer, ours: OidcVerifier, claims: dict[str, Any], words: str
) -> None:
    assert words in await refused(ours, issuer.token(**claims))


async def test_clocks_may_differ_a_little_and_no_more(issuer: OidcIssuer, ours: OidcVerifier, clock: Moved) -> None:
    now = datetime.now(UTC).timestamp()
    token = issuer.token(exp=int(now) + 60, nbf=int(now) - 60, iat=None)
    for seconds, fine in ((-120, False), (-80, True), (80, True), (120, False)):
        clock.by = timedelta(seconds=seconds)
        if fine:
            assert await ours.verify(token)
        else:
            await refused(ours, token)


@pytest.mark.parametrize(
    "header", [{"typ": "ID"}, {"typ": "logout+jwt"}, {"kid": None}, {"cty": "JWT", "typ": "secevent+jwt"}]
)
async def test_what_is_no_access_token_by_its_header_is_refused(
    issuer: OidcIssuer, ours: OidcVerifier, header: dict[str, Any]
) -> None:
    await refused(ours, issuer.token(header=header))


@pytest.mark.parametrize("alg", ["PS256", "RS256"])
async def test_an_algorithm_that_is_not_allowed_is_not_believed(issuer: OidcIssuer, alg: str) -> None:
    ours = believing(issuer, algorithms="ES256")
    assert "algorithm of the token not allowed" in await refused(ours, issuer.token(header={"alg": alg}))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", ""])
@pytest.mark.parametrize("kid", ["rsa-1", None])
async def test_a_token_without_a_signature_is_never_believed(
    issuer: OidcIssuer, ours: OidcVerifier, alg: str, kid: str | None
) -> None:
    header = {"alg": alg, "typ": "JWT"} | ({"kid": kid} if kid else {})
    await refused(ours, by_hand(header, issuer.claims()))


async def test_a_public_key_is_no_shared_secret(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    (published,) = [each for each in issuer.keys if each["kid"] == "rsa-1"]
    key = RSAKey.import_key(published)
    for secret in (key.as_pem(), key.as_der(), msgspec.json.encode(published), published["n"].encode(), b""):
        token = by_hand({"alg": "HS256", "typ": "JWT", "kid": "rsa-1"}, issuer.claims(), secret)
        assert "algorithm of the token not allowed" in await refused(ours, token)


async def test_a_key_that_comes_with_the_token_is_not_believed(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    mine = RSAKey.generate_key(2048)
    header = {"alg": "RS256", "kid": "rsa-1", "jwk": mine.as_dict(private=False), "jku": "https://mine.example/keys"}
    token = jwt.encode(header, issuer.claims(), mine, algorithms=["RS256"])
    assert "signature" in await refused(ours, token)


@pytest.mark.parametrize("extension", [{"crit": ["kid"]}, {"crit": ["typ", "kid"]}, {"b64": True}], ids=str)
async def test_extensions_that_must_be_understood_are_refused_though_well_signed(
    issuer: OidcIssuer, ours: OidcVerifier, extension: dict[str, Any]
) -> None:
    assert "Malformed token" in await refused(ours, issuer.token(header=extension))


async def test_a_changed_token_is_not_believed(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    header, _, signature = issuer.token().split(".")
    forged = encoded(msgspec.json.encode(issuer.claims(preferred_username="admin"))).decode()
    await refused(ours, f"{header}.{forged}.{signature}")
    good = issuer.token(key="ec").split(".")
    await refused(ours, ".".join([*good[:2], signature]))
    await refused(ours, ".".join([*good[:2], ""]))


async def test_a_huge_token_is_refused_before_it_is_read(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    await refused(ours, issuer.token(more="x" * MAX_TOKEN_LENGTH))
    await refused(ours, by_hand({"alg": "RS256", "kid": "k" * 8000}, issuer.claims()))
    assert issuer.asked == 0


async def test_deep_nesting_is_refused(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    deep = b"[" * 5000 + b"]" * 5000
    head = encoded(msgspec.json.encode({"alg": "RS256", "kid": "rsa-1"}))
    await refused(ours, b".".join([encoded(deep), encoded(b"{}"), b"AAAA"]).decode())
    await refused(ours, b".".join([head, encoded(deep), b"AAAA"]).decode())


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=200), st.lists(st.binary(max_size=60), max_size=4)))
def test_garbage_is_refused_and_nothing_else_happens(garbage: str | list[bytes]) -> None:
    async def fetch(url: str) -> bytes:
        raise ServerUnreachableError("Nobody is there.")

    token = garbage if isinstance(garbage, str) else b".".join(map(encoded, garbage)).decode()
    named = OidcSettings(issuer="https://issuer.example", audience=AUDIENCE)
    asyncio.run(_refused_quietly(OidcVerifier(named, fetch, Moved()), token))


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "typ", "crit", "b64", "jwk", "cty", "x5c"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.lists(st.text(max_size=3))),
    )
)
def test_odd_headers_are_refused_and_nothing_else_happens(header: dict[str, Any]) -> None:
    async def fetch(url: str) -> bytes:
        raise ServerUnreachableError("Nobody is there.")

    named = OidcSettings(issuer="https://issuer.example", audience=AUDIENCE)
    asyncio.run(_refused_quietly(OidcVerifier(named, fetch, Moved()), by_hand({"alg": "RS256", **header}, {})))


async def _refused_quietly(ours: OidcVerifier, token: str) -> None:
    with pytest.raises((AuthenticationError, ServerUnreachableError)):
        await ours.verify(token)


# ---- the issuer's keys


async def test_keys_are_fetched_once_and_kept(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    for _ in range(20):
        assert await ours.verify(issuer.token())
    assert issuer.asked == 1


async def test_many_who_come_first_together_share_one_fetch(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    await asyncio.gather(*(ours.verify(issuer.token()) for _ in range(20)))
    assert issuer.asked == 1


async def test_a_rotated_key_is_found_and_the_old_one_dropped(
    issuer: OidcIssuer, ours: OidcVerifier, clock: Moved
) -> None:
    old = issuer.token()
    await ours.verify(old)
    issuer.configure(rotate=True)
    clock.by = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    assert (await ours.verify(issuer.token())).subject == "USER:anna"
    assert issuer.asked == 2
    assert "Unknown signing key" in await refused(ours, old)


async def test_unknown_keys_are_no_way_to_keep_the_issuer_busy(
    issuer: OidcIssuer, ours: OidcVerifier, clock: Moved
) -> None:
    await ours.verify(issuer.token())
    for number in range(50):
        await refused(ours, issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.asked == 1
    clock.by = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    for number in range(50):
        await refused(ours, issuer.token(header={"kid": f"unknown {number}"}))
    assert issuer.asked == 2


async def test_while_the_issuer_is_away_known_keys_work_and_others_are_told_so(clock: Moved) -> None:
    with run_issuer() as issuer:
        ours = believing(issuer, clock)
        known, stranger = issuer.token(exp=4102444800), issuer.token(header={"kid": "other"})
        await ours.verify(known)
    for later in (MIN_REFRESH_INTERVAL, MAX_AGE, 2 * MAX_AGE):
        clock.by = later + timedelta(seconds=1)
        assert await ours.verify(known)
        assert "unreachable" in await refused(ours, stranger)


async def test_an_issuer_that_comes_back_is_believed_again(
    issuer: OidcIssuer, ours: OidcVerifier, clock: Moved
) -> None:
    issuer.configure(status=500)
    assert "unreachable" in await refused(ours, issuer.token())
    issuer.configure(status=200)
    clock.by = MIN_REFRESH_INTERVAL + timedelta(seconds=1)
    assert await ours.verify(issuer.token())


async def test_a_withdrawn_key_is_not_believed_for_ever(issuer: OidcIssuer, ours: OidcVerifier, clock: Moved) -> None:
    old = issuer.token(exp=4102444800)
    await ours.verify(old)
    issuer.configure(rotate=True)
    clock.by = MAX_AGE + timedelta(seconds=1)
    await ours.verify(old)
    async with asyncio.timeout(10):
        while issuer.asked < 2 or (await _outcome(ours, old)) is None:
            await asyncio.sleep(0.01)
    assert "Unknown signing key" in await refused(ours, old)


async def _outcome(ours: OidcVerifier, token: str) -> AuthenticationError | None:
    try:
        await ours.verify(token)
    except AuthenticationError as error:
        return error
    return None


async def test_a_discovery_document_of_another_issuer_is_not_believed(issuer: OidcIssuer, ours: OidcVerifier) -> None:
    issuer.configure(named="https://elsewhere.example")
    await refused(ours, issuer.token())
    assert issuer.asked == 0


async def test_where_the_keys_are_can_be_configured(issuer: OidcIssuer) -> None:
    issuer.configure(named="https://elsewhere.example")
    ours = believing(issuer, jwks_uri=f"{issuer.url}/keys")
    assert await ours.verify(issuer.token())


# ---- settings


@pytest.mark.parametrize(
    "odd",
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
def test_settings_that_let_in_too_much_are_refused(odd: dict[str, str]) -> None:
    named = OidcSettings(**{"issuer": "https://issuer.example", "audience": AUDIENCE, **odd})  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        OidcVerifier(named)


@pytest.mark.parametrize("issuer_url", ["http://127.0.0.1:80", "http://localhost", "http://[::1]:8080/realm"])
def test_plain_http_is_taken_on_this_machine(issuer_url: str) -> None:
    assert OidcVerifier(OidcSettings(issuer=issuer_url, audience=AUDIENCE))
