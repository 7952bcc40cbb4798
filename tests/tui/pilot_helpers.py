"""Run the application on a test's workspace, and wait for what it shows."""

from __future__ import annotations

import asyncio
import math
import time
import weakref
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from sealyard.client.config.profiles import Profile
from sealyard.client.config.settings_loader import Settings
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
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

IDLE_TIMEOUT = 10.0
"""Maximum number of seconds to wait for an idle loop. A busy machine needs seconds to draw a screen."""

THREAD_TIMEOUT = 0.5
"""Maximum number of seconds to wait for work in threads: tests block some threads while they press keys."""

TIMER_TIMEOUT = 1.0
"""Maximum number of seconds to wait for timers: some repeat in short intervals, and a notification ends meanwhile."""

_thread_work: weakref.WeakSet[asyncio.Future[Any]] = weakref.WeakSet()
"""The futures of work in threads."""


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


def record_thread_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Record work in the executor of the event loop, and commits, for which :func:`wait_idle` waits."""
    wrap_future = asyncio.futures.wrap_future
    submit = TinyDocumentStore.submit

    def wrap_and_record(future: Any, *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[Any]:
        wrapped_future = wrap_future(future, loop=loop)
        _thread_work.add(wrapped_future)
        return wrapped_future

    def submit_and_record(store: TinyDocumentStore, batch: WriteBatch) -> Future[None]:
        commit = submit(store, batch)
        # The exception is retrieved, so that asyncio does not log it.
        wrap_and_record(commit).add_done_callback(lambda each: each.exception())
        return commit

    # The event loop uses this name for its executor.
    monkeypatch.setattr(asyncio.futures, "wrap_future", wrap_and_record)
    monkeypatch.setattr(TinyDocumentStore, "submit", submit_and_record)


async def wait_idle(*_: float) -> None:
    """Wait until the event loop has nothing to run, no work in threads, and no timer that ends soon.

    Textual's own ``wait_for_idle`` sleeps 20 ms or more each time to check whether the process uses the processor, and
    gives wrong results on a busy machine.
    """
    loop: Any = asyncio.get_running_loop()
    end = time.monotonic() + IDLE_TIMEOUT
    thread_seconds, timer_seconds = THREAD_TIMEOUT, TIMER_TIMEOUT
    while (now := time.monotonic()) < end:
        await asyncio.sleep(0)
        if loop._ready:
            continue
        running = {each for each in _thread_work if each.get_loop() is loop and not each.done()}
        if running and thread_seconds > 0:
            await asyncio.wait(running, timeout=thread_seconds, return_when=asyncio.FIRST_COMPLETED)
            thread_seconds -= time.monotonic() - now
            continue
        soon = min((each.when() for each in loop._scheduled if not each.cancelled()), default=math.inf)
        if soon > loop.time() + IDLE_WINDOW or timer_seconds <= 0:
            return
        await asyncio.sleep(max(0.0, soon - loop.time()))
        timer_seconds -= time.monotonic() - now


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
