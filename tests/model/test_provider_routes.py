"""Tests of the choice of the section that serves a key."""

from __future__ import annotations

from typing import Any

import pytest

from sealyard.model.errors import KeyProviderError
from sealyard.model.key_uris import parse_key_uri
from sealyard.model.provider_routes import ProviderRoute, find_route
from sealyard.model.provider_settings import ProviderSettings

ARN = "awskms:arn:aws:kms:{}:{}:key/1234abcd"


def route(section: str, provider: str, **options: Any) -> ProviderRoute:
    return ProviderRoute.of(ProviderSettings(name=section, provider=provider, options=options))


ROUTES = (
    route("seal", "pkcs11", module="/m.so", token="seal"),
    route("spare", "pkcs11", module="/m.so", token="spare token"),
    route("frankfurt", "awskms", region="eu-central-1"),
    route("dublin", "awskms", region="eu-west-1", account="1"),
    route("transit", "vault", address="https://bao:8200", mount="transit"),
    route("team", "vault", address="https://bao:8200", mount="teams/a"),
    route("acme", "acme", region="eu"),
)


@pytest.mark.parametrize(
    ("uri", "section"),
    [
        ("pkcs11:token=seal;object=a", "seal"),
        ("pkcs11:object=a;token=spare%20token", "spare"),
        (ARN.format("eu-central-1", 7), "frankfurt"),
        (ARN.format("eu-west-1", 1), "dublin"),
        ("vault:transit/a", "transit"),
        ("vault:teams/a/key", "team"),
        ("acme:anything", "acme"),
    ],
)
def test_section_is_found_by_the_uri(uri: str, section: str) -> None:
    assert find_route(ROUTES, parse_key_uri(uri)).section == section


@pytest.mark.parametrize(
    "uri",
    [
        "pkcs11:token=other;object=a",
        ARN.format("us-east-1", 1),
        ARN.format("eu-west-1", 2),
        "vault:other/a",
        "unknown:a",
    ],
)
def test_key_without_a_section_is_explained(uri: str) -> None:
    with pytest.raises(KeyProviderError, match="No section of the worker settings serves the key") as caught:
        find_route(ROUTES, parse_key_uri(uri))
    assert "[keys.NAME]" in caught.value.hint


def test_section_with_more_attributes_is_preferred() -> None:
    routes = (route("all", "vault"), route("team", "vault", mount="team"))
    assert find_route(routes, parse_key_uri("vault:team/a")).section == "team"
    assert find_route(routes, parse_key_uri("vault:other/a")).section == "all"


def test_ambiguous_section_raises_error() -> None:
    with pytest.raises(KeyProviderError, match=r"keys\.frankfurt, keys\.dublin") as caught:
        find_route(ROUTES, parse_key_uri("awskms:alias/a"))
    assert caught.value.hint


def test_route_omits_other_options() -> None:
    assert ROUTES[0].attributes == {"token": "seal"}
    assert ROUTES[4].attributes == {"mount": "transit"}
