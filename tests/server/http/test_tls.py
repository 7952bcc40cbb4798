"""Tests of TLS: certificate files at start and on reload."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from sealyard.model.errors import StorageError
from tests.support.limits import TIMEOUT
from tests.support.running_server import RunningServer, run_service, start_error
from tests.support.tls_certificates import create_cert_pair, first_certificate

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def cert_pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_cert_pair(tmp_path_factory.mktemp("tls"), "server")


async def test_server_with_certificate_speaks_only_tls(folder: Path, cert_pair: tuple[Path, Path]) -> None:
    certificate, key = cert_pair
    async with run_service(folder, tls_certificate=str(certificate), tls_key=str(key)) as server:
        assert server.base.startswith("https://")
        port = server.base.rpartition(":")[2]
        tls_context = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=tls_context, timeout=TIMEOUT) as http:
            assert (await http.get(f"{server.base}/healthz")).json() == {"alive": True}
        async with httpx.AsyncClient(timeout=TIMEOUT) as http:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await http.get(f"{server.base}/healthz")
            with pytest.raises(httpx.RemoteProtocolError):
                await http.get(f"http://127.0.0.1:{port}/healthz")


async def test_unusable_certificate_fails_start(folder: Path, cert_pair: tuple[Path, Path], tmp_path: Path) -> None:
    certificate, key = (str(each) for each in cert_pair)
    _, other_key = create_cert_pair(tmp_path, "other")
    encrypted, encrypted_key = create_cert_pair(tmp_path, "encrypted", b"secret")
    start_errors = [
        await start_error(folder, tls_certificate=certificate, tls_key=str(other_key)),
        await start_error(folder, tls_certificate=key, tls_key=key),
        await start_error(folder, tls_key=key),
        await start_error(folder, tls_certificate=str(encrypted), tls_key=str(encrypted_key)),
        await start_error(folder, tls_certificate="/nowhere", tls_key=key),
    ]
    expected_texts = (
        "Invalid TLS certificate",
        "Invalid TLS certificate",
        "Missing TLS certificate",
        "encrypted",
        "/nowhere",
    )
    for error, text in zip(start_errors, expected_texts, strict=True):
        assert text in error.message
    assert isinstance(start_errors[-1], StorageError)


async def fetch_certificate(server: RunningServer) -> str:
    """Return the certificate that a new connection receives, in PEM."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", int(server.base.rpartition(":")[2])))


async def test_renewed_certificate_is_served_after_reload(
    folder: Path, cert_pair: tuple[Path, Path], tmp_path: Path
) -> None:
    cert_files = [Path(shutil.copy(each, tmp_path / each.name)) for each in cert_pair]
    renewed = create_cert_pair(tmp_path, "renewed")
    async with run_service(folder, tls_certificate=str(cert_files[0]), tls_key=str(cert_files[1])) as server:
        tls_context = ssl.create_default_context(cafile=str(cert_pair[0]))
        async with httpx.AsyncClient(verify=tls_context, timeout=TIMEOUT) as http:
            assert (await http.get(f"{server.base}/healthz")).status_code == 200
            assert await fetch_certificate(server) == first_certificate(cert_pair[0])
            for new, file in zip(renewed, cert_files, strict=True):
                shutil.copy(new, file)
            assert await fetch_certificate(server) == first_certificate(cert_pair[0])
            server.service.reload_certificate()
            assert await fetch_certificate(server) == first_certificate(renewed[0])
            assert (await http.get(f"{server.base}/healthz")).status_code == 200
        async with httpx.AsyncClient(verify=tls_context, timeout=TIMEOUT) as http:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await http.get(f"{server.base}/healthz")


async def test_unusable_certificate_on_reload_keeps_previous(
    folder: Path, cert_pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert_files = [Path(shutil.copy(each, tmp_path / each.name)) for each in cert_pair]
    async with run_service(folder, tls_certificate=str(cert_files[0]), tls_key=str(cert_files[1])) as server:
        cert_files[1].write_text("truncated")
        server.service.reload_certificate()
        assert await fetch_certificate(server) == first_certificate(cert_pair[0])
    errors = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert [each for each in errors if "the previous one stays in use" in each and "Invalid TLS certificate" in each]
