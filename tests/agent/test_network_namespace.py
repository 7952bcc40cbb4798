"""Test a crypto host as an ordinary user in a network namespace, which has only the bus and the object store."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import TaskStatus, Verdict
from tests.crash.cluster_storm import SOCKET_NAME
from tests.support.bus_database import BUS_AGENT
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.object_store import TestBucket
from tests.support.object_store_fixtures import bucket, ministack
from tests.support.ordinary_user import ORDINARY_USER, give_to_ordinary_user, run_as_ordinary_user
from tests.support.postgres_fixtures import postgres_server
from tests.support.processes import command_line, descendants_of
from tests.support.programs import require
from tests.support.server_harness import DEV, GATEWAY, OWNER
from tests.support.zone_fixtures import zone_template
from tests.support.zone_harness import CryptoHost, ZoneHarness

__all__ = ["bucket", "ministack", "postgres_server", "zone_template"]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can enter."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def namespace_command() -> tuple[str, ...]:
    """The start of a command that runs in a network namespace of its own. Skips the test if that is not possible."""
    if os.geteuid() != 0:
        pytest.skip("only root can run programs as another user in a network namespace")
    require("unshare")
    command = ("unshare", "--net")
    probe = subprocess.run([*command, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"this system does not permit network namespaces: {probe.stderr}")
    return command


async def test_isolated_host_reaches_only_bus_and_object_store(
    zone_template: ZoneHarness, bucket: TestBucket, open_folder: Path, namespace_command: tuple[str, ...]
) -> None:
    zone = zone_template.copy(open_folder, bucket)
    (host,) = zone.hosts
    async with _isolate(zone, host, namespace_command), zone.run_engine() as engine:
        try:
            await host.start()
            task = await engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"hello"))
            await engine.client(OWNER).decide(task.id, Verdict.APPROVED, digest=task.approval_digest)
            done = await engine.client(DEV).wait(task.id)
            assert done.status is TaskStatus.DONE, done.reason
            await asyncio.to_thread(_check_isolation, host)
        finally:
            zone.close()


@asynccontextmanager
async def _isolate(zone: ZoneHarness, host: CryptoHost, namespace_command: tuple[str, ...]) -> AsyncIterator[None]:
    """Let the host start in a namespace, with a Unix socket of the bus and a port that leads to the object store."""
    port = urlsplit(zone.bucket.server.url).port or 0
    bus_socket, store_socket = zone.root / SOCKET_NAME, zone.root / "object-store"
    async with (
        CuttableProxy(zone.bus.server.folder / SOCKET_NAME).listen(bus_socket),
        CuttableProxy(port).listen(store_socket),
    ):
        for path in (bus_socket, store_socket):
            path.chmod(0o666)
        host.set_bus(f"host={zone.root} dbname={zone.bus.name} user={BUS_AGENT}")
        give_to_ordinary_user(host.folder)
        relay = (sys.executable, "-m", "tests.support.network_namespace", str(port), str(store_socket))
        host.command_prefix = (*namespace_command, *relay, *run_as_ordinary_user())
        yield


def _check_isolation(host: CryptoHost) -> None:
    """Check the user and the namespace of all processes of the host, and that it reaches no other port."""
    pids = [host.pid, *descendants_of(host.pid)]
    users = {pid: Path(f"/proc/{pid}/status").read_text().split("Uid:")[1].split()[0] for pid in pids}
    relays = [pid for pid in pids if "network_namespace" in command_line(pid)]
    assert {user for pid, user in users.items() if pid not in relays} == {str(ORDINARY_USER)}
    own_namespace = Path("/proc/self/ns/net").readlink()
    assert all(Path(f"/proc/{pid}/ns/net").readlink() != own_namespace for pid in pids)
    with socket.create_server(("127.0.0.1", 0)) as other_server:
        port = other_server.getsockname()[1]
        connect = f"import socket; socket.create_connection(('127.0.0.1', {port}))"
        command = ["nsenter", "--net", "--target", str(host.pid), sys.executable, "-c", connect]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "ConnectionRefusedError" in result.stderr
