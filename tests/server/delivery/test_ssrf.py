"""Tests of the SSRF protection of webhooks: public and internal addresses."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import PermissionDeniedError, ServerUnreachableError
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.server.delivery.ssrf import is_public_address, resolve_allowed, resolve_with_system

pytestmark = pytest.mark.anyio

PUBLIC = ("93.184.215.14", "1.1.1.1", "9.9.9.9", "2606:4700:4700::1111", "2a00:1450:4001:82b::200e")

INTERNAL = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:8.8.8.8")

# From IANA's special-purpose address registries, plus multicast.
SPECIAL_IPV4: list[IPv4Network | IPv6Network] = [
    IPv4Network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32"),
    )
]
SPECIAL_IPV6: list[IPv4Network | IPv6Network] = [
    IPv6Network(each)
    for each in (
        *("::/128", "::1/128", "::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32"),
        *("2001:2::/48", "2001:db8::/32", "2001:10::/28", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7"),
        *("fe80::/10", "fec0::/10", "ff00::/8"),
    )
]


def addresses_in(network: IPv4Network | IPv6Network) -> st.SearchStrategy[str]:
    first, last = int(network.network_address), int(network.broadcast_address)
    address_type = IPv4Address if network.version == 4 else IPv6Address
    return st.integers(first, last).map(lambda each: str(address_type(each)))


@given(st.sampled_from([*SPECIAL_IPV4, *SPECIAL_IPV6]).flatmap(addresses_in))
def test_special_purpose_address_is_not_public(address: str) -> None:
    assert not is_public_address(address)


@given(st.ip_addresses())
def test_public_address_is_global(address: IPv4Address | IPv6Address) -> None:
    if is_public_address(str(address)):
        assert address.is_global
        assert not address.is_multicast
        assert not any(address in each for each in [*SPECIAL_IPV4, *SPECIAL_IPV6])


@given(st.ip_addresses(v=4))
def test_embedded_ipv4_address_is_not_public(address: IPv4Address) -> None:
    number = int(address)
    for embedded in (
        IPv6Address((0xFFFF << 32) | number),  # IPv4-mapped
        IPv6Address(number),  # IPv4-compatible
        IPv6Address((0x0064FF9B << 96) | number),  # NAT64
        IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),  # Teredo
    ):
        assert not is_public_address(str(embedded))
        assert not is_public_address(embedded.exploded)


def test_scoped_address_is_not_public() -> None:
    assert not is_public_address("fe80::1%eth0")
    assert not is_public_address("::1%lo")


@pytest.mark.parametrize("address", PUBLIC)
def test_internet_address_is_public(address: str) -> None:
    assert is_public_address(address)


class FakeResolver:
    """A resolver that returns the given answers in order, and repeats the last one."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.lookups: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.lookups.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def resolve(
    resolver: FakeResolver, url: str = "https://hooks.example.org:8443/x", **overrides: bool
) -> Sequence[str]:
    settings = {"allow_private": False, "allow_http": False, **overrides}
    return await resolve_allowed(parse_webhook_url(url), resolver, **settings)


async def test_name_with_public_addresses_is_allowed() -> None:
    resolver = FakeResolver(PUBLIC)
    assert await resolve(resolver) == PUBLIC
    assert resolver.lookups == [("hooks.example.org", 8443)]


@pytest.mark.parametrize("internal", INTERNAL)
@pytest.mark.parametrize("position", [0, 1, 2])
async def test_one_internal_address_rejects_name(internal: str, position: int) -> None:
    addresses = list(PUBLIC[:2])
    addresses.insert(position, internal)
    with pytest.raises(PermissionDeniedError) as error:
        await resolve(FakeResolver(addresses))
    assert internal not in str(error.value)


async def test_internal_address_is_accepted_when_allowed() -> None:
    assert await resolve(FakeResolver(["10.1.2.3"]), "http://inner/", allow_private=True) == ["10.1.2.3"]


async def test_allow_http_does_not_allow_internal_addresses() -> None:
    with pytest.raises(PermissionDeniedError):
        await resolve(FakeResolver(PUBLIC), "http://hooks.example.org/")
    assert await resolve(FakeResolver(PUBLIC), "http://hooks.example.org/", allow_http=True) == PUBLIC
    with pytest.raises(PermissionDeniedError):
        await resolve(FakeResolver(["127.0.0.1"]), "http://hooks.example.org/", allow_http=True)


async def test_unresolvable_name_is_unreachable() -> None:
    with pytest.raises(ServerUnreachableError):
        await resolve(FakeResolver([]))


async def test_system_resolver_resolves_or_raises() -> None:
    assert await resolve_with_system("192.0.2.7", 443) == ["192.0.2.7"]
    assert await resolve_with_system("2001:db8::7", 443) == ["2001:db8::7"]
    assert set(await resolve_with_system("localhost", 80)) <= {"127.0.0.1", "::1"}
    for host in ("nowhere.invalid", "a..b", "x" * 64):
        with pytest.raises(ServerUnreachableError):
            await resolve_with_system(host, 443)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1", "0"])
async def test_loopback_spellings_are_not_public(host: str) -> None:
    addresses = await resolve_with_system(host, 80)
    assert addresses
    assert not any(is_public_address(each) for each in addresses)
