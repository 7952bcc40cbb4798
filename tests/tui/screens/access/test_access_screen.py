"""Access control: everybody and every rule is found, and each change says what it means before it is made."""

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
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.connection import FakeConnection
from tests.tui.form_helpers import field_row, fill_field, open_form, select_values, submit_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import device
from tests.tui.workspace import ADMINISTRATOR, AUDITOR, DEVELOPER, OWNER, TuiWorkspace

HOSTILE = "fw[/oops] [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202e"


def the_app(workspace: TuiWorkspace, who: str = "administrator", **settings: Any) -> SealyardApp:
    return make_app(workspace, who, start_screen="access", **settings)


def rules(workspace: TuiWorkspace) -> tuple[AclRule, ...]:
    return workspace.engine.access.access(ADMINISTRATOR).rules


def approval_rule_id(workspace: TuiWorkspace) -> str:
    return next(rule.id for rule in rules(workspace) if (rule.subject, rule.resource) == (OWNER, "DEVICE_CONFIG:gw"))


def go_to(app: SealyardApp, key: str) -> None:
    assert isinstance(app.screen, AccessScreen)
    assert app.screen.query_one(VirtualTable).move_cursor_to(key), key
    app.screen.refresh_bindings()


async def test_people_groups_members_and_rules_are_told_apart_by_word_and_sign(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 40)):
        seen = screen_text(app)
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
            assert words in seen, words


async def test_wide_list_shows_display_names(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(120, 40)):
        assert "→ rule       USER:owner (Olga Owner) APPROVE  gateway" in screen_text(app)


