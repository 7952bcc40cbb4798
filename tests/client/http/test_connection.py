"""How a server is reached: TLS, Unix sockets, what is said of who asks, and what never is."""

from __future__ import annotations

import asyncio
import logging
import ssl
import traceback
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint, Request, Timeouts
from sealyard.model.errors import (
    DeliveryCertainty,
    InvalidInputError,
    KeyStoreLockedError,
    SealyardError,
    ServerUnreachableError,
    WorkspaceLockedError,
)
from sealyard.model.hints import HintCode
from tests.support.fake_client import FakeClock
from tests.support.scripted_server import INFO, QUICK, TOKEN, Exchange, ScriptedServer, client_of, serving


async def told(exchange: Exchange) -> None:
    await exchange.answer(INFO)


# ---- who asks


def test_token_and_tenant_go_with_every_call_and_a_subject_only_to_a_socket(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(told, tenant="factory-7", subject="USER:dev") as (server, client):
            await client.workspace()
            said = server.exchanges[0].headers
            assert (said["authorization"], said["x-se-tenant"]) == (f"Bearer {TOKEN}", "factory-7")
            assert "x-se-subject" not in said

        local = ScriptedServer(told)
        await local.start_at(tmp_path / "s")
        client = client_of("", socket=str(tmp_path / "s"), subject="USER:dev", token="")
        await client.workspace()
        said = local.exchanges[0].headers
        assert said["x-se-subject"] == "USER:dev"
        assert "authorization" not in said

    asyncio.run(run())


def test_no_token_appears_in_errors_logs_or_what_is_printed_of_values(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []

    async def refusing(exchange: Exchange) -> None:
        await exchange.refuse(401, "unauthenticated", "The token is not valid here.")

    async def cutting(exchange: Exchange) -> None:
        exchange.cut()

    async def garbling(exchange: Exchange) -> None:
        await exchange.send(b"no HTTP\r\n\r\n")

    async def run() -> None:
        for handler in (told, refusing, cutting, garbling):
            async with serving(handler, retry_timeout=1.0) as (_, client):
                try:
                    await client.workspace()
                except SealyardError as error:
                    seen.append("".join(traceback.format_exception(error)))
                    seen.append(repr(error.to_info()))
                seen.append(repr(client._connection.endpoint))
        with pytest.raises(ServerUnreachableError) as caught:
            await client_of("http://127.0.0.1:1", retry_timeout=1.0).workspace()
        seen.append("".join(traceback.format_exception(caught.value)))

    asyncio.run(run())
    assert len(seen) == 11
    # httpcore tells of headers at the level DEBUG, which no log of this program is written at.
    said = [each.getMessage() for each in caplog.records if each.levelno > logging.DEBUG]
    assert not any(TOKEN in each for each in (*seen, *said))


def test_what_a_call_carries_is_not_shown_where_it_is_printed() -> None:
    call = Request(method="POST", path="/key", headers={"X": "hidden"}, content=b"hidden")
    assert "hidden" not in repr(call)


def test_a_redirect_takes_the_token_nowhere() -> None:
    async def run() -> None:
        async with serving(told) as (elsewhere, _):

            async def handler(exchange: Exchange) -> None:
                await exchange.answer(b"", 307, {"Location": f"{elsewhere.url}/api/v1/workspace"})

            async with serving(handler) as (_, client):
                with pytest.raises(ServerUnreachableError):
                    await client.workspace()
            assert elsewhere.calls == []

    asyncio.run(run())


def test_a_proxy_of_the_environment_never_sees_what_is_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with serving(told) as (proxy, _), serving(told) as (server, client):
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            await client.workspace()
            assert (len(proxy.calls), len(server.calls)) == (0, 1)

    asyncio.run(run())


# ---- time


@pytest.mark.parametrize("begun", [False, True])
def test_a_server_that_falls_silent_is_given_up_on(begun: bool) -> None:
    async def handler(exchange: Exchange) -> None:
        if begun:
            await exchange.begin(headers={"Content-Length": "100"})
        await asyncio.sleep(3600)

    async def run() -> None:
        async with serving(handler, retry_timeout=0.0, limits=Timeouts(read=0.2, transfer=0.2)) as (_, client):
            with pytest.raises(ServerUnreachableError, match="in time") as caught:
                await client.workspace()
            assert caught.value.reach is DeliveryCertainty.UNKNOWN
            with pytest.raises(ServerUnreachableError, match="in time"):
                _ = [each async for each in client.download("t1")]

    asyncio.run(run())


def test_more_calls_at_once_than_connections_wait_for_each_other() -> None:
    gate = asyncio.Event()

    async def handler(exchange: Exchange) -> None:
        await gate.wait()
        await exchange.answer(INFO)

    async def run() -> None:
        limits = Timeouts(read=5.0, pool=0.2, connections=1)
        async with serving(handler, retry_timeout=0.0, limits=limits) as (_, client):
            first = asyncio.create_task(client.workspace())
            await asyncio.sleep(0)
            with pytest.raises(ServerUnreachableError) as caught:
                await client.workspace()
            assert caught.value.reach is DeliveryCertainty.BUSY
            gate.set()
            assert await first == INFO

    asyncio.run(run())


# ---- a Unix socket that somebody else takes over


def test_where_nobody_listens_at_the_socket_any_more_it_is_recovered_and_the_call_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "s"
    recovered: list[int] = []

    async def run() -> None:
        server = ScriptedServer(told)

        async def recover() -> None:
            recovered.append(1)
            path.unlink(missing_ok=True)
            await server.start_at(path)

        connection = Connection(Endpoint(socket=str(path), subject="USER:dev"), QUICK)
        client = HttpClient(connection, FakeClock(), recover=recover)
        assert await client.workspace() == INFO
        server.stop()
        assert await client.workspace() == INFO
        assert len(recovered) == 2

    asyncio.run(run())


def test_what_keeps_the_socket_from_being_recovered_is_told_when_patience_ends(tmp_path: Path) -> None:
    tried: list[int] = []

    async def recover() -> None:
        tried.append(1)
        raise WorkspaceLockedError("Somebody else holds it.")

    async def run() -> None:
        connection = Connection(Endpoint(socket=str(tmp_path / "s"), subject="USER:dev"), QUICK)
        with pytest.raises(WorkspaceLockedError):
            await HttpClient(connection, FakeClock(), recover=recover).workspace()

    asyncio.run(run())
    assert len(tried) > 5


def test_who_cannot_recover_the_socket_goes_on_where_another_does(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def run() -> None:
        server = ScriptedServer(told)

        async def recover() -> None:
            await server.start_at(path)
            raise KeyStoreLockedError("The passphrase is wrong.")

        connection = Connection(Endpoint(socket=str(path), subject="USER:dev"), QUICK)
        assert await HttpClient(connection, FakeClock(), recover=recover).workspace() == INFO
        server.stop()

    asyncio.run(run())


# ---- TLS


def _certificate(folder: Path) -> Path:
    """Key and certificate of 127.0.0.1, signed by itself."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, SHA256())
    )
    path = folder / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return path


def _over_tls(folder: Path, work: Callable[[ScriptedServer, Path, str], Awaitable[None]]) -> None:
    pem = _certificate(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)

    async def run() -> None:
        server = ScriptedServer(told)
        await server.start(tls=tls)
        await work(server, pem, f"https://127.0.0.1:{server.port}")
        server.stop()

    asyncio.run(run())


def test_a_certificate_that_nobody_vouches_for_is_not_trusted_and_not_tried_again(tmp_path: Path) -> None:
    async def work(server: ScriptedServer, _: Path, url: str) -> None:
        clock = FakeClock()
        with pytest.raises(ServerUnreachableError, match="not trusted") as caught:
            await client_of(url, clock=clock).workspace()
        assert caught.value.reach is DeliveryCertainty.UNTRUSTED
        assert caught.value.structured_hint.code == HintCode.TRUST_CERTIFICATE
        assert clock.slept == []
        assert server.calls == []

    _over_tls(tmp_path, work)


def test_a_named_authority_is_trusted(tmp_path: Path) -> None:
    async def work(_: ScriptedServer, pem: Path, url: str) -> None:
        assert await client_of(url, ca=str(pem)).workspace() == INFO

    _over_tls(tmp_path, work)


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")

    async def run() -> None:
        for name in ("none.pem", "missing.pem"):
            with pytest.raises(InvalidInputError, match=name):
                await client_of("https://127.0.0.1:1", ca=str(tmp_path / name)).workspace()

    asyncio.run(run())
