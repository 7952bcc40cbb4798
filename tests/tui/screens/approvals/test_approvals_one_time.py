"""Approving where the policy wants a one-time password, and what is said of how a decision was made."""

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

pytestmark = pytest.mark.usefixtures("strict")


@pytest.fixture
async def strict(workspace: TuiWorkspace) -> AsyncIterator[None]:
    await workspace.set_policy(require_otp=True)
    yield
    ApproveDialog.comments.clear()


@pytest.fixture
async def authenticator(workspace: TuiWorkspace) -> Authenticator:
    """The owner's authenticator."""
    return await enroll(workspace, OWNER)


def approved(workspace: TuiWorkspace, task_id: str = FIRST) -> Task:
    return workspace.task(task_id)


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40)])
async def test_the_one_time_password_is_asked_for_and_handed_in(
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
        await wait_until(pilot, lambda: approved(workspace).status is TaskStatus.SCHEDULED)
        (made,) = approved(workspace).approvals
        assert (made.by, made.origin, made.one_time_password) == (OWNER, DecisionOrigin.TERMINAL, True)


@pytest.mark.usefixtures("authenticator")
async def test_a_wrong_one_is_told_and_the_comment_is_kept_but_no_password(workspace: TuiWorkspace) -> None:
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
        assert approved(workspace).status is TaskStatus.WAITING
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert app.screen.query_one("#comment", Input).value == "tested well"
        assert app.screen.query_one("#otp", Input).value == ""


async def test_several_at_once_are_refused_with_the_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await pilot.press("space", "space", "A")
        await assert_visible(pilot, "One-time passwords can be used once; approve tasks individually.")
        assert not isinstance(app.screen, ApproveDialog)
        assert workspace.faults.calls_of("decide") == []


async def test_several_are_still_rejected_at_once_and_without_one(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (_, pilot):
        await pilot.press("space", "space", "x")
        await assert_visible(pilot, "Reject 2 tasks")
        await paste_text(pilot, "recalled")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: approved(workspace, SECOND).status is TaskStatus.CANCELLED)
        (made,) = approved(workspace).approvals
        assert (made.origin, made.one_time_password) == (DecisionOrigin.TERMINAL, False)


async def test_where_none_is_wanted_none_is_asked_for(workspace: TuiWorkspace) -> None:
    await workspace.set_policy()
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert "One-time" not in screen_text(app)
        await paste_text(pilot, "gateway")
        await pilot.press("enter")
        await wait_until(pilot, lambda: approved(workspace).status is TaskStatus.SCHEDULED)
        (made,) = approved(workspace).approvals
        assert (made.origin, made.one_time_password) == (DecisionOrigin.TERMINAL, False)


@pytest.mark.parametrize(
    ("origin", "one_time", "words"),
    [
        (None, False, f"by {OWNER} (Olga Owner) at"),
        (DecisionOrigin.MACHINE, False, f"by {OWNER} (Olga Owner) (machine client) at"),
        (DecisionOrigin.TERMINAL, False, f"by {OWNER} (Olga Owner) (at a terminal) at"),
        (DecisionOrigin.TERMINAL, True, f"by {OWNER} (Olga Owner) (at a terminal, with one-time password) at"),
    ],
)
async def test_the_review_says_how_a_decision_was_made(
    workspace: TuiWorkspace, origin: DecisionOrigin | None, one_time: bool, words: str
) -> None:
    made = decision(OWNER, origin=origin, one_time_password=one_time)
    # Decisions without an origin are from versions of Sealyard that did not record it.
    await workspace.insert_tasks(
        msgspec.structs.replace(workspace.task(FIRST), approvals=(made,), approvals_required=2)
    )
    async with open_queue(workspace, "administrator", size=(120, 40)) as (app, pilot):
        await press_keys(app, pilot, "m", "enter")
        await wait_until(pilot, lambda: words in " ".join(review_text(app).split()))