async def test_sections_are_a_key_away_and_say_how_much_is_in_them(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("right")
        await assert_visible(pilot, "[users & clients 4]")
        assert "→ rule" not in screen_text(app)
        await pilot.press("l", "l")
        await assert_visible(pilot, f"[rules {len(rules(workspace))}]")
        assert "○ user" not in screen_text(app)
        await pilot.press("h")
        await assert_visible(pilot, "[groups 2]", "1 member")


async def test_a_click_on_a_section_goes_there(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.click(list(app.screen.query(SectionTab))[3])
        await assert_visible(pilot, f"[rules {len(rules(workspace))}]")


async def test_one_search_goes_over_all_of_it(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("slash")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        type_text(app, "owner approve")
        await pilot.press("enter")
        total = 5 + 1 + len(rules(workspace))
        await assert_visible(pilot, f"2 of {total}", "APPROVE  sensor")
        await pilot.press("escape")
        await assert_visible(pilot, "USER:auditor")


async def test_who_may_not_see_the_list_sees_their_own_rights(workspace: TuiWorkspace) -> None:
    app = the_app(workspace, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "[my permissions 2]", "✓ permission you", "USE      gateway")
        await pilot.press("n", "plus", "m", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("right")
        await assert_visible(pilot, "You do not have permission to view this list")
        assert await workspace.audit_entries(AuditAction.REFUSED) == []


async def test_enter_says_all_about_somebody_rights_through_groups_too(workspace: TuiWorkspace) -> None:
    await workspace.add_rule("GROUP:owners", "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, OWNER)
        await pilot.press("enter")
        await assert_visible(pilot, "Olga Owner", "APPROVE gateway", "VIEW the audit log  through GROUP:owners")


async def test_somebody_is_added_after_the_name_is_seen_to_be_one(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
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


async def test_a_name_that_is_taken_is_told_and_what_was_typed_stays(workspace: TuiWorkspace) -> None:
    await workspace.add_subject("USER:anna")
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        type_text(app, "anna")
        await submit_form(pilot)
        await assert_visible(pilot, "✗ USER:anna already exists.")
        await pilot.press("escape")
        await open_form(pilot, "n")
        await assert_visible(pilot, "anna")


@pytest.mark.parametrize("kind", [ResourceType.DEVICE_CONFIG, ResourceType.AUDIT_LOG, ResourceType.KEY])
async def test_only_actions_that_mean_something_are_offered(workspace: TuiWorkspace, kind: ResourceType) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "plus")
        fill_field(app, "resource", f"RESOURCE_TYPE:{kind}")
        await pilot.pause()
        actions = field_row(app, "action").control
        assert isinstance(actions, ChoiceLine)
        assert {each for each, _ in actions.choices} == ACTIONS_BY_RESOURCE_TYPE[kind]


async def test_a_rule_is_said_in_words_before_it_is_added(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, AUDITOR)
        await open_form(pilot, "plus")
        fill_field(app, "resource", "DEVICE_CONFIG:sensor")
        fill_field(app, "action", Action.USE)
        await assert_visible(pilot, "USER:auditor (Aki Auditor) may USE sensor")
        await submit_form(pilot)
        assert workspace.faults.calls_of("add_rule") == [(AUDITOR, "DEVICE_CONFIG:sensor", Action.USE, False)]
        await assert_visible(pilot, "▶ → rule       USER:auditor")


async def test_a_member_is_put_into_the_group_under_the_cursor(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, "GROUP:owners")
        await open_form(pilot, "m")
        fill_field(app, "member", AUDITOR)
        await submit_form(pilot)
        assert workspace.faults.calls_of("add_member") == [("GROUP:owners", AUDITOR, False)]
        await assert_visible(pilot, "▶ └ member     USER:auditor")


async def test_what_will_be_lost_is_named_before_a_member_is_taken_out(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        (membership,) = workspace.engine.access.access(ADMINISTRATOR).memberships
        go_to(app, membership.id)
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


async def test_a_change_that_breaks_a_quorum_asks_again_with_the_engines_words(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        rule_id = approval_rule_id(workspace)
        go_to(app, rule_id)
        await pilot.press("x")
        await assert_visible(pilot, "USER:owner (Olga Owner) will lose APPROVE on gateway")
        await pilot.press("y")
        await assert_visible(pilot, "This would leave too few approvers for gateway.", "Type no approvals to confirm")
        await pilot.press("enter")
        assert any(rule.id == rule_id for rule in rules(workspace))
        type_text(app, "no approvals")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert [each[1] for each in workspace.faults.calls_of("remove_rule")] == [False, True]
        assert not any(rule.id == rule_id for rule in rules(workspace))


async def test_going_back_from_the_second_question_changes_nothing(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        rule_id = approval_rule_id(workspace)
        go_to(app, rule_id)
        await pilot.press("x")
        await assert_visible(pilot, "will lose")
        await pilot.press("y")
        await assert_visible(pilot, "Type no approvals to confirm")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert any(rule.id == rule_id for rule in rules(workspace))
        assert app.screen.id == "access"


async def test_a_new_rule_that_breaks_a_quorum_is_confirmed_by_typing(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, OWNER)
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


async def test_a_rule_that_stays_says_why(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, next(each.id for each in rules(workspace) if each.permanent))
        await pilot.press("x")
        await assert_visible(pilot, "This rule cannot be removed.", "initial administrator")
        assert not workspace.faults.calls


async def test_people_cannot_be_removed_and_the_key_is_grey(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, OWNER)
        await pilot.press("x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        assert app.screen.check_action("remove", ()) is None


async def test_read_only_hides_all_that_changes_something(workspace: TuiWorkspace) -> None:
    app = the_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app, size=(80, 24)) as pilot:
        assert "n Add" not in screen_text(app)
        await pilot.press("n", "plus", "m", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("p")
        await assert_visible(pilot, "approval period      7d", "UPDATE permission on the policy")


async def test_who_may_not_change_the_policy_reads_it(workspace: TuiWorkspace) -> None:
    app = the_app(workspace, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("p")
        await assert_visible(
            pilot, "approval required for packaging, signing", "self-approval trial  off", "one-time password    off"
        )


async def test_the_policy_is_changed_where_it_was_changed(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "approval_timeout", "2d")
        select_values(app, "kinds", TaskKind.PACKAGING)
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(
            requires_approval=(TaskKind.PACKAGING,), approval_timeout=2 * 86400
        )


async def test_one_time_passwords_are_wanted_by_a_switch_which_warns_where_too_few_have_enrolled(
    workspace: TuiWorkspace,
) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "one_time", "on")
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(require_otp=True)
        await assert_visible(pilot, "Approvals for gateway, sensor cannot", "be completed yet")
        app.clear_notifications()
        await open_form(pilot, "p")
        await submit_form(pilot)
        assert workspace.engine.access.policy() == Policy(require_otp=True)
        assert "Approvals for gateway" not in screen_text(app)


async def test_the_self_approval_trial_is_typed_and_then_said_on_top(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
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


async def test_outside_of_a_demo_there_is_no_trial(workspace: TuiWorkspace) -> None:
    workspace.engine.metadata = msgspec.structs.replace(workspace.engine.metadata, demo=False)
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        assert "Self-approval" not in screen_text(app)


async def test_foreign_names_are_shown_harmless(workspace: TuiWorkspace) -> None:
    await workspace.client(ADMINISTRATOR).add_subject("USER:h", HOSTILE)
    await workspace.store_device(device(version=3, name=HOSTILE))
    app = the_app(workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "fw[/oops] [@click=app.quit]x[/] ")
        go_to(app, "USER:h")
        await pilot.press("enter")
        await assert_visible(pilot, "USER:h (fw[/oops]")
        await pilot.press("escape")
        await open_form(pilot, "plus")
        await assert_visible(pilot, "‹ USER:h (fw[/oops]")
        assert "\x1b" not in screen_text(app)
        assert "\u202e" not in screen_text(app)


async def test_a_change_elsewhere_is_seen(workspace: TuiWorkspace) -> None:
    app = the_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await workspace.add_rule(DEVELOPER, "RESOURCE_TYPE:KEY", Action.VIEW)
        await assert_visible(pilot, f"rules {len(rules(workspace))}")
