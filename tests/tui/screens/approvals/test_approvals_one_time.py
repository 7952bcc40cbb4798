"""Tests of approvals with one-time passwords, and of the display of a decision's origin."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
from textual.widgets import Button, Input

from sealyard.model.tasks import DecisionOrigin, Task, TaskStatus
from sealyard_tui.screens.approvals.dialogs import ApproveDialog
from tests.support.authenticator import Authenticator
from tests.support.otp import enroll
from tests.tui.approvals_helpers import (
    FIRST,
    SECOND,
    open_queue,
    paste_text,
    press_keys,
    review_text,
    wait_for_review,
)
from tests.tui.pilot_helpers import assert_visible, screen_text, wait_until
from tests.tui.task_factories import decision
from tests.tui.workspace import OWNER, TuiWorkspace

pytestmark = pytest.mark.usefixtures("otp_policy")


@pytest.fixture
async def otp_policy(workspace: TuiWorkspace) -> AsyncIterator[None]:
    await workspace.set_policy(require_otp=True)
    yield
    ApproveDialog.comments.clear()


@pytest.fixture
async def authenticator(workspace: TuiWorkspace) -> Authenticator:
    """The owner's authenticator."""
    return await enroll(workspace, OWNER)


def get_task(workspace: TuiWorkspace, task_id: str = FIRST) -> Task:
    return workspace.task(task_id)


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40)])
async def test_approval_requires_one_time_password(
    workspace: TuiWorkspace, authenticator: Authenticator, size: tuple[int, int]
) -> None:
    async with open_queue(workspace, size=size) as (app, pilot):
        await pilot.press("A")
        await assert_visible(pilot, "One-time password", "Approve       Back")
        await paste_text(pilot, "gateway")
        await pilot.press("enter")
        await assert_visible(pilot, "Enter a one-time password")
        assert app.screen.query_one("#yes", Button).disabled
        await pilot.press("tab", "tab")
        await paste_text(pilot, authenticator.code(workspace.now))
        await pilot.press("enter")
        await wait_until(pilot, lambda: get_task(workspace).status is TaskStatus.SCHEDULED)
        (approval,) = get_task(workspace).approvals
        assert (approval.by, approval.origin, approval.one_time_password) == (OWNER, DecisionOrigin.TERMINAL, True)


@pytest.mark.usefixtures("authenticator")
async def test_wrong_otp_keeps_comment_and_clears_password(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await pilot.press("tab")
        await paste_text(pilot, "tested well")
        await pilot.press("tab")
        await paste_text(pilot, "999999")
        await pilot.press("enter")
        await assert_visible(pilot, "The one-time password is wrong.", "Wait for the next one")
        await pilot.press("escape")
        await wait_for_review(app, pilot)
        assert get_task(workspace).status is TaskStatus.WAITING
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert app.screen.query_one("#comment", Input).value == "tested well"
        assert app.screen.query_one("#otp", Input).value == ""


async def test_bulk_approval_with_otp_is_refused(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await pilot.press("space", "space", "A")
        await assert_visible(pilot, "One-time passwords can be used once; approve tasks individually.")
        assert not isinstance(app.screen, ApproveDialog)
        assert workspace.faults.calls_of("decide") == []


async def test_bulk_rejection_needs_no_otp(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (_, pilot):
        await pilot.press("space", "space", "x")
        await assert_visible(pilot, "Reject 2 tasks")
        await paste_text(pilot, "recalled")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: get_task(workspace, SECOND).status is TaskStatus.CANCELLED)
        (approval,) = get_task(workspace).approvals
        assert (approval.origin, approval.one_time_password) == (DecisionOrigin.TERMINAL, False)


async def test_approval_without_otp_policy_omits_field(workspace: TuiWorkspace) -> None:
    await workspace.set_policy()
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert "One-time" not in screen_text(app)
        await paste_text(pilot, "gateway")
        await pilot.press("enter")
        await wait_until(pilot, lambda: get_task(workspace).status is TaskStatus.SCHEDULED)
        (approval,) = get_task(workspace).approvals
        assert (approval.origin, approval.one_time_password) == (DecisionOrigin.TERMINAL, False)


@pytest.mark.parametrize(
    ("origin", "one_time", "words"),
    [
        (None, False, f"by {OWNER} (Olga Owner) at"),
        (DecisionOrigin.MACHINE, False, f"by {OWNER} (Olga Owner) (machine client) at"),
        (DecisionOrigin.TERMINAL, False, f"by {OWNER} (Olga Owner) (at a terminal) at"),
        (DecisionOrigin.TERMINAL, True, f"by {OWNER} (Olga Owner) (at a terminal, with one-time password) at"),
    ],
)
async def test_review_shows_decision_origin_and_otp(
    workspace: TuiWorkspace, origin: DecisionOrigin | None, one_time: bool, words: str
) -> None:
    approval = decision(OWNER, origin=origin, one_time_password=one_time)
    # Decisions without an origin are from versions of Sealyard that did not record it.
    await workspace.insert_tasks(
        msgspec.structs.replace(workspace.task(FIRST), approvals=(approval,), approvals_required=2)
    )
    async with open_queue(workspace, "administrator", size=(120, 40)) as (app, pilot):
        await press_keys(app, pilot, "m", "enter")
        await wait_until(pilot, lambda: words in " ".join(review_text(app).split()))
