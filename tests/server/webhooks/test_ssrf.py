"""Which addresses a webhook may have."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealyard.model.errors import PermissionDeniedError, ServerUnreachableError
from sealyard.model.webhook_url import parse_webhook_url
from sealyard.server.webhooks.ssrf import is_public_address, resolve_allowed, resolve_with_system

pytestmark = pytest.mark.anyio

PUBLIC = ("93.184.215.14", "1.1.1.1", "9.9.9.9", "2606:4700:4700::1111", "2a00:1450:4001:82b::200e")

INNER = ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:8.8.8.8")

# From IANA's registries of special-purpose addresses, and those of multicast.
INNER_4: list[IPv4Network | IPv6Network] = [
    IPv4Network(each)
    for each in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24"),
        *("203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255/32", "168.63.129.16/32"),
    )
]
INNER_6: list[IPv4Network | IPv6Network] = [
    IPv6Network(each)
    for each in (
        *("::/128", "::1/128", "::ffff:0:0/96", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/32"),
        *("2001:2::/48", "2001:db8::/32", "2001:10::/28", "2002::/16", "3fff::/20", "5f00::/16", "fc00::/7"),
        *("fe80::/10", "fec0::/10", "ff00::/8"),
    )
]


def inside(network: IPv4Network | IPv6Network) -> st.SearchStrategy[str]:
    first, last = int(network.network_address), int(network.broadcast_address)
    kind = IPv4Address if network.version == 4 else IPv6Address
    return st.integers(first, last).map(lambda each: str(kind(each)))


@given(st.sampled_from([*INNER_4, *INNER_6]).flatmap(inside))
def test_no_special_address_is_outside(address: str) -> None:
    assert not is_public_address(address)


@given(st.ip_addresses())
def test_what_is_not_global_is_not_outside(address: IPv4Address | IPv6Address) -> None:
    if is_public_address(str(address)):
        assert address.is_global
        assert not address.is_multicast
        assert not any(address in each for each in [*INNER_4, *INNER_6])


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_never_outside(address: IPv4Address) -> None:
    number = int(address)
    for wrapped in (
        IPv6Address((0xFFFF << 32) | number),  # IPv4-mapped
        IPv6Address(number),  # IPv4-compatible
        IPv6Address((0x0064FF9B << 96) | number),  # NAT64
        IPv6Address((0x2002 << 112) | (number << 80)),  # 6to4
        IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),  # Teredo
    ):
        assert not is_public_address(str(wrapped))
        assert not is_public_address(wrapped.exploded)


def test_a_scope_does_not_help() -> None:
    assert not is_public_address("fe80::1%eth0")
    assert not is_public_address("::1%lo")


@pytest.mark.parametrize("address", PUBLIC)
def test_the_public_internet_is_outside(address: str) -> None:
    assert is_public_address(address)


class Names:
    """A resolver whose answers are said here, one after the other; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def allowed(names: Names, url: str = "https://hooks.example.org:8443/x", **allow: bool) -> Sequence[str]:
    settings = {"allow_private": False, "allow_http": False, **allow}
    return await resolve_allowed(parse_webhook_url(url), names, **settings)


async def test_a_name_that_leads_outside_is_allowed() -> None:
    names = Names(PUBLIC)
    assert await allowed(names) == PUBLIC
    assert names.asked == [("hooks.example.org", 8443)]


@pytest.mark.parametrize(
    "inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00:ec2::254", "::ffff:8.8.8.8"]
)
@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_inner_address_among_public_ones_is_enough_to_refuse(inner: str, place: int) -> None:
    found = list(PUBLIC[:2])
    found.insert(place, inner)
    with pytest.raises(PermissionDeniedError) as refused:
        await allowed(Names(found))
    assert inner not in str(refused.value)


async def test_inner_addresses_are_for_who_was_allowed_them() -> None:
    assert await allowed(Names(["10.1.2.3"]), "http://inner/", allow_private=True) == ["10.1.2.3"]


async def test_plain_http_is_for_who_was_allowed_it_and_does_not_allow_inner_addresses() -> None:
    with pytest.raises(PermissionDeniedError):
        await allowed(Names(PUBLIC), "http://hooks.example.org/")
    assert await allowed(Names(PUBLIC), "http://hooks.example.org/", allow_http=True) == PUBLIC
    with pytest.raises(PermissionDeniedError):
        await allowed(Names(["127.0.0.1"]), "http://hooks.example.org/", allow_http=True)


async def test_a_name_that_leads_nowhere_is_not_reached() -> None:
    with pytest.raises(ServerUnreachableError):
        await allowed(Names([]))


async def test_the_systems_resolver_knows_addresses_and_says_what_it_cannot_resolve() -> None:
    assert await resolve_with_system("192.0.2.7", 443) == ["192.0.2.7"]
    assert await resolve_with_system("2001:db8::7", 443) == ["2001:db8::7"]
    assert set(await resolve_with_system("localhost", 80)) <= {"127.0.0.1", "::1"}
    for nowhere in ("nowhere.invalid", "a..b", "x" * 64):
        with pytest.raises(ServerUnreachableError):
            await resolve_with_system(nowhere, 443)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1", "0"])
async def test_what_the_systems_resolver_reads_as_loopback_is_refused_however_it_is_spelt(host: str) -> None:
    found = await resolve_with_system(host, 80)
    assert found
    assert not any(is_public_address(each) for each in found)
