"""Tests of several OIDC issuers: each verifies only the tokens that name it, for its own subjects."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import sealyard.server
from sealyard.model.errors import AuthenticationError, UsageError
from sealyard.server.auth.issuers import IssuerRegistry
from sealyard.server.settings import OidcSettings, load_server_settings
from tests.server.auth.test_oidc import build_token
from tests.support.oidc_issuer import AUDIENCE, OidcIssuer, run_issuer

pytestmark = pytest.mark.anyio

SERVER_README = Path(sealyard.server.__file__).with_name("README.md")


@pytest.fixture(scope="module")
def issuers() -> Iterator[tuple[OidcIssuer, OidcIssuer]]:
    with run_issuer() as first, run_issuer() as second:
        yield first, second


@pytest.fixture
def registry(issuers: tuple[OidcIssuer, OidcIssuer]) -> IssuerRegistry:
    first, second = issuers
    return IssuerRegistry(
        [
            create_settings(first.url, groups={"devs": "developers"}),
            create_settings(second.url, audience="partners", subject_prefix="partner.", groups={"devs": "guests"}),
        ]
    )


def create_settings(issuer: str, **overrides: Any) -> OidcSettings:
    return OidcSettings(**{"issuer": issuer, "audience": AUDIENCE, **overrides})


async def test_each_token_is_verified_with_settings_of_its_issuer(
    issuers: tuple[OidcIssuer, OidcIssuer], registry: IssuerRegistry
) -> None:
    first, second = issuers
    claims = await registry.verify(first.token())
    assert (claims.subject, claims.roles, claims.account.issuer) == ("USER:anna", ("developers",), first.url)
    claims = await registry.verify(second.token(aud="partners"))
    assert (claims.subject, claims.roles, claims.account.issuer) == ("USER:partner.anna", ("guests",), second.url)


async def test_issuer_cannot_sign_for_another(issuers: tuple[OidcIssuer, OidcIssuer], registry: IssuerRegistry) -> None:
    first, second = issuers
    for token in (
        second.token(iss=first.url),
        first.token(iss=second.url, aud="partners"),
        second.token(),
        first.token(aud="partners"),
    ):
        with pytest.raises(AuthenticationError):
            await registry.verify(token)


async def test_issuer_without_prefix_cannot_use_prefix_of_another(
    issuers: tuple[OidcIssuer, OidcIssuer], registry: IssuerRegistry
) -> None:
    first, _ = issuers
    for token in (first.token(preferred_username="partner.anna"), first.token(azp="partner.ci", sub="partner.ci")):
        with pytest.raises(AuthenticationError, match="belongs to another issuer"):
            await registry.verify(token)


async def test_longer_prefix_owns_subject(issuers: tuple[OidcIssuer, OidcIssuer]) -> None:
    first, second = issuers
    registry = IssuerRegistry(
        [create_settings(first.url, subject_prefix="a."), create_settings(second.url, subject_prefix="a.b.")]
    )
    assert (await registry.verify(first.token(preferred_username="c"))).subject == "USER:a.c"
    assert (await registry.verify(second.token(preferred_username="c"))).subject == "USER:a.b.c"
    with pytest.raises(AuthenticationError, match="belongs to another issuer"):
        await registry.verify(first.token(preferred_username="b.c"))


@pytest.mark.parametrize("claims", [{}, {"iss": 7}, {"iss": "https://elsewhere.example"}, {"iss": ""}])
async def test_token_without_trusted_issuer_is_rejected_without_fetch(
    issuers: tuple[OidcIssuer, OidcIssuer], registry: IssuerRegistry, claims: dict[str, Any]
) -> None:
    first, _ = issuers
    first.configure(begin=True)
    with pytest.raises(AuthenticationError):
        await registry.verify(build_token({"alg": "RS256", "kid": "rsa-1"}, claims))
    assert first.key_requests == 0


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.b.c", "a.b.c.d", "..", "a.é.c", "a." + "W" * 20_000 + ".c"])
async def test_malformed_token_is_rejected(registry: IssuerRegistry, token: str) -> None:
    with pytest.raises(AuthenticationError, match="Malformed"):
        await registry.verify(token)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({}, {"issuer": "https://one.example"}, "oidc.issuer"),
        ({}, {}, "oidc.subject_prefix"),
        ({"subject_prefix": "a."}, {"subject_prefix": "a."}, "oidc.subject_prefix"),
        ({"subject_prefix": "a b"}, {}, "oidc.subject_prefix"),
        ({"subject_prefix": "a."}, {"tenants": "acme other"}, "'other'"),
    ],
)
def test_contradictory_settings_are_rejected(first: dict[str, str], second: dict[str, str], message: str) -> None:
    settings = [
        create_settings("https://one.example", **first),
        create_settings(**{"issuer": "https://b.example", **second}),
    ]
    with pytest.raises(UsageError, match=message):
        IssuerRegistry(settings, ["acme"])


def test_documented_settings_are_valid(tmp_path: Path) -> None:
    block = re.search(r"<!-- issuers -->\n```toml\n(.*?)```", SERVER_README.read_text(), re.DOTALL)
    assert block is not None
    path = tmp_path / "server.toml"
    path.write_text(block[1])
    settings = load_server_settings(path)
    registry = IssuerRegistry(settings.issuers, settings.tenants)
    assert [issuer.subject_prefix for issuer in registry.settings] == ["", "partner."]
    assert registry.settings[0].groups == {"firmware-developers": "devs", "firmware-owners": "owners"}
