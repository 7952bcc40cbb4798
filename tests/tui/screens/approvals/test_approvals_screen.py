"""Tests of the approval queue: rows, blocked reasons, live updates and the empty queue."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.model.access import Action
from sealyard.model.errors import StorageError
from sealyard.model.tasks import Verdict
from sealyard_tui.widgets.filter_bar import FilterBar
from tests.support.failing_disk import FailingDisk
from tests.tui.approvals_helpers import (
    FIRST,
    LATE,
    OWN,
    SECOND,
    SENSOR,
    approvals_screen,
    approvals_table,
    expire_on_failing_disk,
    listed_ids,
    open_queue,
    press_keys,
    wait_for_review,
)
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, OWNER, TuiWorkspace


async def test_queue_lists_decidable_tasks_with_columns(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, _):
        assert listed_ids(app) == [FIRST, SECOND, SENSOR]
        row = next(line for line in screen_text(app).splitlines() if "gateway 1.5.0" in line)
        for words in ("gateway v2", "Dana Dev…", "1.1 MiB", "0/1", "6d", "✓ approve"):
            assert words in row, words
        assert "APPROVALS EXPIRES YOU" in screen_text(app)
        assert "3 to approve" in screen_text(app)


async def test_wide_terminal_shows_age_of_tasks(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(100, 24)) as (app, _):
        row = next(line for line in screen_text(app).splitlines() if "gateway 1.5.0" in line)
        assert "  2m " in row


async def test_all_pending_tasks_show_blocked_reason(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "m")
        assert listed_ids(app) == [FIRST, SECOND, SENSOR, OWN, LATE]
        lines = screen_text(app).splitlines()
        assert "✗ own task" in next(line for line in lines if "by the owner" in line)
        assert "expired ✗ expired" in next(line for line in lines if "too late" in line)
        await press_keys(app, pilot, "m")
        assert listed_ids(app) == [FIRST, SECOND, SENSOR]


async def test_missing_permission_is_shown_in_row(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, "administrator", size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "m")
        assert screen_text(app).count("✗ no access") == 5


async def test_decided_task_is_marked_in_row(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "m")
        client = await app.session.client()
        await client.decide(SENSOR, Verdict.APPROVED)
        await wait_until(pilot, lambda: "✗ decided" in screen_text(app))
        await assert_visible(pilot, "1/2")


async def test_empty_queue_shows_hint(empty_workspace: TuiWorkspace) -> None:
    async with open_queue(empty_workspace, size=(80, 24)) as (app, pilot):
        await wait_until(pilot, lambda: "Nothing to approve" in screen_text(app))
        await assert_visible(pilot, "Press m")


async def test_queue_of_non_approver_explains_emptiness(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, "developer", size=(80, 24)) as (app, pilot):
        await wait_until(pilot, lambda: "You are not an approver for any device configuration" in screen_text(app))
        await assert_visible(pilot, "APPROVE")
        assert "Approve " not in screen_text(app).splitlines()[-1]


async def test_new_task_appears_and_cursor_stays(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "j")
        await workspace.add_task("t-new", name="brand new")
        await wait_until(pilot, lambda: "t-new" in approvals_table(app))
        assert listed_ids(app)[0] == "t-new"
        assert approvals_table(app).cursor_key == SECOND


async def test_new_own_task_stays_out_of_queue(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await workspace.add_rule(OWNER, "DEVICE_CONFIG:gateway", Action.USE)
        await workspace.add_task("t-mine", by=OWNER)
        await workspace.add_task("t-new")
        await wait_until(pilot, lambda: "t-new" in approvals_table(app))
        await wait_for_workers(pilot)
        assert "t-mine" not in approvals_table(app)


async def test_withdrawn_task_leaves_queue_with_notice(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await workspace.client(DEVELOPER).withdraw(FIRST, "a mistake")
        await wait_until(pilot, lambda: FIRST not in approvals_table(app))
        await assert_visible(pilot, "gateway 1.5.0 is now WITHDRAWN")
        await wait_for_review(app, pilot)
        assert approvals_table(app).cursor_key == SECOND


async def test_expired_row_stays_until_engine_cancels(empty_workspace: TuiWorkspace, disk: FailingDisk) -> None:
    ending = await empty_workspace.add_task("t-ending", name="nearly over")
    async with open_queue(empty_workspace) as (app, pilot):
        assert approvals_table(app).cursor_key == ending.id
        await expire_on_failing_disk(empty_workspace, disk, days=7)
        await press_keys(app, pilot, "r")
        assert ending.id in approvals_table(app)
        await wait_until(pilot, lambda: "The approval period has expired" in screen_text(app))
        assert "✗ expired" in next(line for line in screen_text(app).splitlines() if "nearly over  " in line)
        empty_workspace.clock.advance(seconds=5)
        await wait_until(pilot, lambda: ending.id not in approvals_table(app))


async def test_event_burst_causes_few_reads(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard_tui.screens.approvals.task_list.RELOAD_INTERVAL", 0.3)
    async with open_queue(workspace) as (app, pilot):
        workspace.faults.counts.clear()
        await workspace.add_tasks(150)
        await wait_until(pilot, lambda: len(approvals_table(app)) == 153)
        assert workspace.faults.counts["tasks"] + workspace.faults.counts["task"] <= 6


async def test_long_queue_is_loaded_in_pages(workspace: TuiWorkspace) -> None:
    await workspace.add_tasks(1500)
    async with open_queue(workspace) as (app, pilot):
        assert len(approvals_table(app)) == 200
        assert "200+ to approve" in screen_text(app)
        await pilot.press("G")
        await wait_until(pilot, lambda: len(approvals_table(app)) > 1000)
        await pilot.press("G")
        await wait_until(pilot, lambda: len(approvals_table(app)) == 1503)
        assert listed_ids(app) == sorted(
            listed_ids(app), key=lambda each: workspace.task(each).created_at, reverse=True
        )


async def test_filter_narrows_queue_until_escape(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        await pilot.press("slash", *"sensor", "enter")
        await wait_until(pilot, lambda: listed_ids(app) == [SENSOR])
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(listed_ids(app)) == 3)


async def test_filter_finds_everything_that_rows_show(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, size=(160, 40)) as (app, pilot):
        for text, ids in {
            "0/": listed_ids(app),
            "✓ approve": listed_ids(app),
            "sensor approve": [SENSOR],
            "nothing-like-this": [],
        }.items():
            app.screen.query_one(FilterBar).apply(text)
            await wait_for_workers(pilot)
            assert (text, listed_ids(app)) == (text, ids)


async def test_filter_lists_similar_names_until_one_matches(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        app.screen.query_one(FilterBar).apply("snsor")
        await assert_visible(pilot, "no exact match, 1 similar")
        assert listed_ids(app) == [SENSOR]
        await workspace.add_task("t-exact", name="snsor 2")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-exact"])
        await wait_until(pilot, lambda: "similar" not in screen_text(app))


async def test_profile_switch_clears_queue_and_review(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and not len(approvals_table(app)))
        await wait_until(pilot, lambda: "You are not an approver" in screen_text(app))
        assert approvals_screen(app).review.review is None


async def test_granted_permission_updates_queue(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, "administrator") as (app, pilot):
        assert not listed_ids(app)
        await workspace.add_rule(ADMINISTRATOR, "DEVICE_CONFIG:gateway", Action.APPROVE)
        await wait_until(pilot, lambda: OWN in approvals_table(app))
        await wait_until(pilot, lambda: "A Approve" in screen_text(app))


async def test_read_error_is_shown_and_queue_stays(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        workspace.faults.fail["tasks"] = StorageError("The disk is gone.", "Plug it in.")
        await pilot.press("r")
        await wait_until(pilot, lambda: "The disk is gone." in screen_text(app))
        await pilot.press("escape")
        del workspace.faults.fail["tasks"]
        await press_keys(app, pilot, "r")
        assert len(listed_ids(app)) == 3


HOSTILE = ["fw[/oops].bin", "[@click=app.quit]x[/]", "a\x1b]2;PWNED\x07b", "gnp\u202eexe", "測試 🚀 名前"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_names_are_escaped(empty_workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    for number, name in enumerate(HOSTILE):
        firmware, metadata = {name: b"firmware"}, {f"{name}.txt": name.encode()}
        await empty_workspace.complete(await empty_workspace.add_task(name=name, firmware=firmware, metadata=metadata))
        waiting = await empty_workspace.add_task(f"t-{number}", name=name, firmware=firmware, metadata=metadata)
        # The engine's own warnings are harmless; another version's may not be.
        await empty_workspace.insert_tasks(msgspec.structs.replace(waiting, warning=name))
    async with open_queue(empty_workspace, size=size) as (app, pilot):
        for _ in HOSTILE:
            await press_keys(app, pilot, "enter")
            text = screen_text(app)
            assert "\x1b" not in text
            assert "\x07" not in text
            assert "\u202e" not in text
            await press_keys(app, pilot, "escape", "j")
        assert app.is_running


async def test_columns_stay_aligned_with_any_names(workspace: TuiWorkspace) -> None:
    for number, name in enumerate(HOSTILE):
        await workspace.add_task(f"t-{number}", name=name * 5)
    async with open_queue(workspace, size=(80, 24)) as (app, _):
        lines = [line for line in screen_text(app).splitlines() if "✓ approve" in line]
        assert len(lines) == 8
        from rich.cells import cell_len

        assert len({cell_len(line[: line.index("✓ approve")]) for line in lines}) == 1


async def test_read_only_disables_decisions(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace, connection=FakeConnection(workspace, read_only=True)) as (app, pilot):
        assert "A Approve" not in screen_text(app)
        assert "x Reject" not in screen_text(app)
        await pilot.press("A", "x")
        await wait_for_workers(pilot)
        assert app.screen is approvals_screen(app)


@pytest.mark.parametrize("key", ["A", "x"])
async def test_blocked_decision_key_shows_reason(workspace: TuiWorkspace, key: str) -> None:
    async with open_queue(workspace) as (app, pilot):
        await press_keys(app, pilot, "m", "j", "j", "j")
        assert approvals_table(app).cursor_key == OWN
        assert approvals_screen(app).check_action("approve", ()) is None
        await pilot.press(key)
        await assert_visible(pilot, "You cannot decide on these tasks. by the owner: own task")
        assert app.screen is approvals_screen(app)
