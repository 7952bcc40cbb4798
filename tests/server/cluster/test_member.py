"""Test when a server of a cluster takes over, without a database and an engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.cluster import LeaseHolder
from sealyard.model.errors import FencedError, StorageError, UsageError, WorkspaceLockedError
from sealyard.server.cluster import member as member_module
from sealyard.server.cluster import shared_folder
from sealyard.server.cluster.changes import ChangeSignal
from sealyard.server.cluster.lease_watch import LeaseWatch
from sealyard.server.cluster.member import ClusterMember, MemberState
from sealyard.server.cluster.shared_folder import SharedFolderCheck
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio

OTHER = LeaseHolder(term=3, name="other:1", url="https://other", remaining_seconds=5)
FREE = LeaseHolder(term=3, name="", url="", remaining_seconds=-1)


class FakeEngine:
    """An engine handle that records whether it was closed."""

    def __init__(self) -> None:
        self.is_closed = False
        self._callbacks: list[Callable[[Any], object]] = []

    def on_fenced(self, callback: Callable[[Any], object]) -> None:
        self._callbacks.append(callback)

    def fence(self) -> None:
        for callback in self._callbacks:
            callback(FencedError("taken over"))

    async def close(self) -> None:
        self.is_closed = True


class World:
    """A member, with a lease and an engine that the test controls."""

    def __init__(self, folder: Path) -> None:
        self.lease: LeaseHolder | StorageError | None = OTHER
        self.is_reached = True
        self.open_error: Exception | None = None
        self.start_error: Exception | None = None
        self.engines: list[FakeEngine] = []
        self.log: list[str] = []
        self._readings = 0
        changes = ChangeSignal()
        self.watch = LeaseWatch(self, changes)
        self.folder = SharedFolderCheck(folder / "lock")
        self.member = ClusterMember(self.watch, self.folder, self._open_engine, self, changes, lambda: self.is_reached)

    # ---- the lease

    def read(self) -> LeaseHolder | None:
        self._readings += 1
        if isinstance(self.lease, StorageError):
            raise self.lease
        return self.lease

    def close(self) -> None:
        pass

    # ---- the service

    async def start(self, engine_handle: EngineHandle) -> None:
        self.log.append("start")
        if self.start_error is not None:
            raise self.start_error

    async def stop(self) -> None:
        assert not self.engines[-1].is_closed
        self.log.append("stop")

    async def _open_engine(self) -> EngineHandle:
        self.log.append("open")
        if self.open_error is not None:
            raise self.open_error
        self.engines.append(FakeEngine())
        return cast(EngineHandle, self.engines[-1])

    # ---- waiting

    async def wait_until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(TIMEOUT):
            while not condition():
                await asyncio.sleep(0.01)

    async def wait_readings(self, count: int) -> None:
        """Wait until the lease was read ``count`` more times."""
        expected = self._readings + count
        await self.wait_until(lambda: self._readings >= expected)

    async def wait_for(self, state: MemberState) -> None:
        await self.wait_until(lambda: self.member.state is state)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(member_module, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(shared_folder, "INTERVAL_SECONDS", 0.0)
    world = World(tmp_path)
    tasks = [asyncio.create_task(world.watch.run()), asyncio.create_task(world.member.run())]
    yield world
    world.member.stop()
    await tasks[1]
    tasks[0].cancel()
    assert all(engine.is_closed for engine in world.engines)


async def test_member_takes_over_when_lease_is_free(world: World) -> None:
    await world.wait_readings(2)
    assert world.log == []
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)
    assert world.log == ["open", "start"]


async def test_member_opens_workspace_that_no_server_has_opened(world: World) -> None:
    world.lease = None
    await world.wait_for(MemberState.ACTIVE)


async def test_member_does_not_take_over_without_database(world: World) -> None:
    world.lease = StorageError("not reachable")
    await world.wait_readings(2)
    assert world.log == []
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)


async def test_fenced_member_becomes_standby(world: World) -> None:
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)
    world.lease = OTHER
    await world.wait_readings(2)
    world.engines[0].fence()
    await world.wait_for(MemberState.STANDBY)
    assert world.log == ["open", "start", "stop"]
    assert world.engines[0].is_closed
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)
    assert len(world.engines) == 2


async def test_stopped_member_closes_engine(world: World) -> None:
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)
    world.member.stop()
    await world.wait_for(MemberState.STOPPED)
    assert world.engines[0].is_closed


async def test_failure_is_logged_once_and_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.open_error = StorageError("The store cannot be read.")
    world.lease = FREE
    await world.wait_until(lambda: world.log.count("open") >= 3)
    assert world.member.error == "The store cannot be read."
    assert [record.message for record in caplog.records if "take over" in record.message] == [
        "this server cannot take over: The store cannot be read."
    ]
    world.open_error = None
    await world.wait_for(MemberState.ACTIVE)
    assert world.member.error == ""


async def test_unexpected_failure_is_tried_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.open_error = RuntimeError("a bug")
    world.lease = FREE
    await world.wait_until(lambda: world.log.count("open") >= 2)
    assert "a bug" in caplog.text
    world.open_error = None
    await world.wait_for(MemberState.ACTIVE)


async def test_engine_is_closed_if_it_cannot_be_served(world: World) -> None:
    world.start_error = UsageError("Unknown group.")
    world.lease = FREE
    await world.wait_until(lambda: world.member.error)
    assert world.engines[0].is_closed
    assert world.log[:3] == ["open", "start", "stop"]
    world.start_error = None
    await world.wait_for(MemberState.ACTIVE)


async def test_lost_race_is_no_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.lease = FREE
    world.open_error = WorkspaceLockedError("Another engine has the workspace open.")

    def read() -> LeaseHolder:
        return OTHER if "open" in world.log else FREE

    world.read = read  # type: ignore[method-assign]
    await world.wait_until(lambda: "open" in world.log and world.member.state is MemberState.STANDBY)
    assert world.member.error == ""
    assert "cannot take over" not in caplog.text


async def test_member_with_another_folder_does_not_take_over(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_folder, "TOLERANCE_SECONDS", 0.0)
    await world.wait_until(lambda: world.folder.error)
    world.lease = FREE
    await world.wait_readings(3)
    assert world.log == []


async def test_member_takes_over_once_the_folder_is_shared(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder, "TOLERANCE_SECONDS", 0.0)
    await world.wait_until(lambda: world.folder.error)
    with WorkspaceLock.acquire(tmp_path / "lock", "test"):
        holder = WorkspaceLock.holder(tmp_path / "lock")
        assert holder is not None
        world.lease = LeaseHolder(term=3, name=f"{holder.host}:{holder.pid}", url="https://other", remaining_seconds=5)
        await world.wait_until(lambda: not world.folder.error)
    # The lock is released before the lease, as if the server were killed.
    await world.wait_readings(2)
    assert world.folder.error == ""
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)


async def test_folder_may_differ_for_a_moment(world: World) -> None:
    """A server that is starting has the lease before it locks the folder."""
    await world.wait_readings(3)
    assert world.folder.error == ""
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)


async def test_folder_of_a_server_that_does_not_answer_is_not_compared(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed server no longer holds the lock, but still has the lease."""
    world.is_reached = False
    monkeypatch.setattr(shared_folder, "TOLERANCE_SECONDS", 0.0)
    await world.wait_readings(3)
    assert world.folder.error == ""
    world.lease = FREE
    await world.wait_for(MemberState.ACTIVE)
