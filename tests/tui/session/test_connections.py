"""Real workspaces: the first application holds, the next attaches, and takes over when the first goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partialmethod

import pytest

from sealyard.client.config.profiles import Profile, workspace_profiles
from sealyard.client.demo import DemoWorkspace, create_demo
from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.status import ConnectionStatus
from sealyard.client.protocol import Client
from sealyard.client.sharing.workspace import SharedWorkspace
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.errors import AuthenticationError, KeyStoreLockedError, SealyardError, UsageError
from sealyard.model.requests import TaskFilter
from sealyard_tui.session.connections import LocalConnection, ServerConnection, WorkspaceConnection
from sealyard_tui.session.messages import ConnectionMode

LIMIT = 30.0


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> DemoWorkspace:
    return asyncio.run(create_demo(tmp_path_factory.mktemp("demo")))


def person(place: DemoWorkspace, name: str) -> Profile:
    found = workspace_profiles(place.folder).get(name)
    assert found is not None
    return found


@asynccontextmanager
async def connection(place: DemoWorkspace, *, read_only: bool = False) -> AsyncIterator[LocalConnection]:
    made = LocalConnection(place.folder, place.passphrase, read_only=read_only)
    try:
        yield made
    finally:
        await made.close()


async def entered(made: WorkspaceConnection, profile: Profile, links: list[ConnectionStatus] | None = None) -> Client:
    client = await made.connect(profile, (links if links is not None else []).append)
    await made.start_listening()
    return client


async def test_the_first_holds_the_workspace_and_the_next_attaches_to_it(demo: DemoWorkspace) -> None:
    async with connection(demo) as first, connection(demo) as second:
        developer = await entered(first, person(demo, "developer"))
        owner = await entered(second, person(demo, "owner"))
        assert (first.mode, second.mode) == (ConnectionMode.OWNER, ConnectionMode.ATTACHED)
        assert second.lock_error is None
        assert (await owner.workspace()).subject == "USER:owner"
        assert (await owner.workspace()).id == (await developer.workspace()).id


async def test_who_attached_takes_over_when_the_holder_goes_and_its_line_says_so(demo: DemoWorkspace) -> None:
    links: list[ConnectionStatus] = []
    async with connection(demo) as second:
        async with connection(demo) as first:
            await entered(first, person(demo, "developer"))
            owner = await entered(second, person(demo, "owner"), links)
            await owner.workspace()
        async with asyncio.timeout(LIMIT):
            await owner.tasks(TaskFilter())
        assert second.mode is ConnectionMode.OWNER
        assert [each.is_connected for each in links] == [True, False, True]
        assert WorkspaceLock.holder(demo.folder / "lock") is not None


async def test_who_cannot_unlock_the_keys_is_told_so_when_it_would_take_over_and_waits_for_another(
    demo: DemoWorkspace,
) -> None:
    told: asyncio.Queue[SealyardError] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    second = LocalConnection(demo.folder, "another passphrase")

    def on_trouble(error: SealyardError) -> None:
        loop.call_soon_threadsafe(told.put_nowait, error)

    second.on_error = on_trouble
    try:
        async with connection(demo) as first:
            await entered(first, person(demo, "developer"))
            owner = await entered(second, person(demo, "owner"))
            await owner.workspace()
        asking = asyncio.create_task(owner.workspace())
        async with asyncio.timeout(LIMIT):
            assert isinstance(await told.get(), KeyStoreLockedError)
        assert second.mode is ConnectionMode.ATTACHED
        async with connection(demo) as third, asyncio.timeout(LIMIT):
            await entered(third, person(demo, "developer"))
            assert (await asking).subject == "USER:owner"
    finally:
        await second.close()


async def test_one_person_of_an_attached_application_after_the_other_and_only_the_latest_line_is_told(
    demo: DemoWorkspace,
) -> None:
    owners: list[ConnectionStatus] = []
    developers: list[ConnectionStatus] = []
    async with connection(demo) as first, connection(demo) as second:
        await entered(first, person(demo, "developer"))
        owner = await entered(second, person(demo, "owner"), owners)
        developer = await entered(second, person(demo, "developer"), developers)
        await owner.workspace()
        assert (await developer.workspace()).subject == "USER:developer"
        assert owners == []
        assert [each.is_connected for each in developers] == [True]


async def test_a_holder_that_lets_nobody_in_is_read_beside_with_the_reason(
    demo: DemoWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SharedWorkspace, "open", partialmethod(SharedWorkspace.open, within=0.0))
    holder = await EngineHandle.open(demo.folder, purpose="a command", passphrase=demo.passphrase, work=False)
    try:
        async with connection(demo) as made:
            client = await entered(made, person(demo, "owner"))
            assert made.mode is ConnectionMode.READ_ONLY
            assert made.lock_error is not None
            assert "a command" in made.lock_error.message
            assert (await client.workspace()).read_only
    finally:
        await holder.close()


async def test_who_asked_to_read_only_reads_the_files_though_it_could_attach(demo: DemoWorkspace) -> None:
    async with connection(demo) as first, connection(demo, read_only=True) as second:
        await entered(first, person(demo, "developer"))
        client = await entered(second, person(demo, "owner"))
        assert second.mode is ConnectionMode.READ_ONLY
        assert second.lock_error is None
        assert (await client.workspace()).read_only


async def test_an_unknown_group_is_told_and_the_workspace_is_held_all_the_same(demo: DemoWorkspace) -> None:
    made = LocalConnection(demo.folder, demo.passphrase, group="no-such-group-here")
    try:
        client = await made.connect(person(demo, "developer"), lambda _: None)
        with pytest.raises(UsageError, match="no-such-group-here"):
            await made.start_listening()
        assert not (await client.workspace()).read_only
    finally:
        await made.close()


async def test_a_profile_without_a_token_is_told_so() -> None:
    def none(profile: Profile) -> str:
        raise AuthenticationError(f"There is no token for {profile.server}.")

    made = ServerConnection("https://seal.example:8443", none)
    assert (made.mode, made.host) == (ConnectionMode.SERVER, "seal.example:8443")
    profile = Profile(name="seal", identity="USER:dev", server="https://seal.example:8443")
    try:
        with pytest.raises(AuthenticationError, match="no token"):
            await made.connect(profile, lambda _: None)
    finally:
        await made.close()
