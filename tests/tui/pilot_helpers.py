"""Run the application on a test's workspace, and wait for what it shows."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from textual.pilot import Pilot

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.session import Session
from tests.support.limits import TIMEOUT
from tests.tui.connection import FakeConnection
from tests.tui.workspace import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, TuiWorkspace

PROFILES = tuple(
    Profile(name=subject.partition(":")[2], identity=subject, workspace="/srv/yard")
    for subject in (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
)

POLL_INTERVAL = 0.005
"""Seconds between two checks of a condition."""

IDLE_WINDOW = 0.02
"""The loop is idle if no timer ends within this number of seconds; long enough for a repaint."""

IDLE_TIMEOUT = 1.0
"""Maximum number of seconds to wait for an idle loop."""


def make_app(
    workspace: TuiWorkspace,
    profile_name: str = "developer",
    *,
    gate: asyncio.Event | None = None,
    connection: FakeConnection | None = None,
    **settings: Any,
) -> SealyardApp:
    """Return the application of one of the four users; ``settings`` are fields of :class:`Settings`."""
    profile = next(profile for profile in PROFILES if profile.name == profile_name)
    session = Session(connection or FakeConnection(workspace, gate), profile, PROFILES)
    return SealyardApp(session, msgspec.structs.replace(Settings(bell=False), **settings), now=lambda: workspace.now)


def connection_of(app: SealyardApp) -> FakeConnection:
    connection = app.session.connection
    assert isinstance(connection, FakeConnection)
    return connection


@asynccontextmanager
async def run_app(app: SealyardApp, *, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """Run the application; it is connected, and its first screen loaded, unless the connection has a gate."""
    async with app.run_test(size=size, notifications=True) as pilot:
        if getattr(app.session.connection, "gate", None) is None:
            await wait_until(pilot, lambda: bool(app.state.workspace))
            await wait_for_workers(pilot)
        yield pilot


async def wait_until(pilot: Pilot[None], condition: Callable[[], object], limit: float = TIMEOUT) -> None:
    """Wait until the condition is true; fail after ``limit`` seconds."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "the condition did not become true in time"
        await wait_idle()
        await asyncio.sleep(POLL_INTERVAL)


async def wait_idle(*_: float) -> None:
    """Wait until the event loop has nothing to run, and no timer that ends soon.

    Textual's own ``wait_for_idle`` sleeps 20 ms or more each time to check whether the process uses the processor, and
    gives wrong results on a busy machine.
    """
    loop: Any = asyncio.get_running_loop()
    end = time.monotonic() + IDLE_TIMEOUT
    while time.monotonic() < end:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        soon = min((each.when() for each in loop._scheduled if not each.cancelled()), default=math.inf)
        if soon > loop.time() + IDLE_WINDOW:
            return
        await asyncio.sleep(max(0.0, soon - loop.time()))


async def wait_for_workers(pilot: Pilot[None]) -> None:
    """Wait until all workers of the application have finished."""

    def busy() -> bool:
        return any(not each.is_finished for each in pilot.app.workers)

    await pilot.pause()
    await wait_until(pilot, lambda: not busy())
    await pilot.pause()


async def assert_visible(pilot: Pilot[None], *words: str) -> None:
    """Wait until the screen shows all of the words."""
    app: Any = pilot.app
    end = time.monotonic() + TIMEOUT
    while not all(each in screen_text(app) for each in words):
        assert time.monotonic() < end, f"{words} are not all in\n{screen_text(app)}"
        await wait_idle()
        await asyncio.sleep(POLL_INTERVAL)


def screen_text(app: SealyardApp) -> str:
    """Return the text of the screen, line by line, without styles."""
    return "\n".join(
        "".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()
    )
