"""Test how a server is reached: credentials, timeouts, Unix sockets and TLS."""

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


async def send_info(exchange: Exchange) -> None:
    await exchange.answer(INFO)


# ---- credentials


def test_credentials_depend_on_endpoint(tmp_path: Path) -> None:
    async def run() -> None:
        async with serving(send_info, tenant="factory-7", subject="USER:dev") as (server, client):
            await client.workspace()
            headers = server.exchanges[0].headers
            assert (headers["authorization"], headers["x-se-tenant"]) == (f"Bearer {TOKEN}", "factory-7")
            assert "x-se-subject" not in headers

        local = ScriptedServer(send_info)
        await local.start_at(tmp_path / "s")
        client = client_of("", socket=str(tmp_path / "s"), subject="USER:dev", token="")
        await client.workspace()
        headers = local.exchanges[0].headers
        assert headers["x-se-subject"] == "USER:dev"
        assert "authorization" not in headers

    asyncio.run(run())


def test_token_is_never_exposed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    outputs: list[str] = []

    async def refuse(exchange: Exchange) -> None:
        await exchange.refuse(401, "unauthenticated", "The token is not valid here.")

    async def cut(exchange: Exchange) -> None:
        exchange.cut()

    async def garble(exchange: Exchange) -> None:
        await exchange.send(b"no HTTP\r\n\r\n")

    async def run() -> None:
        for handler in (send_info, refuse, cut, garble):
            async with serving(handler, retry_timeout=1.0) as (_, client):
                try:
                    await client.workspace()
                except SealyardError as error:
                    outputs.append("".join(traceback.format_exception(error)))
                    outputs.append(repr(error.to_info()))
                outputs.append(repr(client._connection.endpoint))
        with pytest.raises(ServerUnreachableError) as caught:
            await client_of("http://127.0.0.1:1", retry_timeout=1.0).workspace()
        outputs.append("".join(traceback.format_exception(caught.value)))

    asyncio.run(run())
    assert len(outputs) == 11
    # httpcore logs headers at the level DEBUG, which no log of the application has.
    messages = [each.getMessage() for each in caplog.records if each.levelno > logging.DEBUG]
    assert not any(TOKEN in each for each in (*outputs, *messages))


def test_request_repr_hides_contents() -> None:
    call = Request(method="POST", path="/key", headers={"X": "hidden"}, content=b"hidden")
    assert "hidden" not in repr(call)


def test_redirect_does_not_receive_token() -> None:
    async def run() -> None:
        async with serving(send_info) as (other_server, _):

            async def handler(exchange: Exchange) -> None:
                await exchange.answer(b"", 307, {"Location": f"{other_server.url}/api/v1/workspace"})

            async with serving(handler) as (_, client):
                with pytest.raises(ServerUnreachableError):
                    await client.workspace()
            assert other_server.calls == []

    asyncio.run(run())


def test_plain_http_ignores_environment_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        async with serving(send_info) as (proxy, _), serving(send_info) as (server, client):
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("ALL_PROXY", proxy.url)
            await client.workspace()
            assert (len(proxy.calls), len(server.calls)) == (0, 1)

    asyncio.run(run())


# ---- timeouts


@pytest.mark.parametrize("response_started", [False, True])
def test_silent_server_times_out(response_started: bool) -> None:
    async def handler(exchange: Exchange) -> None:
        if response_started:
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


def test_exhausted_connection_pool_raises_busy() -> None:
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


# ---- recovery of the Unix socket


def test_stale_socket_is_recovered(tmp_path: Path) -> None:
    path = tmp_path / "s"
    recoveries: list[int] = []

    async def run() -> None:
        server = ScriptedServer(send_info)

        async def recover() -> None:
            recoveries.append(1)
            path.unlink(missing_ok=True)
            await server.start_at(path)

        connection = Connection(Endpoint(socket=str(path), subject="USER:dev"), QUICK)
        client = HttpClient(connection, FakeClock(), recover=recover)
        assert await client.workspace() == INFO
        server.stop()
        assert await client.workspace() == INFO
        assert len(recoveries) == 2

    asyncio.run(run())


def test_recovery_error_is_raised_after_timeout(tmp_path: Path) -> None:
    attempts: list[int] = []

    async def recover() -> None:
        attempts.append(1)
        raise WorkspaceLockedError("Another process holds it.")

    async def run() -> None:
        connection = Connection(Endpoint(socket=str(tmp_path / "s"), subject="USER:dev"), QUICK)
        with pytest.raises(WorkspaceLockedError):
            await HttpClient(connection, FakeClock(), recover=recover).workspace()

    asyncio.run(run())
    assert len(attempts) > 5


def test_call_succeeds_despite_failed_recovery(tmp_path: Path) -> None:
    path = tmp_path / "s"

    async def run() -> None:
        server = ScriptedServer(send_info)

        async def recover() -> None:
            await server.start_at(path)
            raise KeyStoreLockedError("The passphrase is wrong.")

        connection = Connection(Endpoint(socket=str(path), subject="USER:dev"), QUICK)
        assert await HttpClient(connection, FakeClock(), recover=recover).workspace() == INFO
        server.stop()

    asyncio.run(run())


# ---- TLS


def _create_certificate(folder: Path) -> Path:
    """Write the key and the self-signed certificate of 127.0.0.1."""
    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "here")])
    now = datetime.now(UTC)
    certificate = (
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
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path


def _run_over_tls(folder: Path, work: Callable[[ScriptedServer, Path, str], Awaitable[None]]) -> None:
    pem = _create_certificate(folder)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(pem)

    async def run() -> None:
        server = ScriptedServer(send_info)
        await server.start(tls=tls)
        await work(server, pem, f"https://127.0.0.1:{server.port}")
        server.stop()

    asyncio.run(run())


def test_untrusted_certificate_is_not_retried(tmp_path: Path) -> None:
    async def work(server: ScriptedServer, _: Path, url: str) -> None:
        clock = FakeClock()
        with pytest.raises(ServerUnreachableError, match="not trusted") as caught:
            await client_of(url, clock=clock).workspace()
        assert caught.value.reach is DeliveryCertainty.UNTRUSTED
        assert caught.value.structured_hint.code == HintCode.TRUST_CERTIFICATE
        assert clock.slept == []
        assert server.calls == []

    _run_over_tls(tmp_path, work)


def test_configured_authority_is_trusted(tmp_path: Path) -> None:
    async def work(_: ScriptedServer, pem: Path, url: str) -> None:
        assert await client_of(url, ca=str(pem)).workspace() == INFO

    _run_over_tls(tmp_path, work)


def test_invalid_authority_file_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "none.pem").write_text("nothing")

    async def run() -> None:
        for name in ("none.pem", "missing.pem"):
            with pytest.raises(InvalidInputError, match=name):
                await client_of("https://127.0.0.1:1", ca=str(tmp_path / name)).workspace()

    asyncio.run(run())
