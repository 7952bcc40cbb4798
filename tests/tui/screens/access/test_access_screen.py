"""Access control: everybody and every rule is found, and each change says what it means before it is made."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from textual.widgets import Input

from sealyard.model.access import ACTIONS_BY_RESOURCE_TYPE, AclRule, Action, ResourceType, Subject
from sealyard.model.errors import ConfirmationRequiredError, ConflictError, PermissionDeniedError
from sealyard.model.policy import Policy
from sealyard.model.tasks import TaskKind
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.fields import ChoiceLine
from sealyard_tui.screens.access.screen import AccessScreen, SectionTab
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.form_helpers import calls_of, field_row, fill_field, open_form, select_values, submit_form, type_text
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.tui_world import ADMINISTRATOR, AUDITOR, DEVELOPER, NOW, OWNER, World, WorldClient, device

HOSTILE = "fw[/oops] [@click=app.quit]x[/] \x1b]2;PWNED\x07 \u202e"
RULE = f"r-{OWNER}-DEVICE_CONFIG:gw-APPROVE"
BREAKS = ConfirmationRequiredError("This would leave too few approvers for gateway.", "Confirm it.")


def the_app(world: World, who: str = "administrator") -> SealyardApp:
    return make_app(world, who, start_screen="access")


def go_to(app: SealyardApp, key: str) -> None:
    assert isinstance(app.screen, AccessScreen)
    assert app.screen.query_one(VirtualTable).move_cursor_to(key), key
    app.screen.refresh_bindings()


async def test_people_groups_members_and_rules_are_told_apart_by_word_and_sign(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)):
        seen = screen_text(app)
        for words in (
            "○ person     USER:owner",
            "in GROUP:owners",
            "◎ group      GROUP:owners",
            "└ member     USER:owner",
            "→ rule       USER:owner",
            "APPROVE  gateway",
            "every device configuration",
            "locked",
        ):
            assert words in seen, words


async def test_wide_list_shows_display_names(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(120, 40)):
        assert "→ rule       USER:owner (Olga Owner) APPROVE  gateway" in screen_text(app)


async def test_sections_are_a_key_away_and_say_how_much_is_in_them(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("right")
        await assert_visible(pilot, "[users & clients 4]")
        assert "→ rule" not in screen_text(app)
        await pilot.press("l", "l")
        await assert_visible(pilot, "[rules 20]")
        assert "○ person" not in screen_text(app)
        await pilot.press("h")
        await assert_visible(pilot, "[groups 2]", "1 member")


async def test_a_click_on_a_section_goes_there(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.click(list(app.screen.query(SectionTab))[3])
        await assert_visible(pilot, "[rules 20]")


async def test_one_search_goes_over_all_of_it(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("slash")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        type_text(app, "owner approve")
        await pilot.press("enter")
        await assert_visible(pilot, "2 of 26", "APPROVE  sensor")
        await pilot.press("escape")
        await assert_visible(pilot, "USER:auditor")


async def test_who_may_not_see_the_list_sees_their_own_rights(world: World) -> None:
    world.fail["access"] = PermissionDeniedError("not for you")
    app = the_app(world, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "[my permissions 2]", "✓ permission you", "USE      gateway")
        await pilot.press("n", "plus", "m", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("right")
        await assert_visible(pilot, "You do not have permission to view this list")
        assert "not for you" not in screen_text(app)


async def test_enter_says_all_about_somebody_rights_through_groups_too(world: World) -> None:
    world.rules.append(world._rule("GROUP:owners", "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW))
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, OWNER)
        await pilot.press("enter")
        await assert_visible(pilot, "Olga Owner", "APPROVE gateway", "VIEW the audit log  through GROUP:owners")


async def test_somebody_is_added_after_the_name_is_seen_to_be_one(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        fill_field(app, "subject", "no good!")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Invalid subject 'no good!'")
        fill_field(app, "subject", "anna")
        fill_field(app, "display", "Anna A.")
        await submit_form(pilot)
        assert calls_of(world.calls, "add_subject") == [("USER:anna", "Anna A.")]
        await assert_visible(pilot, "▶ ○ person     USER:anna", "Added USER:anna")


async def test_a_name_that_is_taken_is_told_and_what_was_typed_stays(world: World) -> None:
    world.fail["add_subject"] = ConflictError("USER:anna already exists.")
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "n")
        type_text(app, "anna")
        await submit_form(pilot)
        await assert_visible(pilot, "✗ USER:anna already exists.")
        await pilot.press("escape")
        await open_form(pilot, "n")
        await assert_visible(pilot, "anna")


@pytest.mark.parametrize("kind", [ResourceType.DEVICE_CONFIG, ResourceType.AUDIT_LOG, ResourceType.KEY])
async def test_only_actions_that_mean_something_are_offered(world: World, kind: ResourceType) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "plus")
        fill_field(app, "resource", f"RESOURCE_TYPE:{kind}")
        await pilot.pause()
        actions = field_row(app, "action").control
        assert isinstance(actions, ChoiceLine)
        assert {each for each, _ in actions.choices} == ACTIONS_BY_RESOURCE_TYPE[kind]


async def test_a_rule_is_said_in_words_before_it_is_added(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, AUDITOR)
        await open_form(pilot, "plus")
        fill_field(app, "resource", "DEVICE_CONFIG:sensor")
        fill_field(app, "action", Action.USE)
        await assert_visible(pilot, "USER:auditor (Aki Auditor) may USE sensor")
        await submit_form(pilot)
        assert calls_of(world.calls, "add_rule") == [(AUDITOR, "DEVICE_CONFIG:sensor", Action.USE, False)]
        await assert_visible(pilot, "▶ → rule       USER:auditor")


async def test_a_member_is_put_into_the_group_under_the_cursor(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, "GROUP:owners")
        await open_form(pilot, "m")
        fill_field(app, "member", AUDITOR)
        await submit_form(pilot)
        assert calls_of(world.calls, "add_member") == [("GROUP:owners", AUDITOR, False)]
        await assert_visible(pilot, "▶ └ member     USER:auditor")


async def test_what_will_be_lost_is_named_before_a_member_is_taken_out(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, f"m-GROUP:owners-{OWNER}")
        await pilot.press("x")
        await assert_visible(pilot, "USER:owner (Olga Owner) will be removed from GROUP:owners and lose")
        await pilot.press("n")
        await wait_for_workers(pilot)
        assert not world.calls
        await pilot.press("x")
        await assert_visible(pilot, "removed from GROUP:owners")
        await pilot.press("y")
        await wait_for_workers(pilot)
        assert calls_of(world.calls, "remove_member") == [("GROUP:owners", OWNER, False)]
        await assert_visible(pilot, "0 members")


async def test_a_change_that_breaks_a_quorum_asks_again_with_the_engines_words(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, RULE)
        await pilot.press("x")
        await assert_visible(pilot, "USER:owner (Olga Owner) will lose APPROVE on gateway")
        await pilot.press("y")
        await assert_visible(pilot, "Then nobody could approve for gateway.", "Type no approvals to confirm")
        await pilot.press("enter")
        assert any(each.id == RULE for each in world.rules)
        type_text(app, "no approvals")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert [each[1] for each in calls_of(world.calls, "remove_rule")] == [False, True]
        assert not any(each.id == RULE for each in world.rules)


async def test_going_back_from_the_second_question_changes_nothing(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, RULE)
        await pilot.press("x")
        await assert_visible(pilot, "will lose")
        await pilot.press("y")
        await assert_visible(pilot, "Type no approvals to confirm")
        await pilot.press("escape")
        await wait_for_workers(pilot)
        assert any(each.id == RULE for each in world.rules)
        assert app.screen.id == "access"


async def test_a_new_rule_that_breaks_a_quorum_is_confirmed_by_typing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add = WorldClient.add_rule

    async def weighed(self: WorldClient, *rule: Any, confirmed: bool = False) -> AclRule:
        if not confirmed:
            raise BREAKS
        return await add(self, *rule, confirmed=confirmed)

    monkeypatch.setattr(WorldClient, "add_rule", weighed)
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        form = await open_form(pilot, "plus")
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
        assert [each[3] for each in calls_of(world.calls, "add_rule")] == [True]


async def test_a_rule_that_stays_says_why(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, next(each.id for each in world.rules if each.permanent))
        await pilot.press("x")
        await assert_visible(pilot, "This rule cannot be removed.", "initial administrator")
        assert not world.calls


async def test_people_cannot_be_removed_and_the_key_is_grey(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        go_to(app, OWNER)
        await pilot.press("x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        assert app.screen.check_action("remove", ()) is None


async def test_read_only_hides_all_that_changes_something(world: World) -> None:
    world.read_only = True
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        assert "n Add" not in screen_text(app)
        await pilot.press("n", "plus", "m", "x")
        await wait_for_workers(pilot)
        assert app.screen.id == "access"
        await pilot.press("p")
        await assert_visible(pilot, "approval period      7d", "UPDATE permission on the policy")


async def test_who_may_not_change_the_policy_reads_it(world: World) -> None:
    app = the_app(world, "developer")
    async with run_app(app, size=(80, 24)) as pilot:
        await pilot.press("p")
        await assert_visible(
            pilot, "approval required for packaging, signing", "self-approval trial  off", "one-time password    off"
        )


async def test_the_policy_is_changed_where_it_was_changed(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "approval_timeout", "2d")
        select_values(app, "kinds", TaskKind.PACKAGING)
        await submit_form(pilot)
        assert world.policy == Policy(requires_approval=(TaskKind.PACKAGING,), approval_timeout=2 * 86400)


async def test_one_time_passwords_are_wanted_by_a_switch_which_warns_where_too_few_have_enrolled(world: World) -> None:
    world.warnings = ("Approvals for gateway cannot be completed yet.",)
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        fill_field(app, "one_time", "on")
        await submit_form(pilot)
        assert world.policy == Policy(require_otp=True)
        await assert_visible(pilot, "Approvals for gateway cannot be", "completed yet")
        app.clear_notifications()
        await open_form(pilot, "p")
        await submit_form(pilot)
        assert world.policy == Policy(require_otp=True)
        assert "Approvals for gateway" not in screen_text(app)


async def test_the_self_approval_trial_is_typed_and_then_said_on_top(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: world.listeners > 0)
        form = await open_form(pilot, "p")
        fill_field(app, "trial", "on")
        await assert_visible(pilot, "without a second")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type self-approval to confirm", "marked TRIAL")
        await pilot.press("escape")
        await wait_until(pilot, lambda: app.screen is form)
        await wait_for_workers(pilot)
        assert not world.policy.allow_self_approval
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "Type self-approval to confirm")
        type_text(app, "self-approval")
        await pilot.press("enter")
        await wait_for_workers(pilot)
        assert world.policy.allow_self_approval
        await assert_visible(pilot, "SELF-APPROVAL TRIAL")


async def test_outside_of_a_demo_there_is_no_trial(world: World) -> None:
    world.demo = False
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await open_form(pilot, "p")
        assert "Self-approval" not in screen_text(app)


async def test_foreign_names_are_shown_harmless(world: World) -> None:
    world.subjects.insert(
        0, Subject(id="USER:h", created_by=ADMINISTRATOR, created_at=NOW - timedelta(days=1), display_name=HOSTILE)
    )
    world.devices["gw"].append(device(version=3, name=HOSTILE))
    app = the_app(world)
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


async def test_a_change_elsewhere_is_seen(world: World) -> None:
    app = the_app(world)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: world.listeners > 0)
        world.rules.append(world._rule(DEVELOPER, "RESOURCE_TYPE:KEY", Action.VIEW))
        world.changed("ACL:1")
        await assert_visible(pilot, "rules 21")
