"""Applications on a world in memory, and waiting for what they show."""

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
from tests.tui.tui_world import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, World, WorldConnection

PROFILES = tuple(
    Profile(name=each.partition(":")[2], identity=each, workspace="/srv/yard")
    for each in (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
)
TIMEOUT = 10.0

POLL_INTERVAL = 0.005
"""Between two looks at a condition."""

IDLE_WINDOW = 0.02
"""Seconds within which what begins belongs to what was done: a paint, the rest of a held key."""

IDLE_TIMEOUT = 1.0
"""Seconds after which one does not wait for the next moment any more."""


def make_app(
    world: World,
    who: str = "developer",
    *,
    gate: asyncio.Event | None = None,
    connection: WorldConnection | None = None,
    **settings: Any,
) -> SealyardApp:
    """The application of one of the four persons; ``settings`` as in :class:`Settings`."""
    profile = next(each for each in PROFILES if each.name == who)
    chosen = msgspec.structs.replace(Settings(bell=False), **settings)
    session = Session(connection or WorldConnection(world, gate), profile, PROFILES)
    return SealyardApp(session, chosen, now=lambda: world.now)


def connection_of(app: SealyardApp) -> WorldConnection:
    """To lose it and to find it again."""
    connection = app.session.connection
    assert isinstance(connection, WorldConnection)
    return connection


@asynccontextmanager
async def run_app(app: SealyardApp, *, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """The application with its engine there and its first screen loaded."""
    async with app.run_test(size=size, notifications=True) as pilot:
        if app.session.connection.gate is None:  # type: ignore[attr-defined]
            await wait_until(pilot, lambda: bool(app.state.workspace))
            await wait_for_workers(pilot)
        yield pilot


async def wait_until(pilot: Pilot[None], condition: Callable[[], object], limit: float = TIMEOUT) -> None:
    """Waits for a condition, with a limit."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await wait_idle()
        await asyncio.sleep(POLL_INTERVAL)


async def wait_idle(*_: float) -> None:
    """Until nothing is left to run on this loop, and nothing begins within a moment.

    Textual's own ``wait_for_idle`` sleeps 20 ms or more each time to see whether the process uses the processor, and a
    busy machine misleads it.
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
    """Waits until nothing is being loaded or done."""

    def busy() -> bool:
        return any(not each.is_finished for each in pilot.app.workers)

    await pilot.pause()
    await wait_until(pilot, lambda: not busy())
    await pilot.pause()


async def assert_visible(pilot: Pilot[None], *words: str) -> None:
    """Once each of the words is on the screen."""
    app: Any = pilot.app
    end = time.monotonic() + TIMEOUT
    while not all(each in screen_text(app) for each in words):
        assert time.monotonic() < end, f"{words} are not all in\n{screen_text(app)}"
        await wait_idle()
        await asyncio.sleep(POLL_INTERVAL)


def screen_text(app: SealyardApp) -> str:
    """What is on the screen, line by line, without colours."""
    return "\n".join(
        "".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()
    )
