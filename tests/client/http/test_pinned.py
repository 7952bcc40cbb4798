"""Test POST requests to a pinned address: no name lookup, no redirects, limited time."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from sealyard.client.http.pinned import MAX_RESPONSE_BYTES, post_pinned
from sealyard.model.errors import ServerUnreachableError
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio

LOOPBACK = "127.0.0.1"
BODY = b'{"a":1}'


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Listener:
    """Records the heads of requests and the server names of TLS. Responds with ``answer``, endlessly if ``drip``."""

    def __init__(self, answer: bytes = b"HTTP/1.1 204 Word\r\n\r\n", *, drip: bool = False) -> None:
        self.answer = answer
        self.heads: list[str] = []
        self.names: list[str | None] = []
        self.closed = asyncio.Event()
        self.port = 0
        self._drip = drip

    @asynccontextmanager
    async def listen(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Listener]:
        server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer)
            while self._drip:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            writer.close()


class ServerCertificate:
    """A certificate for one name, with TLS contexts of a server that has it and a client that trusts it."""

    def __init__(self, folder: Path, name: x509.GeneralName) -> None:
        key = generate_private_key(SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([name]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(Encoding.PEM)
        path = folder / "certificate.pem"
        path.write_bytes(pem + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(path)
        self.trust = ssl.create_default_context(cadata=pem.decode())


async def test_post_sends_host_name_to_address() -> None:
    async with Listener().listen() as listener:
        url = f"http://nowhere.invalid:{listener.port}/a/b?c=d"
        answer = await post_pinned(url, LOOPBACK, {"webhook-id": "1"}, BODY)
    assert answer.status == 204
    head = listener.heads[0].lower().split("\r\n")
    assert head[0] == "post /a/b?c=d http/1.1"
    assert f"host: nowhere.invalid:{listener.port}" in head
    assert "webhook-id: 1" in head
    assert sum(each.startswith("host:") for each in head) == 1


async def test_tls_verifies_host_name(tmp_path: Path) -> None:
    certificate = ServerCertificate(tmp_path, x509.DNSName("hooks.example.org"))
    listener = Listener()
    certificate.server.sni_callback = lambda _socket, name, _context: listener.names.append(name)
    async with listener.listen(certificate.server):
        url = f"https://hooks.example.org:{listener.port}/"
        assert (await post_pinned(url, LOOPBACK, {}, BODY, trust=certificate.trust)).status == 204
        assert listener.names == ["hooks.example.org"]
        for name in ("other.example.org", LOOPBACK):
            with pytest.raises(ServerUnreachableError, match="not valid for"):
                await post_pinned(f"https://{name}:{listener.port}/", LOOPBACK, {}, BODY, trust=certificate.trust)
        with pytest.raises(ServerUnreachableError, match=r"(?i)self.signed"):
            await post_pinned(url, LOOPBACK, {}, BODY)
    assert len(listener.heads) == 1


async def test_tls_accepts_certificate_of_address(tmp_path: Path) -> None:
    certificate = ServerCertificate(tmp_path, x509.IPAddress(ipaddress.ip_address(LOOPBACK)))
    async with Listener().listen(certificate.server) as listener:
        answer = await post_pinned(f"https://{LOOPBACK}:{listener.port}/", LOOPBACK, {}, BODY, trust=certificate.trust)
    assert answer.status == 204


async def test_redirect_is_not_followed() -> None:
    async with Listener().listen() as target:
        redirect = (
            f"HTTP/1.1 307 Word\r\nLocation: http://{LOOPBACK}:{target.port}/\r\nContent-Length: 0\r\n\r\n".encode()
        )
        async with Listener(redirect).listen() as listener:
            answer = await post_pinned(f"http://{LOOPBACK}:{listener.port}/", LOOPBACK, {}, BODY)
    assert answer.status == 307
    assert target.heads == []


async def test_environment_proxies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Listener().listen() as proxy, Listener().listen() as listener:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{LOOPBACK}:{proxy.port}")
        await post_pinned(f"http://nowhere.invalid:{listener.port}/", LOOPBACK, {}, BODY)
    assert (len(proxy.heads), len(listener.heads)) == (0, 1)


async def test_long_response_is_truncated() -> None:
    async with Listener(b"HTTP/1.1 500 Word\r\nRetry-After: 7\r\n\r\n", drip=True).listen() as listener:
        listener.answer += b"y" * 10 * MAX_RESPONSE_BYTES
        answer = await post_pinned(f"http://{LOOPBACK}:{listener.port}/", LOOPBACK, {}, BODY)
        assert (answer.status, answer.retry_after, answer.body) == (500, "7", b"y" * MAX_RESPONSE_BYTES)
        await asyncio.wait_for(listener.closed.wait(), TIMEOUT)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 Word\r\nX: ", b"HTTP/1.1 200 Word\r\n\r\n"], ids=["in its head", "in its body"]
)
async def test_slow_response_times_out(answer: bytes) -> None:
    async with Listener(answer, drip=True).listen() as listener:
        with pytest.raises(ServerUnreachableError, match="in time"):
            await post_pinned(
                f"http://{LOOPBACK}:{listener.port}/", LOOPBACK, {}, BODY, connect_seconds=0.1, answer_seconds=0.1
            )


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 abc\r\n\r\n"])
async def test_malformed_response_error_hides_url(answer: bytes) -> None:
    async with Listener(answer).listen() as listener:
        with pytest.raises(ServerUnreachableError) as caught:
            await post_pinned(f"http://{LOOPBACK}:{listener.port}/path-that-is-a-secret", LOOPBACK, {}, BODY)
    assert "path" not in str(caught.value)


async def test_connection_error_hides_url() -> None:
    async with Listener().listen() as listener:
        port = listener.port
    with pytest.raises(ServerUnreachableError) as caught:
        await post_pinned(f"http://{LOOPBACK}:{port}/path-that-is-a-secret", LOOPBACK, {}, BODY)
    assert "path" not in str(caught.value)
