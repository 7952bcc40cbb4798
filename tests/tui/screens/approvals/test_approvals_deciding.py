"""Tests of decisions on the approvals screen: approve and reject, single and in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from textual.widgets import Button, Input, TextArea

from sealyard.model.access import Action
from sealyard.model.errors import ConflictError
from sealyard.model.tasks import Verdict
from sealyard_tui.screens.approvals.dialogs import ApproveDialog, RejectDialog
from tests.support.failing_disk import FailingDisk
from tests.tui.approvals_helpers import (
    FIRST,
    OWN,
    SECOND,
    SECOND_APPROVER,
    SENSOR,
    approvals_screen,
    approvals_table,
    break_quorum,
    expire_on_failing_disk,
    listed_ids,
    open_queue,
    paste_text,
    press_keys,
    review_text,
    wait_for_review,
)
from tests.tui.pilot_helpers import assert_visible, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, TuiWorkspace

pytestmark = pytest.mark.usefixtures("no_drafts")


@pytest.fixture
def no_drafts() -> Iterator[None]:
    yield
    ApproveDialog.comments.clear()
    RejectDialog.drafts.clear()


def requested_decisions(workspace: TuiWorkspace) -> list[tuple[object, ...]]:
    """Return the task id, verdict, reason and digest of each decision that was requested."""
    return [arguments[:4] for arguments in workspace.faults.calls_of("decide")]


# ---- approval


async def test_approval_summarizes_task_and_requires_device_name(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        text = screen_text(app)
        digest = workspace.task(FIRST).approval_digest
        for words in (
            "gateway 1.5.0",
            "gateway version 2",
            "bootloader.bin  64.0 KiB",
            "release.json",
            digest[:16],
            "This cannot be undone.",
            "Type gateway to confirm",
            "Approve",
            "Back",
        ):
            assert words in text, words
        assert app.screen.query_one("#yes", Button).disabled
        await pilot.press("enter")
        assert not requested_decisions(workspace)
        await pilot.press(*"gateway", "enter")
        await wait_for_review(app, pilot)
        assert requested_decisions(workspace) == [(FIRST, Verdict.APPROVED, "", digest)]
        await assert_visible(pilot, "gateway 1.5.0 approved (status: SCHEDULED)")
        assert listed_ids(app) == [SECOND, SENSOR]


async def test_approval_includes_comment(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await pilot.press("tab")
        await paste_text(pilot, "tested well")
        await pilot.press("enter")
        await wait_for_review(app, pilot)
        assert requested_decisions(workspace)[0][2] == "tested well"


async def test_comment_draft_survives_escape(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A", "tab")
        await paste_text(pilot, "half a tho")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        await pilot.press("ctrl+a")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert app.screen.query_one("#comment", Input).value == "half a tho"
        assert not requested_decisions(workspace)


async def test_approval_warns_about_unread_review(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "enter")
        await pilot.press("A")
        await wait_until(pilot, lambda: "not read the review to the end" in screen_text(app))
        await pilot.press("escape")
        await press_keys(app, pilot, "G")
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        assert "not read the review to the end" not in screen_text(app)


async def test_incomplete_quorum_shows_remaining_approvals(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "G")
        await pilot.press("A")
        await wait_until(pilot, lambda: "Approval 1 of 2; more approvals are needed." in screen_text(app))
        await paste_text(pilot, "sensor")
        await pilot.press("enter")
        await wait_for_review(app, pilot)
        assert "sensor 3.1: 1 of 2 approvals" in screen_text(app)
        assert SENSOR not in listed_ids(app)


async def test_conflicting_approval_shows_error_and_reloads(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        # The digest of a stored task never changes: this is the engine's answer to a review that was tampered with.
        changed = ConflictError("The task changed since you reviewed it.", "Review the task again, then decide.")
        workspace.faults.fail["decide"] = changed
        workspace.faults.counts.clear()
        await pilot.press("enter")
        await wait_until(pilot, lambda: "changed since you reviewed it" in screen_text(app))
        assert "The list and the review" in screen_text(app)
        await pilot.press("escape")
        await wait_for_review(app, pilot)
        assert workspace.faults.counts["review"] > 0
        assert workspace.faults.counts["tasks"] > 0


async def test_approval_uses_digest_shown_in_dialog(workspace: TuiWorkspace) -> None:
    """The task changes while the dialog is open: the decision is for the digest that the dialog showed."""
    shown_digest = workspace.task(FIRST).approval_digest
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        await break_quorum(workspace)
        await wait_until(pilot, lambda: workspace.task(FIRST).warning in review_text(app))
        await paste_text(pilot, "gateway")
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(requested_decisions(workspace)))
        assert requested_decisions(workspace)[0][3] == shown_digest


# ---- rejection


async def test_rejection_requires_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await pilot.press("x")
        await wait_until(pilot, lambda: isinstance(app.screen, RejectDialog))
        await assert_visible(pilot, "cannot be undone")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "A reason is required." in screen_text(app))
        await paste_text(pilot, "wrong bootloader")
        await pilot.press("ctrl+s")
        await wait_for_review(app, pilot)
        digest = workspace.task(FIRST).approval_digest
        assert requested_decisions(workspace) == [(FIRST, Verdict.REJECTED, "wrong bootloader", digest)]
        await assert_visible(pilot, "gateway 1.5.0 rejected")


async def test_rejection_reason_opens_in_editor(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDITOR", "vi")
    monkeypatch.setattr("sealyard_tui.app_base.edit_text", lambda app, command, text: text + "from the editor")
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("x")
        await paste_text(pilot, "typed, ")
        await pilot.press("ctrl+e", "ctrl+s")
        await wait_for_review(app, pilot)
        assert requested_decisions(workspace)[0][2] == "typed, from the editor"


async def test_failed_rejection_keeps_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        workspace.faults.fail["decide"] = ConflictError("Somebody was faster.")
        await pilot.press("x")
        await paste_text(pilot, "a long thought")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: "Somebody was faster." in screen_text(app))
        await pilot.press("escape")
        del workspace.faults.fail["decide"]
        await wait_for_review(app, pilot)
        await pilot.press("x")
        await wait_until(pilot, lambda: isinstance(app.screen, RejectDialog))
        assert app.screen.query_one(TextArea).text == "a long thought"


# ---- bulk decisions


async def test_bulk_approval_requires_typed_count(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await pilot.press("space", "j", "v")
        assert "3 to approve, 3 marked" in screen_text(app)
        await pilot.press("A")
        await wait_until(pilot, lambda: "Type approve 3 to confirm" in screen_text(app))
        for words in ("gateway 1.5.0", "gateway 1.5.1", "sensor 3.1", "not read 3 of 3 reviews to the end"):
            await assert_visible(pilot, words)
        await paste_text(pilot, "approve 3")
        await pilot.press("enter")
        await wait_until(pilot, lambda: len(requested_decisions(workspace)) == 3)
        await wait_until(pilot, lambda: "3 tasks approved; 1 task still pending" in screen_text(app))
        assert not approvals_table(app).marked_rows
        assert [each[3] for each in requested_decisions(workspace)] == [
            workspace.task(each).approval_digest for each in (FIRST, SECOND, SENSOR)
        ]


async def test_bulk_approval_skips_and_names_own_tasks(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "m")
        await pilot.press("G", "k", "space", "g", "space", "A")
        await wait_until(pilot, lambda: "Type approve 1 to confirm" in screen_text(app))
        await assert_visible(pilot, "by the owner  skipped: own task")
        await paste_text(pilot, "approve 1")
        await pilot.press("enter")
        await wait_until(pilot, lambda: bool(requested_decisions(workspace)))
        await wait_for_review(app, pilot)
        assert [each[0] for each in requested_decisions(workspace)] == [FIRST]
        assert OWN in listed_ids(app)


async def test_bulk_rejection_shares_one_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("space", "space", "x")
        await wait_until(pilot, lambda: "Reject 2 tasks" in screen_text(app))
        await paste_text(pilot, "recalled")
        await pilot.press("ctrl+s")
        await wait_until(pilot, lambda: len(requested_decisions(workspace)) == 2)
        assert {each[2] for each in requested_decisions(workspace)} == {"recalled"}
        await wait_until(pilot, lambda: listed_ids(app) == [SENSOR])


async def test_bulk_approval_reports_each_outcome(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("space", "space", "A")
        await paste_text(pilot, "approve 2")
        await workspace.client(DEVELOPER).withdraw(SECOND, "a mistake")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "1 approved, 1 failed" in screen_text(app))
        assert f"✗ gateway 1.5.1: Cannot decide on task {SECOND}: it is CANCELLED" in screen_text(app)
        await assert_visible(pilot, "✓ gateway 1.5.0 approved")


async def test_keys_during_pending_decision_are_harmless(workspace: TuiWorkspace) -> None:
    workspace.faults.hold["decide"] = asyncio.Event()
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await pilot.press("enter")
        await assert_visible(pilot, "▸ Sending…")
        assert isinstance(app.screen, ApproveDialog)
        await pilot.press("j", "k", "n", "enter")
        workspace.faults.hold["decide"].set()
        await wait_for_review(app, pilot)
        assert len(requested_decisions(workspace)) == 1
        assert FIRST not in listed_ids(app)


# ---- concurrent changes


async def test_task_withdrawn_during_dialog_disables_approval(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("A")
        await paste_text(pilot, "gateway")
        await workspace.client(DEVELOPER).withdraw(FIRST, "a mistake")
        await wait_until(pilot, lambda: "gateway 1.5.0 is now CANCELLED" in screen_text(app))
        assert app.screen.query_one("#yes", Button).disabled
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.screen is approvals_screen(app))
        await wait_for_review(app, pilot)
        assert not requested_decisions(workspace)
        assert FIRST not in listed_ids(app)


async def test_deadline_passing_during_dialog_shows_notice(empty_workspace: TuiWorkspace, disk: FailingDisk) -> None:
    await empty_workspace.add_task(name="nearly")
    async with open_queue(empty_workspace) as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        await expire_on_failing_disk(empty_workspace, disk, days=7)
        await wait_until(pilot, lambda: "nearly is no longer pending" in screen_text(app))


async def test_task_decided_elsewhere_keeps_typed_reason(
    workspace: TuiWorkspace,
) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("x")
        await paste_text(pilot, "because")
        await workspace.approve(workspace.task(FIRST), SECOND_APPROVER)
        await wait_until(pilot, lambda: "gateway 1.5.0 is now " in screen_text(app))
        assert app.screen.query_one(TextArea).text == "because"
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "it is SCHEDULED")
        await pilot.press("escape")
        await wait_for_review(app, pilot)
        assert listed_ids(app) == [SECOND, SENSOR]


async def test_bulk_approval_continues_after_withdrawn_task(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("space", "space", "A")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog))
        await workspace.client(DEVELOPER).withdraw(FIRST, "a mistake")
        await wait_until(pilot, lambda: "gateway 1.5.0 is now CANCELLED" in screen_text(app))
        await paste_text(pilot, "approve 2")
        await pilot.press("enter")
        await wait_until(pilot, lambda: "1 approved, 1 failed" in screen_text(app))


@pytest.mark.parametrize("size", [(80, 24), (60, 18), (120, 40)])
async def test_decision_dialogs_show_buttons_at_all_sizes(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    firmware = {f"{number}-application.bin": b"firmware" for number in range(18)}
    await workspace.add_task(name="a name that is so long that it must wrap or be cut " * 2, firmware=firmware)
    async with open_queue(workspace, size=size) as (app, pilot):
        for key, words in (("A", "Approve       Back"), ("x", "Submit (^s)    Back (esc)")):
            await pilot.press(key)
            await wait_until(pilot, lambda words=words: words in screen_text(app))  # type: ignore[misc]
            await pilot.press("escape")
            await wait_for_workers(pilot)


async def test_reason_draft_is_kept_per_user(workspace: TuiWorkspace) -> None:
    await workspace.add_rule(ADMINISTRATOR, "DEVICE_CONFIG:gateway", Action.APPROVE)
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("x")
        await paste_text(pilot, "between us")
        await pilot.press("escape")
        app.switch_profile(next(each for each in app.session.profiles if each.name == "administrator"))
        await wait_until(pilot, lambda: app.state.identity == "USER:administrator" and FIRST in approvals_table(app))
        await wait_for_review(app, pilot)
        approvals_table(app).move_cursor_to(FIRST)
        await pilot.press("x")
        await wait_until(pilot, lambda: isinstance(app.screen, RejectDialog))
        assert app.screen.query_one(TextArea).text == ""
