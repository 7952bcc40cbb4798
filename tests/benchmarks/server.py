"""The server: calls a second, bytes up and down, a broken line, and how soon an event is seen."""

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
    folder,
    found,
    opened,
    random_file,
)
from tests.crash.server_process import ServerProcess
from tests.support.unreliable_proxy import UnreliableProxy

CALLS = 400
AT_ONCE = 8
LARGE = 1 << 30
ROUGH = 2 << 30
CUTS = 12
ROUGH_RATE = 200e6
"""Bytes a second on the throttled line."""


def rows() -> list[Row]:
    os.environ["SEALYARD_PASSPHRASE"] = PASSPHRASE
    return asyncio.run(_measured())


async def _measured() -> list[Row]:
    with folder() as root:
        tokens = await _tokens(root / "workspace")
        server = ServerProcess(root / "workspace", root / "server.log", passphrase=PASSPHRASE)
        try:
            await server.start()
            developer, owner = (_client(server.url, tokens[each]) for each in (DEVELOPER, OWNER))
            found_rows = [*await _rates(developer), await _events(developer, owner)]
            found_rows.append(await _screen(server.url, developer, tokens[OWNER]))
            found_rows += await _bytes(developer, root)
            found_rows += await _rough(server, tokens[DEVELOPER], root)
            await developer.close()
            await owner.close()
            assert await server.stop() == 0
        finally:
            server.close()
    return found_rows


async def _tokens(workspace: Path) -> dict[str, str]:
    await found(workspace)
    async with opened(workspace, work=False) as engine:
        client = engine.client(ADMINISTRATOR)
        return {
            each: (await client.create_token(TokenRequest(name="bench", subject=each))).secret
            for each in (DEVELOPER, OWNER)
        }


def _client(url: str, token: str) -> HttpClient:
    return HttpClient(Connection(Endpoint(url=url, token=token)), SystemClock())


async def _rates(client: HttpClient) -> list[Row]:
    """Eight calls at once."""

    async def create() -> None:
        await client.create_signing(SigningRequest(config=DEVICE, message=b"hello"))

    async def page() -> None:
        await client.tasks(TaskFilter(), limit=50)

    return [
        Row("signing tasks created a second over HTTP, durable, 8 at once", await _rate(create), "reported", "/s"),
        Row("pages of 50 tasks a second over HTTP, 8 at once", await _rate(page), "reported", "/s"),
    ]


async def _rate(call: Callable[[], Awaitable[None]]) -> float:
    await call()
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with slots:
            await call()

    began = time.monotonic()
    await asyncio.gather(*(one() for _ in range(CALLS)))
    return CALLS / (time.monotonic() - began)


async def _events(developer: HttpClient, owner: HttpClient) -> Row:
    """From the answer that a task is durable to its event at another client: negative where the event comes first."""
    seen: dict[str, float] = {}

    async def listen() -> None:
        async for event in owner.events():
            if isinstance(event, TaskChanged):
                seen.setdefault(event.task_id, time.monotonic())

    listening = asyncio.create_task(listen())
    await asyncio.sleep(0.5)
    late = []
    for _ in range(100):
        began = time.monotonic()
        task = await developer.create_signing(SigningRequest(config=DEVICE, message=b"hello"))
        while task.id not in seen:
            await asyncio.sleep(0.0005)
        late.append(seen[task.id] - began)
    listening.cancel()
    return Row("from asking for a task to its event at another client, p50", 1000 * _p50(late), "reported", "ms")


