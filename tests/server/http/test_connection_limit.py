"""Only so many are connected at once, whatever they do; the others are served all the same."""

from __future__ import annotations

import asyncio
import resource
import ssl
from pathlib import Path

import pytest

from sealyard.server.http import connection_limit as admission
from sealyard.server.http import listeners as serving
from sealyard.server.http.connection_limit import DESCRIPTORS_PER_CONNECTION, MAX_CONNECTIONS, connection_limit
from sealyard.server.http.tls import TlsCertificate
from tests.support.raw_connection import REQUEST, WITHIN, RawConnection, Served, served
from tests.support.tls_certificates import create_cert_pair

pytestmark = pytest.mark.anyio

UNLIMITED = resource.RLIM_INFINITY
WANTED = MAX_CONNECTIONS * DESCRIPTORS_PER_CONNECTION


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MAX_CONNECTIONS", 3)


async def asked(line: RawConnection) -> int:
    await line.send(REQUEST)
    return (await line.answer())[0]


async def served_again(server: Served, tls: ssl.SSLContext | None = None) -> None:
    """Returns when somebody new is served."""
    async with asyncio.timeout(WITHIN):
        while True:
            try:
                assert await asked(await server.line(tls)) == 200
                return
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0)


async def test_one_too_many_is_closed_and_the_others_go_on() -> None:
    async with served() as server:
        lines = [await server.line() for _ in range(3)]
        assert [await asked(each) for each in lines] == [200] * 3
        for _ in range(10):
            assert await (await server.line()).read_all() == b""
        assert [await asked(each) for each in lines] == [200] * 3


async def test_who_leaves_makes_a_place_for_another() -> None:
    async with served() as server:
        for _ in range(3):
            lines = [await server.line() for _ in range(3)]
            assert [await asked(each) for each in lines] == [200] * 3
            lines.pop().writer.close()
            await served_again(server)
            server.close()
            async with asyncio.timeout(WITHIN):
                while server.connections():
                    await asyncio.sleep(0)


async def test_who_never_ends_a_tls_handshake_takes_a_place_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HANDSHAKE_TIMEOUT", 1.0)
    certificate, key = create_cert_pair(tmp_path, "server")
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with served(TlsCertificate(str(certificate), str(key))) as server:
        silent = [await server.line() for _ in range(3)]
        assert await (await server.line()).read_all() == b""
        for each in silent:
            assert await each.read_all() == b""
        await served_again(server, trusting)


@pytest.mark.parametrize(
    ("limits", "raised_to", "found"),
    [
        ((1024, 524288), WANTED, MAX_CONNECTIONS),
        ((1024, UNLIMITED), WANTED, MAX_CONNECTIONS),
        ((524288, 524288), None, MAX_CONNECTIONS),
        ((UNLIMITED, UNLIMITED), None, MAX_CONNECTIONS),
        ((256, 1024), 1024, 1024 // DESCRIPTORS_PER_CONNECTION),
        ((1024, 1024), None, 1024 // DESCRIPTORS_PER_CONNECTION),
    ],
)
def test_there_are_no_more_places_than_descriptors_for_them(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised_to: int | None, found: int
) -> None:
    monkeypatch.setattr(admission, "MAX_CONNECTIONS", MAX_CONNECTIONS)
    asked_for: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked_for.append(limits))
    assert connection_limit() == found
    assert asked_for == ([] if raised_to is None else [(raised_to, limits[1])])
