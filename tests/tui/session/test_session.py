"""Tests of the session's event stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.message import Message

from sealyard.model.requests import TaskFilter
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.session import Session
from tests.support.limits import TIMEOUT
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import PROFILES
from tests.tui.workspace import TuiWorkspace


class UpdateCollector:
    """Collects the updates that the session posts."""

    def __init__(self) -> None:
        self._updates: asyncio.Queue[EngineUpdate] = asyncio.Queue()

    def __call__(self, message: Message) -> bool:
        if isinstance(message, EngineUpdate):
            self._updates.put_nowait(message)
        return True

    async def wait_for_task(self, task_id: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            while task_id not in (await self._updates.get()).tasks:
                pass


@asynccontextmanager
async def delay_event_stream(workspace: TuiWorkspace) -> AsyncIterator[None]:
    """Delay the start of the event stream until the block ends."""
    workspace.faults.hold["events"] = asyncio.Event()
    yield
    workspace.faults.hold.pop("events").set()


@pytest.fixture
def session(workspace: TuiWorkspace) -> Session:
    return Session(FakeConnection(workspace), PROFILES[0], PROFILES)


async def check_change_before_stream(
    session: Session, workspace: TuiWorkspace, collector: UpdateCollector, task_id: str
) -> None:
    async with delay_event_stream(workspace):
        await session.start(collector)
        page = await (await session.client()).tasks(TaskFilter())
        assert task_id not in {each.id for each in page.tasks}
        await workspace.add_task(task_id)
    await collector.wait_for_task(task_id)


async def test_change_before_event_stream_is_published(session: Session, workspace: TuiWorkspace) -> None:
    await check_change_before_stream(session, workspace, UpdateCollector(), "t-between")
    await session.stop()


async def test_change_after_profile_switch_is_published(session: Session, workspace: TuiWorkspace) -> None:
    await check_change_before_stream(session, workspace, UpdateCollector(), "t-before")
    await session.switch_profile(PROFILES[2])
    await check_change_before_stream(session, workspace, UpdateCollector(), "t-between")
    await session.stop()