async def _screen(url: str, developer: HttpClient, token: str) -> Row:
    """To its row in the dashboard of an application on the server, which is headless here and was quiet before."""
    connection = ServerConnection(url, lambda _: token)
    profile = Profile(name="owner", identity=OWNER, server=url)
    app = SealyardApp(Session(connection, profile, (profile,)), Settings())
    late = []
    async with app.run_test(size=(120, 40)) as pilot:
        for number in range(40):
            # The cursor stays at its task: from the first row on, the next one is in sight.
            await pilot.press("home")
            await pilot.pause(0.3)
            name = f"seen-{number:03d}"
            began = time.monotonic()
            await developer.create_signing(SigningRequest(config=DEVICE, message=b"hello", name=name))
            while name not in _shown(app):
                await asyncio.sleep(0.002)
            late.append(time.monotonic() - began)
    await connection.close()
    return Row("from asking for a task to its row on another's screen, p50", 1000 * _p50(late[5:]), "reported", "ms")


def _shown(app: SealyardApp) -> str:
    return "\n".join("".join(each.text for each in strip) for strip in app.screen._compositor.render_strips())


def _p50(values: list[float]) -> float:
    return statistics.median(values)


async def _bytes(client: HttpClient, root: Path) -> list[Row]:
    """1 GiB each way, against a bare copy with SHA-256 in the same run."""
    source = random_file(root / "large.bin", LARGE)
    bare = await asyncio.to_thread(_bare, source, root / "copy.bin")
    began = time.monotonic()
    file = await client.upload(source)
    up = time.monotonic() - began
    task = await client.create_encryption(EncryptionRequest(config=DEVICE, file=file))
    ended = await client.wait(task.id)
    assert ended.status is TaskStatus.DONE, ended.reason
    began = time.monotonic()
    await _fetch(client, task.id, root / "fetched.bin")
    down = time.monotonic() - began
    rate = LARGE / 1e6
    return [
        Row("1 GiB up, of the time of a bare copy with SHA-256", up / bare, "reported"),
        Row("1 GiB up", rate / up, "reported", "MB/s"),
        Row("1 GiB down with SHA-256, of the time of a bare copy with SHA-256", down / bare, "reported"),
        Row("1 GiB down", rate / down, "reported", "MB/s"),
    ]


def _bare(source: Path, target: Path) -> float:
    """As one would write it: read, hash, write, sync."""
    os.sync()
    began = time.monotonic()
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while chunk := read.read(1 << 20):
            digest.update(chunk)
            write.write(chunk)
        write.flush()
        os.fdatasync(write.fileno())
    return time.monotonic() - began


async def _fetch(client: HttpClient, task_id: str, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("wb") as file:
        async for chunk in client.download(task_id):
            digest.update(chunk)
            file.write(chunk)
        file.flush()
        os.fdatasync(file.fileno())
    return digest.hexdigest()


async def _rough(server: ServerProcess, token: str, root: Path) -> list[Row]:
    """2 GiB each way over a line of 200 MB/s that breaks twelve times in each direction."""
    source = random_file(root / "rough.bin", ROUGH)
    line = {"cuts": CUTS, "first": 32 << 20, "last": 160 << 20}
    up = UnreliableProxy(server.port, **line, rate=ROUGH_RATE)
    async with up.listening() as url:
        client = _client(url, token)
        file = await client.upload(source)
        task = await client.create_encryption(EncryptionRequest(config=DEVICE, file=file))
        await client.close()
    direct = _client(server.url, token)
    ended = await direct.wait(task.id)
    await direct.close()
    assert ended.result is not None, ended.reason
    down = UnreliableProxy(server.port, **line, rate=ROUGH_RATE, seed=2)
    async with down.listening() as url:
        client = _client(url, token)
        assert await _fetch(client, task.id, root / "rough.out") == ended.result.sha256
        await client.close()
    assert up.broken == down.broken == CUTS
    return [
        Row("2 GiB up over a line cut 12 times: bytes sent, of the file's", up.passed / ROUGH, "near 1"),
        Row("2 GiB down over a line cut 12 times: bytes sent, of the result's", down.passed / ROUGH, "near 1"),
        Row("peak memory of the server, 2 GiB up and down over a broken line", _peak(server), "at most 150", "MiB"),
    ]


def _peak(server: ServerProcess) -> float:
    for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / MEBIBYTE
    raise AssertionError("the kernel says no VmHWM")
