"""TLS by certificate files: shown from the start, and anew once they were renewed."""

from __future__ import annotations

import asyncio
import logging
import shutil
import ssl
from pathlib import Path

import httpx
import pytest

from sealyard.model.errors import StorageError
from tests.support.running_server import RunningServer, run_service, start_error
from tests.support.tls_certificates import create_cert_pair, first_certificate

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return create_cert_pair(tmp_path_factory.mktemp("tls"), "server")


async def test_with_a_certificate_it_speaks_tls_and_nothing_else(folder: Path, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    async with run_service(folder, tls_certificate=str(certificate), tls_key=str(key)) as served:
        assert served.base.startswith("https://")
        port = served.base.rpartition(":")[2]
        trusting = ssl.create_default_context(cafile=str(certificate))
        async with httpx.AsyncClient(verify=trusting) as calls:
            assert (await calls.get(f"{served.base}/healthz")).json() == {"alive": True}
        async with httpx.AsyncClient() as calls:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await calls.get(f"{served.base}/healthz")
            with pytest.raises(httpx.RemoteProtocolError):
                await calls.get(f"http://127.0.0.1:{port}/healthz")


async def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(
    folder: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    certificate, key = (str(each) for each in pair)
    _, another = create_cert_pair(tmp_path, "another")
    closed, closed_key = create_cert_pair(tmp_path, "closed", b"secret")
    said = [
        await start_error(folder, tls_certificate=certificate, tls_key=str(another)),
        await start_error(folder, tls_certificate=key, tls_key=key),
        await start_error(folder, tls_key=key),
        await start_error(folder, tls_certificate=str(closed), tls_key=str(closed_key)),
        await start_error(folder, tls_certificate="/nowhere", tls_key=key),
    ]
    words = ("Invalid TLS certificate", "Invalid TLS certificate", "Missing TLS certificate", "encrypted", "/nowhere")
    for error, word in zip(said, words, strict=True):
        assert word in error.message
    assert isinstance(said[-1], StorageError)


async def shown(served: RunningServer) -> str:
    """The certificate that somebody sees who connects now, in PEM."""
    return await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", int(served.base.rpartition(":")[2])))


async def test_one_that_was_renewed_is_shown_from_then_on_and_whoever_is_connected_stays(
    folder: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    used = [Path(shutil.copy(each, tmp_path / each.name)) for each in pair]
    renewed = create_cert_pair(tmp_path, "renewed")
    async with run_service(folder, tls_certificate=str(used[0]), tls_key=str(used[1])) as served:
        trusting = ssl.create_default_context(cafile=str(pair[0]))
        async with httpx.AsyncClient(verify=trusting) as calls:
            assert (await calls.get(f"{served.base}/healthz")).status_code == 200
            assert await shown(served) == first_certificate(pair[0])
            for new, file in zip(renewed, used, strict=True):
                shutil.copy(new, file)
            assert await shown(served) == first_certificate(pair[0])
            served.service.reload_certificate()
            assert await shown(served) == first_certificate(renewed[0])
            assert (await calls.get(f"{served.base}/healthz")).status_code == 200
        async with httpx.AsyncClient(verify=trusting) as calls:
            with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
                await calls.get(f"{served.base}/healthz")


async def test_one_that_cannot_be_used_leaves_the_one_before_and_the_log_says_so(
    folder: Path, pair: tuple[Path, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    used = [Path(shutil.copy(each, tmp_path / each.name)) for each in pair]
    async with run_service(folder, tls_certificate=str(used[0]), tls_key=str(used[1])) as served:
        used[1].write_text("half a fi")
        served.service.reload_certificate()
        assert await shown(served) == first_certificate(pair[0])
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert [each for each in told if "the previous one stays in use" in each and "Invalid TLS certificate" in each]
