"""Tests of disabling, enabling and removing subjects on the access screen, and of what other screens show of them."""

from __future__ import annotations

import pytest
from textual.widgets import Button, Input

from sealyard.model.access import Action, SubjectState
from sealyard.model.requests import DeviceUpdate
from sealyard.model.tasks import Verdict
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import ChoiceLine
from sealyard_tui.screens.access.screen import AccessScreen
from sealyard_tui.screens.access.state_actions import RemoveSubjectDialog
from sealyard_tui.session.messages import EngineState
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.form_helpers import field_row, open_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, TuiWorkspace


def make_access_app(workspace: TuiWorkspace, profile_name: str = "administrator") -> SealyardApp:
    return make_app(workspace, profile_name, start_screen="access")


def move_cursor_to(app: SealyardApp, key: str) -> None:
    assert isinstance(app.screen, AccessScreen)
    assert app.screen.query_one(VirtualTable).move_cursor_to(key), key
    app.screen.refresh_bindings()


def state_of(workspace: TuiWorkspace, subject: str) -> SubjectState:
    access = workspace.engine.access.access(ADMINISTRATOR)
    return next(each.state for each in (*access.subjects, *access.removed) if each.id == subject)


async def set_state(workspace: TuiWorkspace, subject: str, state: SubjectState) -> None:
    client = workspace.client(ADMINISTRATOR)
    await client.set_subject_state(subject, state, "left the company", confirmed=True)


@pytest.mark.parametrize("size", [(80, 24), (60, 18)])
async def test_subject_is_disabled_and_enabled(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=size) as pilot:
        move_cursor_to(app, AUDITOR)
        await pilot.press("d")
        await assert_visible(pilot, "Disable USER:auditor", "It is refused everywhere until you enable it")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "✗ A reason is required.")
        await pilot.press(*"on leave", "ctrl+s")
        await assert_visible(pilot, "Disabled USER:auditor", "▶ ○ user       USER:au")
        assert state_of(workspace, AUDITOR) is SubjectState.DISABLED
        await assert_visible(pilot, "disabled")
        assert (app.screen.check_action("disable", ()), app.screen.check_action("enable", ())) == (False, True)
        await pilot.press("enter")
        await assert_visible(pilot, "disabled 2026-11-23", "on leave", "without effect until it")
        await pilot.press("escape", "e")
        await assert_visible(pilot, "Enable USER:auditor", "reason is optional.")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Enabled USER:auditor")
        assert state_of(workspace, AUDITOR) is SubjectState.ACTIVE


async def test_removal_shows_effects_and_needs_word_and_reason(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, AUDITOR)
        await pilot.press("x")
        await assert_visible(
            pilot,
            "This removes USER:auditor, and deletes 1 rule.",
            "Type auditor to confirm",
            "Tasks and the audit log",
        )
        assert isinstance(app.screen, RemoveSubjectDialog)
        type_text(app, "auditor")
        await pilot.press("enter")
        await assert_visible(pilot, "Enter a reason.")
        assert app.screen.query_one("#yes", Button).disabled
        app.screen.set_focus(app.screen.query_one("#reason", Input))
        type_text(app, "left the company")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert state_of(workspace, AUDITOR) is SubjectState.ACTIVE
        await pilot.press("x")
        await assert_visible(pilot, "left the company")
        type_text(app, "auditor")
        await pilot.press("enter")
        await assert_visible(pilot, "Removed USER:auditor")
        await pilot.press("slash", *"left", "enter", "end")
        await assert_visible(pilot, "▶ × removed    USER:auditor", "Aki Auditor · left the comp", "1 of ")
        assert state_of(workspace, AUDITOR) is SubjectState.REMOVED
        assert RemoveSubjectDialog.reasons == {}
        assert not any(each.subject == AUDITOR for each in workspace.engine.access.access(ADMINISTRATOR).rules)


