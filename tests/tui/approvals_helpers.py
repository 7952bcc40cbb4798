"""Scenes for the approval queue: a workspace with tasks that wait, and the application at that place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard.model.tasks import Task
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.approvals.screen import ApprovalsScreen
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.pilot_helpers import make_app, run_app, wait_for_workers, wait_until
from tests.tui.task_factories import device, file, sha, task
from tests.tui.workspace import NOW, OWNER, TuiWorkspace

FIRST, SECOND, SENSOR = "t-waiting", "t-second", "t-sensor"
OWN, LATE = "t-own", "t-late"


def add_pending_tasks(workspace: TuiWorkspace) -> None:
    """Three that wait for the owner, one of the owner's own, and one whose period is over."""
    workspace.tasks = {FIRST: workspace.tasks[FIRST]}
    sensor = workspace.devices["sensor"][0]
    for each in (
        task(SECOND, name="gateway 1.5.1", created_at=NOW - timedelta(hours=1)),
        task(
            SENSOR, name="sensor 3.1", configuration=sensor, created_at=NOW - timedelta(hours=2), approvals_required=2
        ),
        task(OWN, name="by the owner", created_by=OWNER, created_at=NOW - timedelta(hours=3)),
        task(LATE, name="too late", created_at=NOW - timedelta(hours=4), approval_expires_at=NOW),
    ):
        workspace.tasks[each.id] = each


def previous_package() -> Task:
    """The package before :data:`FIRST`: another application, one file more, the version before."""
    application = msgspec.structs.replace(file("application.bin", 1_000_000), sha256=sha("earlier"))
    return task(
        "t-done",
        name="gateway 1.4.2",
        configuration=device(version=1),
        inputs=(file("bootloader.bin", 65536), application, file("radio.bin", 300)),
    )


@asynccontextmanager
async def open_queue(
    workspace: TuiWorkspace, who: str = "owner", size: tuple[int, int] = (120, 40), **settings: Any
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    app = make_app(workspace, who, start_screen="approvals", **settings)
    async with run_app(app, size=size) as pilot:
        await wait_until(pilot, lambda: approvals_screen(app).loaded_at is not None)
        await wait_for_review(app, pilot)
        yield app, pilot


async def wait_for_review(app: SealyardApp, pilot: Pilot[None]) -> None:
    """Once the review is of the task under the cursor."""
    await wait_for_workers(pilot)

    def there() -> bool:
        seen = approvals_screen(app).review.review
        return (seen.task.id if seen is not None else None) == approvals_screen(app).table.cursor_key

    await wait_until(pilot, there)
    await wait_for_workers(pilot)


async def press_keys(app: SealyardApp, pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await wait_for_review(app, pilot)


async def paste_text(pilot: Pilot[None], text: str) -> None:
    """As a terminal pastes it: one event, where keys would be many."""
    await wait_until(pilot, lambda: isinstance(pilot.app.focused, Input | TextArea))
    pilot.app.post_message(events.Paste(text))
    await pilot.pause()


def approvals_screen(app: SealyardApp) -> ApprovalsScreen:
    return next(each for each in app.screen_stack if isinstance(each, ApprovalsScreen))


def approvals_table(app: SealyardApp) -> VirtualTable[Task]:
    return approvals_screen(app).table


def listed_ids(app: SealyardApp) -> list[str]:
    return [each.id for each in approvals_table(app).rows]


def review_text(app: SealyardApp) -> str:
    """All of the review, seen or scrolled away."""
    sections = approvals_screen(app).review.query(".section").results()
    return "\n".join(f"{each.border_title or ''}\n{each.render()}" for each in sections if each.display)
