"""Tests of the connection limit."""

from __future__ import annotations

import asyncio
import resource
import ssl
from pathlib import Path

import pytest

from sealyard.server.http import connection_limit as connection_limit_module
from sealyard.server.http import listeners
from sealyard.server.http.connection_limit import DESCRIPTORS_PER_CONNECTION, MAX_CONNECTIONS, connection_limit
from sealyard.server.http.tls import TlsCertificate
from tests.support.limits import TIMEOUT
from tests.support.raw_connection import REQUEST, ProtocolServer, RawConnection, run_protocol_server
from tests.support.tls_certificates import create_cert_pair

pytestmark = pytest.mark.anyio

UNLIMITED = resource.RLIM_INFINITY
DESIRED_DESCRIPTORS = MAX_CONNECTIONS * DESCRIPTORS_PER_CONNECTION


@pytest.fixture(autouse=True)
def low_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limit_module, "MAX_CONNECTIONS", 3)


async def request_status(connection: RawConnection) -> int:
    await connection.send(REQUEST)
    return (await connection.answer())[0]


async def wait_until_served(server: ProtocolServer, tls: ssl.SSLContext | None = None) -> None:
    """Wait until a new connection is served."""
    async with asyncio.timeout(TIMEOUT):
        while True:
            try:
                assert await request_status(await server.connect(tls)) == 200
                return
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0)


async def test_connection_above_limit_is_closed() -> None:
    async with run_protocol_server() as server:
        connections = [await server.connect() for _ in range(3)]
        assert [await request_status(each) for each in connections] == [200] * 3
        for _ in range(10):
            assert await (await server.connect()).read_all() == b""
        assert [await request_status(each) for each in connections] == [200] * 3


async def test_closed_connection_frees_its_slot() -> None:
    async with run_protocol_server() as server:
        for _ in range(3):
            connections = [await server.connect() for _ in range(3)]
            assert [await request_status(each) for each in connections] == [200] * 3
            connections.pop().writer.close()
            await wait_until_served(server)
            server.close()
            async with asyncio.timeout(TIMEOUT):
                while server.connections():
                    await asyncio.sleep(0)


async def test_unfinished_tls_handshake_frees_slot_after_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "HANDSHAKE_TIMEOUT", 1.0)
    certificate, key = create_cert_pair(tmp_path, "server")
    tls_context = ssl.create_default_context(cafile=str(certificate))
    async with run_protocol_server(TlsCertificate(str(certificate), str(key))) as server:
        silent = [await server.connect() for _ in range(3)]
        assert await (await server.connect()).read_all() == b""
        for each in silent:
            assert await each.read_all() == b""
        await wait_until_served(server, tls_context)


@pytest.mark.parametrize(
    ("limits", "raised_to", "expected"),
    [
        ((1024, 524288), DESIRED_DESCRIPTORS, MAX_CONNECTIONS),
        ((1024, UNLIMITED), DESIRED_DESCRIPTORS, MAX_CONNECTIONS),
        ((524288, 524288), None, MAX_CONNECTIONS),
        ((UNLIMITED, UNLIMITED), None, MAX_CONNECTIONS),
        ((256, 1024), 1024, 1024 // DESCRIPTORS_PER_CONNECTION),
        ((1024, 1024), None, 1024 // DESCRIPTORS_PER_CONNECTION),
    ],
)
def test_connection_limit_depends_on_file_descriptors(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised_to: int | None, expected: int
) -> None:
    monkeypatch.setattr(connection_limit_module, "MAX_CONNECTIONS", MAX_CONNECTIONS)
    requested: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: requested.append(limits))
    assert connection_limit() == expected
    assert requested == ([] if raised_to is None else [(raised_to, limits[1])])
