"""Measure the server: requests per second, transfer rates, broken connections, and the latency of events."""

from __future__ import annotations

import asyncio
import hashlib
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.credentials import TokenRequest
from sealyard.model.events import TaskChanged
from sealyard.model.requests import EncryptionRequest, SigningRequest, TaskFilter
from sealyard.model.tasks import TaskStatus
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.connections import ServerConnection
from sealyard_tui.session.session import Session
from tests.benchmarks.memory import MEBIBYTE
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import (
    ADMINISTRATOR,
    DEVELOPER,
    DEVICE,
    OWNER,
    PASSPHRASE,
    create_bench_workspace,
    open_engine,
    random_file,
    temporary_dir,
)
from tests.crash.workspace_process import ServerProcess
from tests.support.unreliable_proxy import UnreliableProxy

CALLS = 400
MAX_PARALLEL = 8
TRANSFER_SIZE = 1 << 30
RESUMED_SIZE = 2 << 30
CUTS = 12
PROXY_RATE = 200e6
"""Bytes per second through the proxy."""


def rows() -> list[Row]:
    os.environ["SEALYARD_PASSPHRASE"] = PASSPHRASE
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    with temporary_dir() as root:
        tokens = await create_tokens(root / "workspace")
        server = ServerProcess(root / "workspace", root / "server.log", passphrase=PASSPHRASE)
        try:
            await server.start()
            developer, owner = (create_client(server.url, tokens[each]) for each in (DEVELOPER, OWNER))
            result = [*await _measure_rates(developer), await _measure_event_latency(developer, owner)]
            result.append(await _measure_screen_latency(server.url, developer, tokens[OWNER]))
            result += await _measure_transfers(developer, root)
            result += await _measure_resumed_transfers(server, tokens[DEVELOPER], root)
            await developer.close()
            await owner.close()
            assert await server.stop() == 0
        finally:
            server.close()
    return result


async def create_tokens(workspace: Path, database: str | None = None) -> dict[str, str]:
    """Create a workspace, and return a token of the developer and one of the owner."""
    await create_bench_workspace(workspace, database)
    async with open_engine(workspace, work=False) as engine:
        client = engine.client(ADMINISTRATOR)
        return {
            each: (await client.create_token(TokenRequest(name="bench", subject=each))).secret
            for each in (DEVELOPER, OWNER)
        }


def create_client(url: str, token: str) -> HttpClient:
    return HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())


async def _measure_rates(client: HttpClient) -> list[Row]:
    """Send eight requests in parallel."""

    async def create() -> None:
        await client.create_signing(SigningRequest(config=DEVICE, message=b"hello"))

    async def page() -> None:
        await client.tasks(TaskFilter(), limit=50)

    return [
        Row(
            "signing tasks created durably per second over HTTP, 8 in parallel",
            await _measure_rate(create),
            "reported",
            "/s",
        ),
        Row("pages of 50 tasks per second over HTTP, 8 in parallel", await _measure_rate(page), "reported", "/s"),
    ]


async def _measure_rate(request: Callable[[], Awaitable[None]]) -> float:
    await request()
    slots = asyncio.Semaphore(MAX_PARALLEL)

    async def send_one() -> None:
        async with slots:
            await request()

    started_at = time.monotonic()
    await asyncio.gather(*(send_one() for _ in range(CALLS)))
    return CALLS / (time.monotonic() - started_at)


async def measure_event_latencies(sender: HttpClient, receiver: HttpClient) -> list[float]:
    """Measure from the request for a task to its event at another client, in seconds."""
    received_at: dict[str, float] = {}

    async def listen() -> None:
        async for event in receiver.events():
            if isinstance(event, TaskChanged):
                received_at.setdefault(event.task_id, time.monotonic())

    listen_task = asyncio.create_task(listen())
    await asyncio.sleep(0.5)
    latencies = []
    for _ in range(100):
        started_at = time.monotonic()
        task = await sender.create_signing(SigningRequest(config=DEVICE, message=b"hello"))
        while task.id not in received_at:
            await asyncio.sleep(0.0005)
        latencies.append(received_at[task.id] - started_at)
    listen_task.cancel()
    return latencies


async def _measure_event_latency(developer: HttpClient, owner: HttpClient) -> Row:
    latencies = await measure_event_latencies(developer, owner)
    return Row("creation of a task to its event at another client, p50", 1000 * _p50(latencies), "reported", "ms")