async def test_lost_approvals_and_quorums_are_confirmed(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, OWNER)
        await pilot.press("d")
        await assert_visible(pilot, "Disable USER:owner")
        await pilot.press(*"away", "ctrl+s")
        await assert_visible(pilot, "too few approvers for gateway", "Type owner to confirm")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert state_of(workspace, OWNER) is SubjectState.ACTIVE
        await pilot.press("d")
        await assert_visible(pilot, "Disable USER:owner")
        await pilot.press(*"away", "ctrl+s")
        await assert_visible(pilot, "Type owner to confirm")
        type_text(app, "owner")
        await pilot.press("enter")
        await assert_visible(pilot, "Disabled USER:owner")


async def test_own_subject_and_removed_subjects_are_protected(workspace: TuiWorkspace) -> None:
    await set_state(workspace, AUDITOR, SubjectState.REMOVED)
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        for key, available in ((ADMINISTRATOR, set()), (AUDITOR, {"enable"}), (OWNER, {"disable", "remove"})):
            move_cursor_to(app, key)
            assert {each for each in ("disable", "enable", "remove") if app.screen.check_action(each, ())} == available
        move_cursor_to(app, ADMINISTRATOR)
        await pilot.press("d", "e", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"


async def test_last_administrator_error_names_the_keys(workspace: TuiWorkspace) -> None:
    await workspace.add_rule(OWNER, "RESOURCE_TYPE:SUBJECT", Action.CREATE)
    await workspace.add_rule(OWNER, "RESOURCE_TYPE:ACL", Action.VIEW)
    app = make_access_app(workspace, "owner")
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, ADMINISTRATOR)
        await pilot.press("x")
        await assert_visible(pilot, "without an administrator", "Grant another user CREATE", "under 6 Access)")


async def test_inactive_subjects_are_not_offered(workspace: TuiWorkspace) -> None:
    await set_state(workspace, AUDITOR, SubjectState.DISABLED)
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, OWNER)
        await open_form(pilot, "plus")
        choices = field_row(app, "subject").control
        assert isinstance(choices, ChoiceLine)
        assert AUDITOR not in [each for each, _ in choices.choices]
        await pilot.press("escape", "P")
        await assert_visible(pilot, "Who are you?", f"owner  {OWNER}")
        assert f"auditor  {AUDITOR}" not in screen_text(app)
        await pilot.press("escape", "f2")
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and bool(app.state.workspace))


async def test_disabled_user_of_the_application_is_told(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "auditor")
    async with run_app(app, size=(80, 24)) as pilot:
        await set_state(workspace, AUDITOR, SubjectState.DISABLED)
        await wait_until(pilot, lambda: app.state.engine is EngineState.FAILED)
        await assert_visible(pilot, "USER:auditor is disabled in this workspace.", "(e under 6 Access)")


async def test_requester_and_revoked_approval_are_marked(workspace: TuiWorkspace) -> None:
    await workspace.add_user("USER:second", Action.APPROVE)
    client = workspace.client(ADMINISTRATOR)
    await client.update_device(DeviceUpdate(config="gateway", approvals_required=2))
    task = await workspace.add_task("left1")
    await workspace.client(OWNER).decide(task.id, Verdict.APPROVED)
    await set_state(workspace, OWNER, SubjectState.DISABLED)
    await set_state(workspace, DEVELOPER, SubjectState.REMOVED)
    app = make_app(workspace, "administrator", start_screen="approvals")
    async with run_app(app, size=(120, 60)) as pilot:
        await pilot.press("m")
        await assert_visible(
            pilot,
            "USER:developer (Dana Developer) (removed) at",
            "! USER:developer no longer has permission to use gateway.",
            "0 of 2",
        )
        await pilot.press(*["full_stop"] * 3)
        await assert_visible(pilot, "No longer counts: The")
        await pilot.press("1")
        await assert_visible(pilot, "0 of 2 approved")
