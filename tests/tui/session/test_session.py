"""The session of one person: what it promises to the places that ask it for a client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.message import Message

from sealyard.model.requests import TaskFilter
from sealyard_tui.session.messages import EngineUpdate
from sealyard_tui.session.session import Session
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import PROFILES
from tests.tui.workspace import TuiWorkspace

LIMIT = 30.0


class Post:
    """What the session told, and waiting for it."""

    def __init__(self) -> None:
        self._news: asyncio.Queue[EngineUpdate] = asyncio.Queue()

    def __call__(self, message: Message) -> bool:
        if isinstance(message, EngineUpdate):
            self._news.put_nowait(message)
        return True

    async def until_told_of(self, task_id: str) -> None:
        async with asyncio.timeout(LIMIT):
            while task_id not in (await self._news.get()).tasks:
                pass


@asynccontextmanager
async def slow_stream(workspace: TuiWorkspace) -> AsyncIterator[None]:
    """While the events that are asked for take their time to begin."""
    workspace.faults.hold["events"] = asyncio.Event()
    yield
    workspace.faults.hold.pop("events").set()


@pytest.fixture
def session(workspace: TuiWorkspace) -> Session:
    return Session(FakeConnection(workspace), PROFILES[0], PROFILES)


async def change_behind_the_first_page(session: Session, workspace: TuiWorkspace, post: Post, task_id: str) -> None:
    async with slow_stream(workspace):
        await session.start(post)
        page = await (await session.client()).tasks(TaskFilter())
        assert task_id not in {each.id for each in page.tasks}
        await workspace.add_task(task_id)
    await post.until_told_of(task_id)


async def test_what_changes_between_the_first_page_and_the_stream_of_events_is_told(
    session: Session, workspace: TuiWorkspace
) -> None:
    await change_behind_the_first_page(session, workspace, Post(), "t-between")
    await session.stop()


async def test_for_the_next_person_too_nothing_falls_between_page_and_stream(
    session: Session, workspace: TuiWorkspace
) -> None:
    await change_behind_the_first_page(session, workspace, Post(), "t-before")
    await session.switch_profile(PROFILES[2])
    await change_behind_the_first_page(session, workspace, Post(), "t-between")
    await session.stop()