async def _measure_screen_latency(url: str, developer: HttpClient, token: str) -> Row:
    """Measure until the task is shown on the dashboard of another user's application, which is idle before."""
    connection = ServerConnection(url, lambda _: token)
    profile = Profile(name="owner", identity=OWNER, server=url)
    app = SealyardApp(Session(connection, profile, (profile,)), Settings())
    latencies = []
    async with app.run_test(size=(120, 40)) as pilot:
        for number in range(40):
            # The cursor stays on its task; on the first row, the next new task is visible.
            await pilot.press("home")
            await pilot.pause(0.3)
            name = f"seen-{number:03d}"
            started_at = time.monotonic()
            await developer.create_signing(SigningRequest(config=DEVICE, message=b"hello", name=name))
            while name not in _screen_text(app):
                await asyncio.sleep(0.002)
            latencies.append(time.monotonic() - started_at)
    await connection.close()
    return Row(
        "creation of a task to its row on another user's screen, p50", 1000 * _p50(latencies[5:]), "reported", "ms"
    )


def _screen_text(app: SealyardApp) -> str:
    return "\n".join("".join(each.text for each in strip) for strip in app.screen._compositor.render_strips())


def _p50(values: list[float]) -> float:
    return statistics.median(values)


async def _measure_transfers(client: HttpClient, root: Path) -> list[Row]:
    """Upload and download 1 GiB, relative to a bare copy with SHA-256 in the same run."""
    source = random_file(root / "large.bin", TRANSFER_SIZE)
    copy_seconds = await asyncio.to_thread(_measure_bare_copy, source, root / "copy.bin")
    started_at = time.monotonic()
    file = await client.upload(source)
    upload_seconds = time.monotonic() - started_at
    task = await client.create_encryption(EncryptionRequest(config=DEVICE, file=file))
    finished = await client.wait(task.id)
    assert finished.status is TaskStatus.DONE, finished.reason
    started_at = time.monotonic()
    await _download(client, task.id, root / "downloaded.bin")
    download_seconds = time.monotonic() - started_at
    rate = TRANSFER_SIZE / 1e6
    return [
        Row("upload of 1 GiB, relative to a bare copy with SHA-256", upload_seconds / copy_seconds, "reported"),
        Row("upload of 1 GiB", rate / upload_seconds, "reported", "MB/s"),
        Row(
            "download of 1 GiB with SHA-256, relative to a bare copy with SHA-256",
            download_seconds / copy_seconds,
            "reported",
        ),
        Row("download of 1 GiB", rate / download_seconds, "reported", "MB/s"),
    ]


def _measure_bare_copy(source: Path, target: Path) -> float:
    """Measure a plain copy loop: read, hash, write, sync."""
    os.sync()
    started_at = time.monotonic()
    digest = hashlib.sha256()
    with source.open("rb") as source_file, target.open("wb") as target_file:
        while chunk := source_file.read(1 << 20):
            digest.update(chunk)
            target_file.write(chunk)
        target_file.flush()
        os.fdatasync(target_file.fileno())
    return time.monotonic() - started_at


async def _download(client: HttpClient, task_id: str, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        async for chunk in client.download(task_id):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fdatasync(file.fileno())
    return digest.hexdigest()


async def _measure_resumed_transfers(server: ServerProcess, token: str, root: Path) -> list[Row]:
    """Upload and download 2 GiB through a proxy of 200 MB/s that breaks the connection twelve times each."""
    source = random_file(root / "resumed.bin", RESUMED_SIZE)
    proxy_options = {"cuts": CUTS, "first": 32 << 20, "last": 160 << 20}
    upload_proxy = UnreliableProxy(server.port, **proxy_options, rate=PROXY_RATE)
    async with upload_proxy.listening() as url:
        client = create_client(url, token)
        file = await client.upload(source)
        task = await client.create_encryption(EncryptionRequest(config=DEVICE, file=file))
        await client.close()
    direct = create_client(server.url, token)
    finished = await direct.wait(task.id)
    await direct.close()
    assert finished.result is not None, finished.reason
    download_proxy = UnreliableProxy(server.port, **proxy_options, rate=PROXY_RATE, seed=2)
    async with download_proxy.listening() as url:
        client = create_client(url, token)
        assert await _download(client, task.id, root / "resumed.out") == finished.result.sha256
        await client.close()
    assert upload_proxy.broken == download_proxy.broken == CUTS
    return [
        Row(
            "upload of 2 GiB with 12 connection losses, bytes sent relative to the file",
            upload_proxy.passed / RESUMED_SIZE,
            "near 1",
        ),
        Row(
            "download of 2 GiB with 12 connection losses, bytes sent relative to the result",
            download_proxy.passed / RESUMED_SIZE,
            "near 1",
        ),
        Row(
            "peak memory of the server, upload and download of 2 GiB with connection losses",
            _peak_memory(server),
            "at most 150",
            "MiB",
        ),
    ]


def _peak_memory(server: ServerProcess) -> float:
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / MEBIBYTE
    raise AssertionError("VmHWM is missing")
