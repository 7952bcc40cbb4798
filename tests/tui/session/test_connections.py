"""Tests of connections to real workspaces: owning, attaching and taking over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partialmethod
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, workspace_profiles
from sealyard.client.demo import DemoWorkspace, create_demo
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.client.sharing.workspace import SharedWorkspace
from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import (
    AuthenticationError,
    KeyStoreLockedError,
    SealyardError,
    UsageError,
    WorkspaceReadOnlyError,
)
from sealyard.model.requests import TaskFilter
from sealyard.model.workspace import WorkspacePaths
from sealyard_tui.session.connections import LocalConnection, ServerConnection, WorkspaceConnection
from sealyard_tui.session.messages import ConnectionMode
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoWorkspace]:
    workspace = asyncio.run(create_demo(tmp_path_factory.mktemp("demo")))
    yield workspace
    workspace.key_holder.close()


def load_profile(workspace: DemoWorkspace, name: str) -> Profile:
    profile = workspace_profiles(workspace.folder).get(name)
    assert profile is not None
    return profile


@asynccontextmanager
async def open_connection(workspace: DemoWorkspace, *, read_only: bool = False) -> AsyncIterator[LocalConnection]:
    connection = LocalConnection(workspace.folder, lambda: workspace.key_holder, read_only=read_only)
    try:
        yield connection
    finally:
        await connection.close()


async def connect_client(
    connection: WorkspaceConnection, profile: Profile, statuses: list[ConnectionStatus] | None = None
) -> Client:
    client = await connection.connect(profile, (statuses if statuses is not None else []).append)
    await connection.start_listening()
    return client


async def test_second_connection_attaches_to_owner(demo: DemoWorkspace) -> None:
    async with open_connection(demo) as first, open_connection(demo) as second:
        developer = await connect_client(first, load_profile(demo, "developer"))
        owner = await connect_client(second, load_profile(demo, "owner"))
        assert (first.mode, second.mode) == (ConnectionMode.OWNER, ConnectionMode.ATTACHED)
        assert second.read_only_error is None
        assert (await owner.workspace()).subject == "USER:owner"
        assert (await owner.workspace()).id == (await developer.workspace()).id


async def test_preview_is_unverified_and_replaced(demo: DemoWorkspace) -> None:
    profile = load_profile(demo, "developer")
    async with open_connection(demo) as connection:
        preview = await connection.open_preview(profile)
        assert preview is not None
        info = await preview.workspace()
        assert (info.store_verified, info.read_only) == (False, True)
        client = await connect_client(connection, profile)
        assert (await client.workspace()).store_verified
        page = await preview.tasks(TaskFilter())
        await connection.close_preview()
        assert {task.id for task in page.tasks} == {task.id for task in (await client.tasks(TaskFilter())).tasks}
        assert await connection.open_preview(profile) is None


async def test_preview_calls_in_progress_end_before_it_closes(demo: DemoWorkspace) -> None:
    profile = load_profile(demo, "developer")
    async with open_connection(demo) as connection:
        preview = await connection.open_preview(profile)
        assert preview is not None
        calls = [asyncio.create_task(preview.tasks(TaskFilter())) for _ in range(20)]
        await asyncio.sleep(0)
        await connection.close_preview()
        assert len({len(page.tasks) for page in await asyncio.gather(*calls)}) == 1


async def test_attached_or_read_only_connection_has_no_preview(demo: DemoWorkspace) -> None:
    profile = load_profile(demo, "developer")
    async with open_connection(demo) as first, open_connection(demo) as second:
        await connect_client(first, profile)
        assert await second.open_preview(profile) is None
    async with open_connection(demo, read_only=True) as reader:
        assert await reader.open_preview(profile) is None
        assert not (await (await connect_client(reader, profile)).workspace()).store_verified


async def test_unreadable_store_has_no_preview(demo: DemoWorkspace, tmp_path: Path) -> None:
    profile = load_profile(demo, "developer")
    connection = LocalConnection(tmp_path, lambda: demo.key_holder)
    assert await connection.open_preview(profile) is None
    await connection.close()


async def test_attached_connection_takes_over_closed_owner(demo: DemoWorkspace) -> None:
    statuses: list[ConnectionStatus] = []
    async with open_connection(demo) as second:
        async with open_connection(demo) as first:
            await connect_client(first, load_profile(demo, "developer"))
            owner = await connect_client(second, load_profile(demo, "owner"), statuses)
            await owner.workspace()
        async with asyncio.timeout(TIMEOUT):
            await owner.tasks(TaskFilter())
        assert second.mode is ConnectionMode.OWNER
        assert [each.is_connected for each in statuses] == [True, False, True]
        assert WorkspaceLock.holder(demo.folder / "lock") is not None


async def test_wrong_passphrase_prevents_takeover_and_reports_error(
    demo: DemoWorkspace,
) -> None:
    errors: asyncio.Queue[SealyardError] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    paths = WorkspacePaths(demo.folder)
    locked_key_holder = unlock("another passphrase")(build_key_store_location(paths, load_metadata(paths)))
    second = LocalConnection(demo.folder, lambda: locked_key_holder)

    def on_trouble(error: SealyardError) -> None:
        loop.call_soon_threadsafe(errors.put_nowait, error)

    second.on_error = on_trouble
    try:
        async with open_connection(demo) as first:
            await connect_client(first, load_profile(demo, "developer"))
            owner = await connect_client(second, load_profile(demo, "owner"))
            await owner.workspace()
        asking = asyncio.create_task(owner.workspace())
        async with asyncio.timeout(TIMEOUT):
            assert isinstance(await errors.get(), KeyStoreLockedError)
        assert second.mode is ConnectionMode.ATTACHED
        async with open_connection(demo) as third, asyncio.timeout(TIMEOUT):
            await connect_client(third, load_profile(demo, "developer"))
            assert (await asking).subject == "USER:owner"
    finally:
        await second.close()
        locked_key_holder.close()


async def test_status_goes_to_latest_profile_only(
    demo: DemoWorkspace,
) -> None:
    owners: list[ConnectionStatus] = []
    developers: list[ConnectionStatus] = []
    async with open_connection(demo) as first, open_connection(demo) as second:
        await connect_client(first, load_profile(demo, "developer"))
        owner = await connect_client(second, load_profile(demo, "owner"), owners)
        developer = await connect_client(second, load_profile(demo, "developer"), developers)
        await owner.workspace()
        assert (await developer.workspace()).subject == "USER:developer"
        assert owners == []
        assert [each.is_connected for each in developers] == [True]


async def test_locked_workspace_opens_read_only_with_reason(
    demo: DemoWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedWorkspace, "open", partialmethod(SharedWorkspace.open, within=0.0))
    holder = await EngineHandle.open(demo.folder, purpose="a command", key_holder=demo.key_holder, work=False)
    try:
        async with open_connection(demo) as connection:
            client = await connect_client(connection, load_profile(demo, "owner"))
            assert connection.mode is ConnectionMode.READ_ONLY
            assert connection.read_only_error is not None
            assert "a command" in connection.read_only_error.message
            assert (await client.workspace()).read_only
    finally:
        await holder.close()


async def test_unwritable_workspace_opens_read_only_with_reason(
    demo: DemoWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reject(_: Path) -> None:
        raise WorkspaceReadOnlyError("The disk is read-only.")

    monkeypatch.setattr(WorkspaceLock, "require_writable", reject)
    async with open_connection(demo) as connection:
        client = await connect_client(connection, load_profile(demo, "owner"))
        assert connection.mode is ConnectionMode.READ_ONLY
        assert connection.read_only_error is not None
        assert connection.read_only_error.message == "The disk is read-only."
        assert (await client.workspace()).read_only


async def test_read_only_request_does_not_attach(demo: DemoWorkspace) -> None:
    async with open_connection(demo) as first, open_connection(demo, read_only=True) as second:
        await connect_client(first, load_profile(demo, "developer"))
        client = await connect_client(second, load_profile(demo, "owner"))
        assert second.mode is ConnectionMode.READ_ONLY
        assert second.read_only_error is None
        assert (await client.workspace()).read_only


async def test_unknown_socket_group_raises_and_keeps_workspace(demo: DemoWorkspace) -> None:
    connection = LocalConnection(demo.folder, lambda: demo.key_holder, group="no-such-group-here")
    try:
        client = await connection.connect(load_profile(demo, "developer"), lambda _: None)
        with pytest.raises(UsageError, match="no-such-group-here"):
            await connection.start_listening()
        assert not (await client.workspace()).read_only
    finally:
        await connection.close()


async def test_server_profile_without_token_raises() -> None:
    def none(profile: Profile) -> str:
        raise AuthenticationError(f"There is no token for {profile.server}.")

    connection = ServerConnection("https://seal.example:8443", none)
    assert (connection.mode, connection.host) == (ConnectionMode.SERVER, "seal.example:8443")
    profile = Profile(name="seal", identity="USER:dev", server="https://seal.example:8443")
    try:
        with pytest.raises(AuthenticationError, match="no token"):
            await connection.connect(profile, lambda _: None)
    finally:
        await connection.close()
