"""One workspace, several processes: one holds it, the others reach it, and when it goes another one does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

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
from tests.support.client_kinds import ADMIN, DEV, GATEWAY, OWNER, PASSPHRASE
from tests.support.sharing_process import LIMIT, start_sharing_processes

pytestmark = pytest.mark.anyio

MIB = 1 << 20


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def folder(founded: Path, tmp_path: Path) -> Path:
    return copied(founded, tmp_path / "workspace")


def copied(founded: Path, target: Path) -> Path:
    shutil.copytree(founded, target)
    target.chmod(0o700)
    return target


def told() -> str:
    return PASSPHRASE


def never() -> str:
    raise AssertionError("a passphrase was asked for in vain")


@asynccontextmanager
async def share(folder: Path, unlock: Callable[[], str | None] = told, **more: Any) -> AsyncIterator[SharedWorkspace]:
    shared = SharedWorkspace(folder, unlock, purpose="test", **more)
    try:
        await shared.open(within=LIMIT)
        yield shared
    finally:
        await shared.close()


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(LIMIT):
        while not await true():
            await asyncio.sleep(0.02)


def looks(place: Path) -> tuple[int, ...]:
    """Without when it was read last."""
    found = place.lstat()
    return found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def modes(folder: Path) -> tuple[int, int]:
    return stat.S_IMODE(folder.stat().st_mode), stat.S_IMODE((folder / SOCKET).lstat().st_mode)


# ---- who comes first, and who comes later


async def test_the_first_holds_the_workspace_and_listens_for_its_own_user_alone(folder: Path) -> None:
    async with share(folder) as first:
        assert first.engine is not None
        assert not first.is_attached
        assert modes(folder) == (0o700, 0o600)
        assert isinstance(first.client(DEV), EmbeddedClient)
    assert not (folder / SOCKET).exists()
    assert WorkspaceLock.holder(folder / "lock") is None


async def test_the_second_attaches_and_needs_no_passphrase(folder: Path) -> None:
    async with share(folder) as first, share(folder, never) as second:
        assert second.engine is None
        assert second.is_attached
        here, there = first.client(OWNER), second.client(DEV)
        assert isinstance(there, HttpClient)
        assert (await there.workspace()).subject == DEV
        assert (await there.workspace()).id == (await here.workspace()).id
        await first.client(ADMIN).add_subject("USER:anna")
        assert "USER:anna" in {each.id for each in (await second.client(ADMIN).access()).subjects}


async def test_who_lets_nobody_in_is_waited_for_and_then_named_and_no_passphrase_is_asked_in_vain(folder: Path) -> None:
    async with share(folder, listen=False):
        assert not (folder / SOCKET).exists()
        with pytest.raises(WorkspaceLockedError, match=f"process {os.getpid()} .*test"):
            await SharedWorkspace(folder, never, purpose="another").open(within=0.2)


async def test_a_short_holder_is_waited_for(folder: Path) -> None:
    lock = WorkspaceLock.acquire(folder / "lock", "a short command")
    waiting = SharedWorkspace(folder, told, purpose="another")
    joining = asyncio.create_task(waiting.open(within=LIMIT))
    await asyncio.sleep(0)
    lock.release()
    await joining
    assert waiting.engine is not None
    await waiting.close()


async def test_who_lets_others_in_later_is_attached_to_from_then_on(folder: Path) -> None:
    async with share(folder, listen=False) as first:
        await first.start_listening()
        await first.start_listening()
        async with share(folder, never) as second:
            assert (await second.client(DEV).workspace()).subject == DEV


# ---- what may lie where the socket should be


@pytest.mark.parametrize("name", ["short", "x" * 120])
async def test_what_a_killed_holder_left_is_no_obstacle_however_long_the_path(
    founded: Path, tmp_path: Path, name: str
) -> None:
    folder = copied(founded, tmp_path / name)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(socket_path(folder))
    assert not await is_responsive(folder)
    async with share(folder), share(folder, never) as second:
        assert (await second.client(DEV).workspace()).subject == DEV


@pytest.mark.parametrize("kind", ["file", "folder", "dangling", "linked"])
async def test_what_is_no_socket_stays_and_the_workspace_works_without_listening(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    place, other = folder / SOCKET, tmp_path / "other"
    match kind:
        case "file":
            place.write_text("mine")
        case "folder":
            place.mkdir()
        case "dangling":
            place.symlink_to(other)
        case _:
            other.write_text("mine")
            place.symlink_to(other)
    before = looks(place)
    trouble: list[SealyardError] = []
    async with share(folder, on_trouble=trouble.append) as alone:
        assert [type(each) for each in trouble] == [StorageError]
        assert "Cannot create the socket" in str(trouble[0])
        await alone.client(ADMIN).add_subject("USER:anna")
    assert looks(place) == before


async def test_where_the_file_system_has_no_sockets_it_is_said_and_the_workspace_works(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoSockets(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(socket, "socket", NoSockets)
    trouble: list[SealyardError] = []
    async with share(folder, on_trouble=trouble.append) as alone:
        assert "file system supports sockets" in trouble[0].hint
        await alone.client(ADMIN).add_subject("USER:anna")
        with pytest.raises(WorkspaceLockedError):
            await SharedWorkspace(folder, never, purpose="another").open(within=0.0)


# ---- taking over


async def test_when_the_holder_leaves_another_takes_over_and_no_event_is_missed(folder: Path) -> None:
    taken: list[bool] = []
    first = SharedWorkspace(folder, told, purpose="test")
    await first.open()
    async with share(folder, on_take_over=lambda: taken.append(True)) as second:
        client = second.client(ADMIN)
        cursors: list[int] = []
        listening = asyncio.create_task(_collect(client, cursors))
        await client.add_subject("USER:before")
        await first.close()
        await client.add_subject("USER:after")
        # The first change that the new holder makes is asked for through its own socket.
        assert taken == [True]
        assert second.engine is not None
        assert modes(folder) == (0o700, 0o600)
        newest = await second.engine.client(ADMIN).cursor()
        await until(lambda: _true(bool(cursors) and cursors[-1] == newest))
        listening.cancel()
        assert cursors == list(range(1, newest + 1))
        people = {each.id for each in (await client.access()).subjects}
        assert {"USER:before", "USER:after"} <= people


async def test_a_call_that_is_given_up_while_it_takes_over_leaves_the_taking_over_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = SharedWorkspace(folder, told, purpose="test")
    await first.open()
    opening = asyncio.Event()
    opened = EngineHandle.open

    async def slow(*arguments: Any, **more: Any) -> EngineHandle:
        opening.set()
        return await opened(*arguments, **more)

    async with share(folder) as second:
        client = second.client(ADMIN)
        await client.workspace()
        await first.close()
        monkeypatch.setattr(EngineHandle, "open", slow)
        asking = asyncio.create_task(client.workspace())
        await opening.wait()
        asking.cancel()
        await until(lambda: _true(second.engine is not None))
        assert (await client.workspace()).subject == ADMIN
    assert WorkspaceLock.holder(folder / "lock") is None


async def test_of_five_that_lose_their_holder_exactly_one_takes_over_and_all_hear_everything(folder: Path) -> None:
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        with start_sharing_processes(folder, DEV, DEV, OWNER, OWNER, ADMIN, passphrase=PASSPHRASE) as others:
            for each in others:
                await each.wait_for_line("attached")
            client = connect_to_holder(folder, DEV)
            first = await _package(client, folder.parent)
            holder.kill()
            second = await _package(connect_to_holder(folder, DEV), folder.parent)
            newest = f"event {await _cursor(folder)}"
            for each in others:
                await each.wait_for_line(newest)
            assert sum("took over" in each.lines for each in others) == 1
            assert sum(each.lines.count("trouble") for each in others) == 0
            for each in others:
                assert each.cursors == list(range(1, each.cursors[-1] + 1))
            # They leave one after the other: each time one of those who stay takes over.
            for each in others[:-1]:
                each.quit()
            last = others[-1]
            await last.wait_for_line("took over")
            found = await connect_to_holder(folder, DEV).tasks(TaskFilter())
            assert {each.id for each in found.tasks} == {first.id, second.id}


async def test_what_a_killed_holder_was_doing_is_done_and_signed_once(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(MIB) * 160)
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        async with share(folder) as second:
            dev, owner = second.client(DEV), second.client(OWNER)
            file = await dev.upload(large)
            made = await dev.create_package(PackageRequest(config=GATEWAY, firmware=(file, file)))
            await owner.decide(made.id, Verdict.APPROVED, digest=made.approval_digest)
            async with asyncio.timeout(LIMIT):
                await _running(dev.events(0), made.id)
            holder.kill()
            done = await dev.wait(made.id, within=LIMIT)
            assert (done.status, done.reason) == (TaskStatus.DONE, "")
            assert second.engine is not None
            await _require_signed_once(second.client(ADMIN), done)


async def test_an_upload_under_way_goes_on_where_it_broke(folder: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.bin"
    large.write_bytes(os.urandom(MIB) * 128)
    told_bytes: list[int] = []
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        async with share(folder) as second:
            dev = second.client(DEV)

            def progress(done: int, total: int) -> None:
                told_bytes.append(done)
                if done > 3 * total // 4 and holder.process.poll() is None:
                    holder.kill()
                    told_bytes.clear()

            file = await dev.upload(large, progress=progress)
            assert second.engine is not None
            assert min(told_bytes) > large.stat().st_size // 8
            made = await dev.create_encryption(EncryptionRequest(config=GATEWAY, file=file))
            assert (await dev.wait(made.id, within=LIMIT)).status is TaskStatus.DONE


async def test_who_cannot_take_over_says_why_and_another_does(folder: Path) -> None:
    with start_sharing_processes(folder, ADMIN, passphrase=PASSPHRASE) as (holder,):
        await holder.wait_for_line("holds")
        with start_sharing_processes(folder, DEV, passphrase="a wrong one") as (locked_out,):
            await locked_out.wait_for_line("attached")
            holder.kill()
            await locked_out.wait_for_line("trouble key-store-locked")
            async with share(folder) as good:
                await good.client(ADMIN).add_subject("USER:anna")
                await locked_out.wait_for_line(f"event {await _cursor(folder)}")
                assert locked_out.lines.count("trouble key-store-locked") == 1
                assert "took over" not in locked_out.lines
                locked_out.quit()


async def test_nothing_is_held_by_who_closes_while_taking_over(folder: Path) -> None:
    first = SharedWorkspace(folder, told, purpose="test")
    await first.open()
    second = SharedWorkspace(folder, told, purpose="test")
    await second.open()
    client = second.client(DEV)
    listening = asyncio.create_task(_collect(client, []))
    await client.workspace()
    await first.close()
    await until(lambda: _true(second._open_lock.locked() or second.engine is not None))
    await second.close()
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert WorkspaceLock.holder(folder / "lock") is None
    with pytest.raises(ServerUnreachableError, match="closed"):
        await second.open()


# ---- a holder that hangs


async def test_a_holder_that_hangs_is_named_and_goes_on_when_it_wakes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        holder.process.send_signal(signal.SIGSTOP)
        try:
            # Sent is not stopped yet.
            await until(lambda: _true(_is_stopped(holder.process.pid)))
            with pytest.raises(WorkspaceLockedError, match=rf"process {holder.process.pid} "):
                await SharedWorkspace(folder, never, purpose="another").open(within=0.0)
            with pytest.raises(ServerUnreachableError, match=r"in time.*hangs"):
                await hasty.workspace()
            asking = asyncio.create_task(patient.counts())
        finally:
            holder.process.send_signal(signal.SIGCONT)
        assert (await asking).mine == 0
        holder.quit()


# ---- helpers


def _is_stopped(pid: int) -> bool:
    """All of its threads (proc(5))."""
    states = [each.read_text().rpartition(")")[2].split()[0] for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    return set(states) == {"T"}


async def _true(value: bool) -> bool:
    return value


async def _collect(client: Client, cursors: list[int]) -> None:
    async for event in client.events(0):
        cursors += [] if isinstance(event, TaskProgressed) else [event.cursor]


async def _cursor(folder: Path) -> int:
    """Of the newest event."""
    reader = await EngineHandle.open_read_only(folder)
    try:
        return await reader.client(DEV).cursor()
    finally:
        await reader.close()


async def _package(client: HttpClient, place: Path) -> Task:
    path = place / "firmware.bin"
    path.write_bytes(b"firmware")
    made = await client.create_package(PackageRequest(config=GATEWAY, firmware=(await client.upload(path),)))
    await client.close()
    return made


async def _running(events: AsyncIterator[Any], task_id: str) -> None:
    async for event in events:
        if isinstance(event, TaskChanged) and event.task_id == task_id and event.status is TaskStatus.RUNNING:
            return


async def _require_signed_once(client: Client, task: Task) -> None:
    used = await client.audit(AuditFilter(resource=f"TASK:{task.id}", change=AuditAction.KEY_USED))
    assert len({each.new_value["sha256"] for each in used.entries if each.new_value is not None}) == 1
