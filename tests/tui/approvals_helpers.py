"""Tasks that wait for approval, and the application on its approvals screen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from textual import events
from textual.pilot import Pilot
from textual.widgets import Input, TextArea

from sealyard.model.access import Action
from sealyard.model.requests import DeviceUpdate
from sealyard.model.tasks import ResultState, Task
from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.approvals.screen import ApprovalsScreen
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.support.failing_disk import FailingDisk
from tests.tui.pilot_helpers import make_app, run_app, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, FIRMWARE, METADATA, NOW, OWNER, TuiWorkspace

FIRST, SECOND, SENSOR = "t-waiting", "t-second", "t-sensor"
OWN, LATE = "t-own", "t-late"
SECOND_APPROVER = "USER:second"
PREVIOUS_FIRMWARE = {
    "bootloader.bin": FIRMWARE["bootloader.bin"],
    "application.bin": b"\x04" * 1_000_000,
    "radio.bin": b"\x05" * 300,
}


async def add_pending_tasks(workspace: TuiWorkspace) -> None:
    """Add five tasks that wait for approval, to an empty workspace seven days before :data:`NOW`.

    The owner can decide on ``FIRST``, ``SECOND`` and ``SENSOR``, which needs two approvals. ``OWN`` is the owner's own
    task. The approval period of ``LATE`` ends two minutes later. A finished package precedes the others.
    """
    await _add_second_approver(workspace)
    await workspace.add_task(LATE, name="too late")
    await workspace.complete(
        await workspace.add_task("t-done", name="gateway 1.4.2", firmware=PREVIOUS_FIRMWARE, metadata=METADATA)
    )
    workspace.clock.move_to(NOW - timedelta(hours=3))
    await workspace.wait_for_result_state("t-done", ResultState.EXPIRED)
    await workspace.add_rule(OWNER, "DEVICE_CONFIG:gateway", Action.USE)
    await workspace.add_task(OWN, name="by the owner", by=OWNER)
    await workspace.remove_rule(OWNER, Action.USE)
    workspace.clock.move_to(NOW - timedelta(hours=2))
    await workspace.add_task(SENSOR, name="sensor 3.1", config="sensor", firmware=FIRMWARE, metadata=METADATA)
    workspace.clock.move_to(NOW - timedelta(hours=1))
    await workspace.add_task(SECOND, name="gateway 1.5.1", firmware=FIRMWARE, metadata=METADATA)
    workspace.clock.move_to(NOW - timedelta(minutes=2))
    await workspace.add_task(FIRST, name="gateway 1.5.0", firmware=FIRMWARE, metadata=METADATA)


async def expire_late_task(workspace: TuiWorkspace, disk: FailingDisk) -> None:
    """Let the approval period of ``LATE`` end while a disk error keeps the engine from cancelling the task.

    The engine tries again five seconds later. No worker is free for approved tasks.
    """
    await expire_on_failing_disk(workspace, disk, minutes=2)
    workspace.bus.small_slots = 0


async def _add_second_approver(workspace: TuiWorkspace) -> None:
    await workspace.add_user(SECOND_APPROVER, Action.APPROVE)
    await workspace.add_rule(SECOND_APPROVER, "DEVICE_CONFIG:sensor", Action.APPROVE)
    await workspace.client(ADMINISTRATOR).update_device(DeviceUpdate(config="sensor", approvals_required=2))


async def break_quorum(workspace: TuiWorkspace) -> None:
    """Leave the configuration gateway with too few approvers for the owner's requests: its tasks get a warning."""
    await workspace.add_rule(OWNER, "DEVICE_CONFIG:gateway", Action.USE)
    await workspace.remove_rule(SECOND_APPROVER, Action.APPROVE)


async def expire_on_failing_disk(workspace: TuiWorkspace, disk: FailingDisk, **period: float) -> None:
    """Move the clock past a deadline that the engine cannot record: it tries again five seconds later."""
    await workspace.wait_until_durable()
    disk.fail()
    workspace.clock.advance(**period)
    await workspace.wait_until(lambda: disk.failed_all)


@asynccontextmanager
async def open_queue(
    workspace: TuiWorkspace, profile_name: str = "owner", size: tuple[int, int] = (120, 40), **settings: Any
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    app = make_app(workspace, profile_name, start_screen="approvals", **settings)
    async with run_app(app, size=size) as pilot:
        await wait_until(pilot, lambda: approvals_screen(app).loaded_at is not None)
        await wait_for_review(app, pilot)
        yield app, pilot


async def wait_for_review(app: SealyardApp, pilot: Pilot[None]) -> None:
    """Wait until the screen shows the review of the task under the cursor."""
    await wait_for_workers(pilot)

    def is_review_current() -> bool:
        review = approvals_screen(app).review.review
        return (review.task.id if review is not None else None) == approvals_screen(app).table.cursor_key

    await wait_until(pilot, is_review_current)
    await wait_for_workers(pilot)


async def press_keys(app: SealyardApp, pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await wait_for_review(app, pilot)


async def paste_text(pilot: Pilot[None], text: str) -> None:
    """Paste text as a terminal does: in one event, where typing would need one for each key."""
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
    """Return the text of the whole review, including the part that is scrolled out of view."""
    sections = approvals_screen(app).review.query(".section").results()
    return "\n".join(f"{each.border_title or ''}\n{each.render()}" for each in sections if each.display)
