"""Test one workspace shared by several processes: locking, connecting and failover."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sealyard.client.config.key_holder import KeyHolder
from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint, Timeouts
from sealyard.client.protocol import Client
from sealyard.client.sharing import socket as local_socket
from sealyard.client.sharing.socket import SOCKET, is_responsive, socket_path
from sealyard.client.sharing.workspace import SharedWorkspace, connect_to_holder
from sealyard.concurrency.clock import SystemClock
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.errors import (
    SealyardError,
    ServerUnreachableError,
    StorageError,
    WorkspaceLockedError,
)
from sealyard.model.events import TaskChanged, TaskProgressed
from sealyard.model.requests import EncryptionRequest, PackageRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.support.client_kinds import ADMIN, AUDITOR, DEV, GATEWAY, OWNER, PASSPHRASE
from tests.support.key_holders import open_key_holder
from tests.support.limits import TIMEOUT
from tests.support.processes import suspend
from tests.support.sharing_process import start_sharing_processes
from tests.support.workspace_copies import copy_workspace

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def key_holder(folder: Path) -> Iterator[KeyHolder]:
    """The key holder of this process."""
    with open_key_holder(folder, PASSPHRASE) as key_holder:
        yield key_holder


def fail_on_prompt() -> KeyHolder:
    raise AssertionError("the key holder was requested without need")


@asynccontextmanager
async def open_shared(
    folder: Path, provide: Callable[[], KeyHolder] | None = None, **more: Any
) -> AsyncIterator[SharedWorkspace]:
    with ExitStack() as stack:
        shared = SharedWorkspace(folder, provide or _StartOnce(folder, stack), purpose="test", **more)
        async with _closed_at_exit(shared):
            yield shared


class _StartOnce:
    """Starts the key holder when it is requested."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._key_holder: KeyHolder | None = None

    def __call__(self) -> KeyHolder:
        if self._key_holder is None:
            self._key_holder = self._stack.enter_context(open_key_holder(self._folder, PASSPHRASE))
        return self._key_holder


@asynccontextmanager
async def _closed_at_exit(shared: SharedWorkspace) -> AsyncIterator[SharedWorkspace]:
    try:
        await shared.open(within=TIMEOUT)
        yield shared
    finally:
        await shared.close()


async def wait_until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT):
        while not await condition():
            await asyncio.sleep(0.02)


def read_status(path: Path) -> tuple[int, ...]:
    """Return the file status without the access time."""
    status = path.lstat()
    return status.st_mode, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def read_modes(folder: Path) -> tuple[int, int]:
    return stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE((folder / SOCKET).lstat().st_mode)


# ---- holding and connecting


async def test_first_process_holds_and_listens(folder: Path) -> None:
    async with open_shared(folder) as first:
        assert first.engine is not None
        assert not first.is_attached
        assert read_modes(folder) == (0o700, 0o600)
        assert isinstance(first.client(DEV), EmbeddedClient)
    assert not (folder / SOCKET).exists()
    assert WorkspaceLock.holder(folder / "lock") is None


async def test_second_process_connects_without_passphrase(folder: Path) -> None:
    async with open_shared(folder) as first, open_shared(folder, fail_on_prompt) as second:
        assert second.engine is None
        assert second.is_attached
        local, remote = first.client(OWNER), second.client(DEV)
        assert isinstance(remote, HttpClient)
        assert (await remote.workspace()).subject == DEV
        assert (await remote.workspace()).id == (await local.workspace()).id
        await first.client(ADMIN).add_subject("USER:anna")
        assert "USER:anna" in {each.id for each in (await second.client(ADMIN).access()).subjects}


async def test_connected_process_can_act_as_all_users(folder: Path) -> None:
    async with open_shared(folder) as holder, open_shared(folder, fail_on_prompt) as second:
        users = (ADMIN, AUDITOR, DEV, OWNER)
        assert await holder.client(DEV).identities() == users
        assert await second.client(DEV).identities() == users


async def test_holder_without_socket_is_reported(folder: Path) -> None:
    async with open_shared(folder, listen=False):
        assert not (folder / SOCKET).exists()
        with pytest.raises(WorkspaceLockedError, match=f"process {os.getpid()} .*test"):
            await SharedWorkspace(folder, fail_on_prompt, purpose="another").open(within=0.2)


async def test_open_waits_for_short_lock(folder: Path, key_holder: KeyHolder) -> None:
    lock = WorkspaceLock.acquire(folder / "lock", "a short command")
    shared = SharedWorkspace(folder, lambda: key_holder, purpose="another")
    call = asyncio.create_task(shared.open(within=TIMEOUT))
    await asyncio.sleep(0)
    lock.release()
    await call
    assert shared.engine is not None
    await shared.close()


async def test_late_listening_allows_connections(folder: Path) -> None:
    async with open_shared(folder, listen=False) as first:
        await first.start_listening()
        await first.start_listening()
        async with open_shared(folder, fail_on_prompt) as second:
            assert (await second.client(DEV).workspace()).subject == DEV


