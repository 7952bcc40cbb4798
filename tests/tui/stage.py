"""Applications on a world in memory, and waiting for what they show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from textual.pilot import Pilot
from tui_world import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, World, WorldConnection

from sealyard.client.profiles import Profile
from sealyard.client.settings import Settings
from sealyard_tui.app import SealyardApp
from sealyard_tui.session.session import Session

PROFILES = tuple(
    Profile(name=each.partition(":")[2], identity=each, workspace="/srv/yard")
    for each in (ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER)
)
LIMIT = 10.0


def make_app(
    world: World, who: str = "developer", *, gate: asyncio.Event | None = None, **settings: Any
) -> SealyardApp:
    """The application of one of the four persons; ``settings`` as in :class:`Settings`."""
    profile = next(each for each in PROFILES if each.name == who)
    chosen = msgspec.structs.replace(Settings(bell=False), **settings)
    return SealyardApp(Session(WorldConnection(world, gate), profile, PROFILES), chosen, now=lambda: world.now)


@asynccontextmanager
async def running(app: SealyardApp, *, size: tuple[int, int] = (120, 40)) -> AsyncIterator[Pilot[None]]:
    """The application with its engine there and its first screen loaded."""
    async with app.run_test(size=size, notifications=True) as pilot:
        if app.session._connection.gate is None:  # type: ignore[attr-defined]
            await until(pilot, lambda: bool(app.standing.workspace))
            await settled(pilot)
        yield pilot


async def until(pilot: Pilot[None], condition: Callable[[], object], limit: float = LIMIT) -> None:
    """Waits for a condition, with a limit."""
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await pilot.pause(0.01)


async def settled(pilot: Pilot[None]) -> None:
    """Waits until nothing is being loaded or done."""

    def busy() -> bool:
        return any(not each.is_finished for each in pilot.app.workers)

    await pilot.pause()
    await until(pilot, lambda: not busy())
    await pilot.pause()


def text_of(app: SealyardApp) -> str:
    """What is on the screen, line by line, without colours."""
    return "\n".join(
        "".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()
    )
