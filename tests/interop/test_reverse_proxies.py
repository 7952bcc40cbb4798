"""Tests of the documented nginx and Caddy configurations, which terminate TLS in front of the server."""

from __future__ import annotations

import asyncio
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.limits import TIMEOUT
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.ports import ReservedPort
from tests.support.programs import require
from tests.support.running_server import RunningServer, run_service
from tests.support.server_harness import DEV, GATEWAY, create_test_workspace, wait_until
from tests.support.tls_certificates import create_cert_pair

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

README = Path(__file__).parents[2] / "core/sealyard/server/README.md"
CONTENT = bytes(range(256)) * 12_000
"""3 MB: more than the 1 MiB that nginx accepts by default."""


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def reserved_port() -> Iterator[ReservedPort]:
    with ReservedPort() as port:
        yield port


def documented_config(language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", README.read_text(), re.DOTALL)
    assert match is not None
    return match[1]


def nginx_command(folder: Path, config: str) -> list[str]:
    paths = "".join(
        f"{name}_temp_path {folder}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nerror_log stderr;\npid {folder}/nginx.pid;\nevents {{ }}\n"
        f"http {{\naccess_log off;\n{paths}{config}}}\n"
    )
    return [require("nginx"), "-e", "stderr", "-c", str(folder / "nginx.conf")]


def caddy_command(folder: Path, config: str) -> list[str]:
    (folder / "Caddyfile").write_text(f"{{\nadmin off\nauto_https disable_redirects\n}}\n{config}")
    return [require("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES: dict[str, Callable[[Path, str], list[str]]] = {"nginx": nginx_command, "caddy": caddy_command}


@asynccontextmanager
async def run_proxy(proxy: str, folder: Path, port: int, server: RunningServer) -> AsyncIterator[httpx.AsyncClient]:
    """Run a proxy on ``port`` with its documented configuration, changed only in addresses and certificate."""
    certificate, key = create_cert_pair(folder, "tls")
    config = documented_config(proxy).replace("/etc/ssl/seal.example.pem", str(certificate))
    config = config.replace("/etc/ssl/seal.example.key", str(key)).replace(
        "127.0.0.1:8750", server.base[len("http://") :]
    )
    config = config.replace("listen 443", f"listen 127.0.0.1:{port}").replace("seal.example {", f"localhost:{port} {{")
    command = PROXIES[proxy](folder, config)
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (folder / "proxy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    context = ssl.create_default_context(cafile=certificate)
    headers = {"Authorization": f"Bearer {await server.token(DEV)}"}
    try:
        async with httpx.AsyncClient(
            base_url=f"https://localhost:{port}", verify=context, headers=headers, timeout=TIMEOUT, trust_env=False
        ) as client:

            async def is_ready() -> bool:
                assert process.poll() is None, (folder / "proxy.log").read_text()
                try:
                    return (await client.get("/healthz")).status_code == 200
                except httpx.TransportError:
                    return False

            await wait_until(is_ready, "the proxy answers")
            yield client
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait, 10)


@pytest.mark.parametrize("proxy", PROXIES)
async def test_documented_proxy_serves_tasks_and_events(
    proxy: str, tmp_path: Path, reserved_port: ReservedPort
) -> None:
    require(proxy)
    await create_test_workspace(tmp_path / "workspace")
    async with (
        run_service(tmp_path / "workspace", behind_proxy=True, trusted_proxies="127.0.0.1") as server,
        run_proxy(proxy, tmp_path, reserved_port.number, server) as client,
        client.stream("GET", "/api/v1/events") as events,
    ):
        lines = events.aiter_lines()
        assert (await anext(lines)).startswith("id: ")
        form = build_form([Field("deviceConfigId", GATEWAY.encode()), Field("inputFile", CONTENT, "firmware.bin")])
        created = await client.post("/api/v1/encryptionTask", headers={"Content-Type": FORM_TYPE}, content=form)
        assert created.status_code == 201, created.text
        path = f"/api/v1/encryptionTask/{created.json()['id']}"
        async with asyncio.timeout(TIMEOUT):
            while '"status":"DONE"' not in await anext(lines):
                pass
        task = (await client.get(path)).json()
        assert task["downloadUrl"].startswith(f"{client.base_url}/api/v1/link/")
        result = await client.get(task["downloadUrl"])
        assert len(result.content) == task["result"]["size"]
        part = await client.get(task["downloadUrl"], headers={"Range": "bytes=10-19"})
        assert (part.status_code, part.content) == (206, result.content[10:20])
        assert (await client.head(task["downloadUrl"])).headers["content-length"] == str(len(result.content))
        assert (await client.get("/metrics")).status_code == 404