# ---- files at the path of the socket


@pytest.mark.parametrize("name", ["short", "x" * 120])
async def test_stale_socket_is_replaced(client_workspace: Path, tmp_path: Path, name: str) -> None:
    folder = copy_workspace(client_workspace, tmp_path / name)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(socket_path(folder))
    assert not await is_responsive(folder)
    async with open_shared(folder), open_shared(folder, fail_on_prompt) as second:
        assert (await second.client(DEV).workspace()).subject == DEV


@pytest.mark.parametrize("kind", ["file", "folder", "dangling", "linked"])
async def test_foreign_file_at_socket_is_kept(folder: Path, tmp_path: Path, kind: str) -> None:
    path, other = folder / SOCKET, tmp_path / "other"
    match kind:
        case "file":
            path.write_text("mine")
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to(other)
        case _:
            other.write_text("mine")
            path.symlink_to(other)
    before = read_status(path)
    errors: list[SealyardError] = []
    async with open_shared(folder, on_trouble=errors.append) as shared:
        assert [type(each) for each in errors] == [StorageError]
        assert "Cannot create the socket" in str(errors[0])
        await shared.client(ADMIN).add_subject("USER:anna")
    assert read_status(path) == before


async def test_missing_socket_support_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoSockets(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", NoSockets)
    errors: list[SealyardError] = []
    async with open_shared(folder, on_trouble=errors.append) as shared:
        assert "file system supports sockets" in errors[0].hint
        await shared.client(ADMIN).add_subject("USER:anna")
        with pytest.raises(WorkspaceLockedError):
            await SharedWorkspace(folder, fail_on_prompt, purpose="another").open(within=0.0)


# ---- takeover


async def test_takeover_after_close_loses_no_event(folder: Path, key_holder: KeyHolder) -> None:
    takeovers: list[bool] = []
    first = SharedWorkspace(folder, lambda: key_holder, purpose="test")
    await first.open()
    async with open_shared(folder, on_take_over=lambda: takeovers.append(True)) as second:
        client = second.client(ADMIN)
        cursors: list[int] = []
        listener = asyncio.create_task(_collect_cursors(client, cursors))
        await client.add_subject("USER:before")
        await first.close()
        await client.add_subject("USER:after")
        # The new holder receives its first change through its own socket.
        assert takeovers == [True]
        assert second.engine is not None
        assert read_modes(folder) == (0o700, 0o600)
        newest = await second.engine.client(ADMIN).cursor()
        await wait_until(lambda: _as_awaitable(bool(cursors) and cursors[-1] == newest))
        listener.cancel()
        assert cursors == list(range(1, newest + 1))
        subjects = {each.id for each in (await client.access()).subjects}
        assert {"USER:before", "USER:after"} <= subjects


async def test_cancelled_call_does_not_stop_takeover(
    folder: Path, key_holder: KeyHolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SharedWorkspace(folder, lambda: key_holder, purpose="test")
    await first.open()
    opening = asyncio.Event()
    open_engine = EngineHandle.open

    async def open_slowly(*arguments: Any, **more: Any) -> EngineHandle:
        opening.set()
        return await open_engine(*arguments, **more)

    async with open_shared(folder) as second:
        client = second.client(ADMIN)
        await client.workspace()
        await first.close()
        monkeypatch.setattr(EngineHandle, "open", open_slowly)
        call = asyncio.create_task(client.workspace())
        await opening.wait()
        call.cancel()
        await wait_until(lambda: _as_awaitable(second.engine is not None))
        assert (await client.workspace()).subject == ADMIN
    assert WorkspaceLock.holder(folder / "lock") is None


async def test_one_of_several_processes_takes_over(folder: Path) -> None:
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        with start_sharing_processes(folder, DEV, DEV, OWNER, OWNER, ADMIN, passphrase=PASSPHRASE) as others:
            for each in others:
                await each.wait_for_line("attached")
            client = connect_to_holder(folder, DEV)
            first = await _create_package(client, folder.parent)
            holder.kill()
            second = await _create_package(connect_to_holder(folder, DEV), folder.parent)
            newest = f"event {await _load_cursor(folder)}"
            for each in others:
                await each.wait_for_line(newest)
            assert sum("took over" in each.lines for each in others) == 1
            assert sum(each.lines.count("trouble") for each in others) == 0
            for each in others:
                assert each.cursors == list(range(1, each.cursors[-1] + 1))
            # The processes quit one after the other: each time one of the others takes over.
            for each in others[:-1]:
                each.quit()
            last = others[-1]
            await last.wait_for_line("took over")
            page = await connect_to_holder(folder, DEV).tasks(TaskFilter())
            assert {each.id for each in page.tasks} == {first.id, second.id}


async def test_task_of_killed_holder_signs_once(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(MIB) * 160)
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        async with open_shared(folder) as second:
            dev, owner = second.client(DEV), second.client(OWNER)
            file = await dev.upload(large)
            task = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file, file)))
            await owner.decide(task.id, Verdict.APPROVED, digest=task.approval_digest)
            async with asyncio.timeout(TIMEOUT):
                await _wait_until_running(dev.events(0), task.id)
            holder.kill()
            done = await dev.wait(task.id, within=TIMEOUT)
            assert (done.status, done.reason) == (TaskStatus.DONE, "")
            assert second.engine is not None
            await _require_signed_once(second.client(ADMIN), done)


