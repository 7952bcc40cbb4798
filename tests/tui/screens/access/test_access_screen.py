"""Tests of the access screen: subjects, groups, rules and the policy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from textual.widgets import Input

from sealyard.model.access import ACTIONS_BY_RESOURCE_TYPE, AclRule, Action, ResourceType
from sealyard.model.audit import AuditAction
from sealyard.model.policy import Policy
from sealyard.model.tasks import TaskKind
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import ChoiceLine
from sealyard_tui.screens.access.screen import AccessScreen, SectionTab
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.connection import FakeConnection
from tests.tui.form_helpers import field_row, fill_field, open_form, select_values, submit_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import device
from tests.tui.workspace import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, TuiWorkspace

HOSTILE = "fw[/oops] [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202e"


def make_access_app(workspace: TuiWorkspace, profile_name: str = "administrator", **settings: Any) -> SealyardApp:
    return make_app(workspace, profile_name, start_screen="access", **settings)


def list_rules(workspace: TuiWorkspace) -> tuple[AclRule, ...]:
    return workspace.engine.access.access(ADMINISTRATOR).rules


def approval_rule_id(workspace: TuiWorkspace) -> str:
    return next(
        rule.id for rule in list_rules(workspace) if (rule.subject, rule.resource) == (OWNER, "DEVICE_CONFIG:gw")
    )


def move_cursor_to(app: SealyardApp, key: str) -> None:
    assert isinstance(app.screen, AccessScreen)
    assert app.screen.query_one(VirtualTable).move_cursor_to(key), key
    app.screen.refresh_bindings()


async def test_entry_kinds_have_word_and_symbol(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 40)):
        text = screen_text(app)
        for words in (
            "○ user       USER:owner",
            "in GROUP:owners",
            "◎ group      GROUP:owners",
            "└ member     USER:owner",
            "→ rule       USER:owner",
            "APPROVE  gateway",
            "every device configuration",
            "locked",
        ):
            assert words in text, words


async def test_wide_list_shows_display_names(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(120, 40)):
        assert "→ rule USER:owner (Olga Owner) APPROVE gateway" in " ".join(screen_text(app).split())


async def test_section_keys_switch_and_show_counts(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("right")
        await assert_visible(pilot, "[users & clients 4]")
        assert "→ rule" not in screen_text(app)
        await pilot.press("l", "l")
        await assert_visible(pilot, f"[rules {len(list_rules(workspace))}]")
        assert "○ user" not in screen_text(app)
        await pilot.press("h")
        await assert_visible(pilot, "[groups 2]", "1 member")


async def test_section_click_switches_section(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.click(list(app.screen.query(SectionTab))[3])
        await assert_visible(pilot, f"[rules {len(list_rules(workspace))}]")


async def test_filter_searches_all_entries(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("slash")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        type_text(app, "owner approve")
        await pilot.press("enter")
        total = 5 + 1 + len(list_rules(workspace))
        await assert_visible(pilot, f"2 of {total}", "APPROVE  sensor")
        await pilot.press("escape")
        await assert_visible(pilot, "USER:auditor")


async def test_filter_finds_dates_and_locks(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(160, 40)) as pilot:
        since = list_rules(workspace)[0].created_at
        app.screen.query_one(FilterBar).apply(f"{since:%Y-%m-%d} rule")
        total = 5 + 1 + len(list_rules(workspace))
        await assert_visible(pilot, f"{len(list_rules(workspace))} of {total}")
        app.screen.query_one(FilterBar).apply("locked")
        await wait_until(pilot, lambda: all(row.permanent for row in app.screen.query(VirtualTable).first().rows))


async def test_unprivileged_user_sees_own_permissions(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "[my permissions 2]", "✓ permission you", "USE      gateway")
        await pilot.press("n", "plus", "m", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("right")
        await assert_visible(pilot, "You do not have permission to view this list")
        assert await workspace.audit_entries(AuditAction.REFUSED) == []


async def test_detail_includes_permissions_inherited_from_groups(workspace: TuiWorkspace) -> None:
    await workspace.add_rule("GROUP:owners", "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, OWNER)
        await pilot.press("enter")
        await assert_visible(pilot, "Olga Owner", "APPROVE gateway", "VIEW the audit log  through GROUP:owners")


async def test_add_subject_requires_valid_name(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "subject", "no good!")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Invalid subject 'no good!'")
        fill_field(app, "subject", "anna")
        fill_field(app, "display", "Anna A.")
        await submit_form(pilot)
        assert workspace.faults.calls_of("add_subject") == [("USER:anna", "Anna A.")]
        await assert_visible(pilot, "▶ ○ user       USER:anna", "Added USER:anna")


async def test_adding_existing_subject_keeps_form_input(workspace: TuiWorkspace) -> None:
    await workspace.add_subject("USER:anna")
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        type_text(app, "anna")
        await submit_form(pilot)
        await assert_visible(pilot, "✗ USER:anna already exists.")
        await pilot.press("escape")
        await open_form(pilot, "n")
        await assert_visible(pilot, "anna")


@pytest.mark.parametrize("kind", [ResourceType.DEVICE_CONFIG, ResourceType.AUDIT_LOG, ResourceType.KEY])
async def test_rule_form_offers_actions_of_resource_type(workspace: TuiWorkspace, kind: ResourceType) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "plus")
        fill_field(app, "resource", f"RESOURCE_TYPE:{kind}")
        await pilot.pause()
        actions = field_row(app, "action").control
        assert isinstance(actions, ChoiceLine)
        assert {each for each, _ in actions.choices} == ACTIONS_BY_RESOURCE_TYPE[kind]


async def test_rule_form_describes_rule_before_adding(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, AUDITOR)
        await open_form(pilot, "plus")
        fill_field(app, "resource", "DEVICE_CONFIG:sensor")
        fill_field(app, "action", Action.USE)
        await assert_visible(pilot, "USER:auditor (Aki Auditor) may USE sensor")
        await submit_form(pilot)
        assert workspace.faults.calls_of("add_rule") == [(AUDITOR, "DEVICE_CONFIG:sensor", Action.USE, False)]
        await assert_visible(pilot, "▶ → rule       USER:auditor")


async def test_add_member_uses_group_under_cursor(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, "GROUP:owners")
        await open_form(pilot, "m")
        fill_field(app, "member", AUDITOR)
        await submit_form(pilot)
        assert workspace.faults.calls_of("add_member") == [("GROUP:owners", AUDITOR, False)]
        await assert_visible(pilot, "▶ └ member     USER:auditor")


async def test_remove_member_names_lost_permissions(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        (membership,) = workspace.engine.access.access(ADMINISTRATOR).memberships
        move_cursor_to(app, membership.id)
        await pilot.press("x")
        await assert_visible(pilot, "USER:owner (Olga Owner) will be removed from GROUP:owners and lose")
        await pilot.press("n")
        await wait_for_workers(pilot)
        assert not workspace.faults.calls
        await pilot.press("x")
        await assert_visible(pilot, "removed from GROUP:owners")
        await pilot.press("y")
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("remove_member") == [("GROUP:owners", OWNER, False)]
        await assert_visible(pilot, "0 members")


async def test_remove_rule_breaking_quorum_asks_again(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        rule_id = approval_rule_id(workspace)
        move_cursor_to(app, rule_id)
        await pilot.press("x")
        await assert_visible(pilot, "USER:owner (Olga Owner) will lose APPROVE on gateway")
        await pilot.press("y")
        await assert_visible(pilot, "This would leave too few approvers for gateway.", "Type no approvals to confirm")
        await pilot.press("enter")
        assert any(rule.id == rule_id for rule in list_rules(workspace))
        type_text(app, "no approvals")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert [each[1] for each in workspace.faults.calls_of("remove_rule")] == [False, True]
        assert not any(rule.id == rule_id for rule in list_rules(workspace))


async def test_escape_from_quorum_confirmation_changes_nothing(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        rule_id = approval_rule_id(workspace)
        move_cursor_to(app, rule_id)
        await pilot.press("x")
        await assert_visible(pilot, "will lose")
        await pilot.press("y")
        await assert_visible(pilot, "Type no approvals to confirm")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert any(rule.id == rule_id for rule in list_rules(workspace))
        assert app.screen.id == "access"


async def test_add_rule_breaking_quorum_needs_typed_confirmation(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, OWNER)
        form = await open_form(pilot, "plus")
        fill_field(app, "resource", "DEVICE_CONFIG:gw")
        fill_field(app, "action", Action.USE)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "This would leave too few approvers for gateway.")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is form)
        await wait_for_workers(pilot)
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type no approvals to confirm")
        type_text(app, "no approvals")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert [each[3] for each in workspace.faults.calls_of("add_rule")] == [False, False, True]


async def test_permanent_rule_removal_shows_reason(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        move_cursor_to(app, next(each.id for each in list_rules(workspace) if each.permanent))
        await pilot.press("x")
        await assert_visible(pilot, "This rule cannot be removed.", "initial administrator")
        assert not workspace.faults.calls


async def test_read_only_disables_modifying_actions(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app, size=(80, 24)) as pilot:
        assert "n Add" not in screen_text(app)
        await pilot.press("n", "plus", "m", "x", "d", "e")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("p")
        await assert_visible(pilot, "approval period      7d", "UPDATE permission on the policy")


async def test_policy_is_shown_without_update_permission(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("p")
        await assert_visible(
            pilot, "approval required for packaging, signing", "self-approval trial  off", "one-time password    off"
        )


async def test_policy_form_updates_changed_settings(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "approval_timeout", "2d")
        select_values(app, "kinds", TaskKind.PACKAGING)
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(
            requires_approval=(TaskKind.PACKAGING,), approval_timeout=2 * 86400
        )


async def test_requiring_otp_warns_about_unenrolled_approvers(
    workspace: TuiWorkspace,
) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "one_time", "on")
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(require_otp=True)
        await assert_visible(pilot, "Approvals for gateway, sensor cannot be", "too few approvers")
        app.clear_notifications()
        await open_form(pilot, "p")
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(require_otp=True)
        assert "Approvals for gateway" not in screen_text(app)


async def test_enabling_self_approval_needs_typed_confirmation(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        form = await open_form(pilot, "p")
        fill_field(app, "trial", "on")
        await assert_visible(pilot, "without a second")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type self-approval to confirm", "marked TRIAL")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is form)
        await wait_for_workers(pilot)
        assert not workspace.engine.access.policy().allow_self_approval
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type self-approval to confirm")
        type_text(app, "self-approval")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert workspace.engine.access.policy().allow_self_approval
        await assert_visible(pilot, "SELF-APPROVAL TRIAL")


async def test_self_approval_is_offered_in_demos_only(workspace: TuiWorkspace) -> None:
    workspace.engine.metadata = msgspec.structs.replace(workspace.engine.metadata, demo=False)
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        assert "Self-approval" not in screen_text(app)


async def test_hostile_names_are_escaped(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).add_subject("USER:h", HOSTILE)
    await workspace.store_device(device(version=3, name=HOSTILE))
    app = make_access_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fw[/oops] [@click=app.quit]x[")
        move_cursor_to(app, "USER:h")
        await pilot.press("enter")
        await assert_visible(pilot, "USER:h (fw[/oops]")
        await pilot.press("escape")
        await open_form(pilot, "plus")
        await assert_visible(pilot, "‹ USER:h (fw[/oops]")
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)


async def test_external_change_updates_list(workspace: TuiWorkspace) -> None:
    app = make_access_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await workspace.add_rule(DEVELOPER, "RESOURCE_TYPE:KEY", Action.VIEW)
        await assert_visible(pilot, f"rules {len(list_rules(workspace))}")