async def test_upload_resumes_after_takeover(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(MIB) * 128)
    progress_bytes: list[int] = []
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        async with open_shared(folder) as second:
            dev = second.client(DEV)

            def progress(done: int, total: int) -> None:
                progress_bytes.append(done)
                if done > 3 * total // 4 and holder.process.poll() is None:
                    holder.kill()
                    progress_bytes.clear()

            file = await dev.upload(large, progress=progress)
            assert second.engine is not None
            assert min(progress_bytes) > large.stat().st_size // 8
            task = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))
            assert (await dev.wait(task.id, within=TIMEOUT)).status is TaskStatus.DONE


async def test_failed_takeover_is_left_to_another(folder: Path) -> None:
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        with start_sharing_processes(folder, DEV, passphrase="a wrong one") as (locked_out,):
            await locked_out.wait_for_line("attached")
            holder.kill()
            await locked_out.wait_for_line("trouble key-store-locked")
            async with open_shared(folder) as successor:
                await successor.client(ADMIN).add_subject("USER:anna")
                await locked_out.wait_for_line(f"event {await _load_cursor(folder)}")
                assert locked_out.lines.count("trouble key-store-locked") == 1
                assert "took over" not in locked_out.lines
                locked_out.quit()


async def test_close_during_takeover_releases_lock(folder: Path, key_holder: KeyHolder) -> None:
    first = SharedWorkspace(folder, lambda: key_holder, purpose="test")
    await first.open()
    second = SharedWorkspace(folder, lambda: key_holder, purpose="test")
    await second.open()
    client = second.client(DEV)
    listener = asyncio.create_task(_collect_cursors(client, []))
    await client.workspace()
    await first.close()
    await wait_until(lambda: _as_awaitable(second._open_lock.locked() or second.engine is not None))
    await second.close()
    listener.cancel()
    await asyncio.gather(listener, return_exceptions=True)
    assert WorkspaceLock.holder(folder / "lock") is None
    with pytest.raises(ServerUnreachableError, match="closed"):
        await second.open()


# ---- hanging holder


async def test_hanging_holder_is_reported_until_resumed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_socket, "RESPONSE_TIMEOUT", 0.3)
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        hasty = HttpClient(
            Connection(Endpoint(socket=socket_path(folder), subject=DEV), Timeouts(read=0.3)),
            SystemClock(),
            retry_timeout=1.0,
        )
        patient = connect_to_holder(folder, DEV)
        await patient.workspace()
        suspend(holder.process.pid)
        try:
            with pytest.raises(WorkspaceLockedError, match=rf"process {holder.process.pid} "):
                await SharedWorkspace(folder, fail_on_prompt, purpose="another").open(within=0.0)
            with pytest.raises(ServerUnreachableError, match=r"in time.*hangs"):
                await hasty.workspace()
            call = asyncio.create_task(patient.counts())
        finally:
            holder.process.send_signal(signal.SIGCONT)
        assert (await call).mine == 0
        holder.quit()


# ---- helpers


async def _as_awaitable(value: bool) -> bool:
    return value


async def _collect_cursors(client: Client, cursors: list[int]) -> None:
    async for event in client.events(0):
        cursors += [] if isinstance(event, TaskProgressed) else [event.cursor]


async def _load_cursor(folder: Path) -> int:
    """Return the cursor of the newest event."""
    reader = await EngineHandle.open_read_only(folder)
    try:
        return await reader.client(DEV).cursor()
    finally:
        await reader.close()


async def _create_package(client: HttpClient, folder: Path) -> Task:
    path = folder / "firmware.bin"
    path.write_bytes(b"firmware")
    task = await client.create_package(PackageRequest(config=GATEWAY, firmware=(await client.upload(path),)))
    await client.close()
    return task


async def _wait_until_running(events: AsyncIterator[Any], task_id: str) -> None:
    async for event in events:
        if isinstance(event, TaskChanged) and event.task_id == task_id and event.status is TaskStatus.RUNNING:
            return


async def _require_signed_once(client: Client, task: Task) -> None:
    used = await client.audit(AuditFilter(resource=f"TASK:{task.id}", change=AuditAction.KEY_USED))
    assert len({each.new_value["sha256"] for each in used.entries if each.new_value is not None}) == 1
