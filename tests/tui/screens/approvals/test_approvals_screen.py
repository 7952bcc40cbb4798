"""The approval queue: what waits, what one may not decide and why, live changes, and an empty queue."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from sealyard.model.access import Action
from sealyard.model.errors import StorageError
from sealyard.model.tasks import InputFile, TaskStatus, Verdict
from tests.tui.approvals_helpers import (
    FIRST,
    LATE,
    OWN,
    SECOND,
    SENSOR,
    add_pending_tasks,
    approvals_screen,
    approvals_table,
    listed_ids,
    open_queue,
    press_keys,
    wait_for_review,
)
from tests.tui.pilot_helpers import assert_visible, screen_text, wait_for_workers, wait_until
from tests.tui.tui_world import DEVELOPER, NOW, OWNER, World, task

pytestmark = pytest.mark.usefixtures("filled")


@pytest.fixture
def filled(world: World) -> None:
    add_pending_tasks(world)


async def test_what_waits_for_me_is_listed_with_all_that_a_row_says(world: World) -> None:
    async with open_queue(world, size=(80, 24)) as (app, _):
        assert listed_ids(app) == [FIRST, SECOND, SENSOR]
        row = next(line for line in screen_text(app).splitlines() if "gateway 1.5.0" in line)
        for words in ("gateway v2", "developer", "1.1 MiB", "0/1", "6d", "✓ approve"):
            assert words in row, words
        assert "APPROVALS EXPIRES YOU" in screen_text(app)
        assert "3 to approve" in screen_text(app)


async def test_wide_terminal_shows_age_of_tasks(world: World) -> None:
    async with open_queue(world, size=(100, 24)) as (app, _):
        row = next(line for line in screen_text(app).splitlines() if "gateway 1.5.0" in line)
        assert "  2m " in row


async def test_all_that_waits_is_a_key_away_and_says_in_the_row_why_not_by_me(world: World) -> None:
    async with open_queue(world, size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "m")
        assert listed_ids(app) == [FIRST, SECOND, SENSOR, OWN, LATE]
        lines = screen_text(app).splitlines()
        assert "✗ own task" in next(line for line in lines if "by the owner" in line)
        assert "expired ✗ expired" in next(line for line in lines if "too late" in line)
        await press_keys(app, pilot, "m")
        assert listed_ids(app) == [FIRST, SECOND, SENSOR]


async def test_somebody_without_the_right_is_told_so_in_the_row(world: World) -> None:
    async with open_queue(world, "administrator", size=(80, 24)) as (app, pilot):
        await press_keys(app, pilot, "m")
        assert screen_text(app).count("✗ no access") == 5


async def test_one_who_decided_already_sees_that(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        await press_keys(app, pilot, "m")
        client = await app.session.client()
        await client.decide(SENSOR, Verdict.APPROVED)
        await wait_until(pilot, lambda: "✗ decided" in screen_text(app))
        await assert_visible(pilot, "1/2")


async def test_an_empty_queue_says_so_kindly_and_what_to_do(world: World) -> None:
    world.tasks.clear()
    async with open_queue(world, size=(80, 24)) as (app, pilot):
        await wait_until(pilot, lambda: "Nothing to approve" in screen_text(app))
        await assert_visible(pilot, "Press m")


async def test_who_may_approve_nothing_is_told_why_the_queue_is_empty(world: World) -> None:
    async with open_queue(world, "developer", size=(80, 24)) as (app, pilot):
        await wait_until(pilot, lambda: "You are not an approver for any device configuration" in screen_text(app))
        await assert_visible(pilot, "APPROVE")
        assert "Approve " not in screen_text(app).splitlines()[-1]


async def test_a_new_task_comes_in_by_itself_and_the_cursor_stays(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        await press_keys(app, pilot, "j")
        world.put(task("t-new", name="brand new", created_at=NOW))
        await wait_until(pilot, lambda: "t-new" in approvals_table(app))
        assert listed_ids(app)[0] == "t-new"
        assert approvals_table(app).cursor_key == SECOND


async def test_a_task_that_is_not_for_me_does_not_come_in(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        world.put(task("t-mine", created_by=OWNER, created_at=NOW))
        world.put(task("t-new", created_at=NOW))
        await wait_until(pilot, lambda: "t-new" in approvals_table(app))
        await wait_for_workers(pilot)
        assert "t-mine" not in approvals_table(app)


async def test_what_is_decided_elsewhere_goes_and_is_told_where_one_looked_at_it(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        client = await app.session.client()
        await client.withdraw(FIRST, "a mistake")
        await wait_until(pilot, lambda: FIRST not in approvals_table(app))
        await assert_visible(pilot, "gateway 1.5.0 is now CANCELLED")
        await wait_for_review(app, pilot)
        assert approvals_table(app).cursor_key == SECOND


async def test_a_row_whose_period_ends_says_so_and_stays_until_the_engine_cancels(world: World) -> None:
    ending = task("t-ending", name="nearly over", created_at=NOW, approval_expires_at=NOW + timedelta(seconds=30))
    world.tasks[ending.id] = ending
    async with open_queue(world) as (app, pilot):
        assert approvals_table(app).cursor_key == ending.id
        world.now = NOW + timedelta(minutes=1)
        await press_keys(app, pilot, "r")
        assert ending.id in approvals_table(app)
        await wait_until(pilot, lambda: "The approval period has expired" in screen_text(app))
        assert "✗ expired" in next(line for line in screen_text(app).splitlines() if "nearly over  " in line)
        cancelled = msgspec.structs.replace(ending, status=TaskStatus.CANCELLED)
        world.put(cancelled)
        await wait_until(pilot, lambda: ending.id not in approvals_table(app))


async def test_many_events_cause_few_reads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sealyard_tui.screens.approvals.task_list.RELOAD_INTERVAL", 0.3)
    async with open_queue(world) as (app, pilot):
        await wait_until(pilot, lambda: world.listeners > 0)
        reads = _count_reads(world, app)
        for number in range(150):
            world.put(task(f"t-{number:03}", created_at=NOW))
        await wait_until(pilot, lambda: len(approvals_table(app)) == 153)
        assert len(reads) <= 6


def _count_reads(world: World, app: Any) -> list[str]:
    reads: list[str] = []
    original = app.session._client.result()._meet

    async def counted(method: str, *arguments: Any, **more: Any) -> None:
        if method in ("tasks", "task"):
            reads.append(method)
        await original(method, *arguments, **more)

    app.session._client.result()._meet = counted
    return reads


async def test_a_long_queue_is_read_page_by_page(world: World) -> None:
    for number in range(1500):
        made = task(f"t-{number:04}", created_at=NOW - timedelta(days=1, seconds=number))
        world.tasks[made.id] = made
    async with open_queue(world) as (app, pilot):
        assert len(approvals_table(app)) == 200
        assert "200+ to approve" in screen_text(app)
        await pilot.press("G")
        await wait_until(pilot, lambda: len(approvals_table(app)) > 1000)
        await pilot.press("G")
        await wait_until(pilot, lambda: len(approvals_table(app)) == 1503)
        assert listed_ids(app) == sorted(listed_ids(app), key=lambda each: world.tasks[each].created_at, reverse=True)


async def test_the_filter_narrows_the_queue_and_escape_clears_it(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        await pilot.press("slash", *"sensor", "enter")
        await wait_until(pilot, lambda: listed_ids(app) == [SENSOR])
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(listed_ids(app)) == 3)


async def test_another_person_sees_nothing_of_what_the_one_before_saw(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        app.switch_profile(next(each for each in app.session.profiles if each.identity == DEVELOPER))
        await wait_until(pilot, lambda: app.state.identity == DEVELOPER and not len(approvals_table(app)))
        await wait_until(pilot, lambda: "You are not an approver" in screen_text(app))
        assert approvals_screen(app).review.review is None


async def test_a_right_that_is_given_shows_at_once(world: World) -> None:
    async with open_queue(world, "administrator") as (app, pilot):
        assert not listed_ids(app)
        administrator = app.state.identity
        world.rights[administrator] = (*world.rights[administrator], ("DEVICE_CONFIG:gw", Action.APPROVE))
        world.changed("ACL")
        await wait_until(pilot, lambda: OWN in approvals_table(app))
        await wait_until(pilot, lambda: "A Approve" in screen_text(app))


async def test_an_error_while_reading_is_told_and_the_queue_stays(world: World) -> None:
    async with open_queue(world) as (app, pilot):
        world.fail["tasks"] = StorageError("The disk is gone.", "Plug it in.")
        await pilot.press("r")
        await wait_until(pilot, lambda: "The disk is gone." in screen_text(app))
        await pilot.press("escape")
        del world.fail["tasks"]
        await press_keys(app, pilot, "r")
        assert len(listed_ids(app)) == 3


HOSTILE = ["fw[/oops].bin", "[@click=app.quit]x[/]", "a\x1b]2;PWNED\x07b", "gnp\u202eexe", "測試 🚀 名前"]


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_hostile_names_are_shown_harmless(world: World, size: tuple[int, int]) -> None:
    world.tasks.clear()
    for number, name in enumerate(HOSTILE):
        inputs = (InputFile(name=name, size=1, sha256="0" * 64),)
        made = task(f"t-{number}", name=name, inputs=inputs, metadata=inputs, warning=name)
        world.tasks[made.id] = made
        world.previous[made.id] = task("t-before", name=name, inputs=inputs)
        world.metadata[name] = name.encode()
    async with open_queue(world, size=size) as (app, pilot):
        for _ in HOSTILE:
            await press_keys(app, pilot, "enter")
            seen = screen_text(app)
            assert "\x1b" not in seen
            assert "\x07" not in seen
            assert "\u202e" not in seen
            await press_keys(app, pilot, "escape", "j")
        assert app.is_running


async def test_the_columns_stay_in_line_whatever_the_names(world: World) -> None:
    for number, name in enumerate(HOSTILE):
        made = task(f"t-{number}", name=name * 5, created_at=NOW)
        world.tasks[made.id] = made
    async with open_queue(world, size=(80, 24)) as (app, _):
        lines = [line for line in screen_text(app).splitlines() if "✓ approve" in line]
        assert len(lines) == 8
        from rich.cells import cell_len

        assert len({cell_len(line[: line.index("✓ approve")]) for line in lines}) == 1


async def test_read_only_hides_what_decides(world: World) -> None:
    world.read_only = True
    async with open_queue(world) as (app, pilot):
        assert "A Approve" not in screen_text(app)
        assert "x Reject" not in screen_text(app)
        await pilot.press("A", "x")
        await wait_for_workers(pilot)
        assert app.screen is approvals_screen(app)


@pytest.mark.parametrize("key", ["A", "x"])
async def test_a_key_that_decides_says_why_it_does_not(world: World, key: str) -> None:
    async with open_queue(world) as (app, pilot):
        await press_keys(app, pilot, "m", "j", "j", "j")
        assert approvals_table(app).cursor_key == OWN
        assert approvals_screen(app).check_action("approve", ()) is None
        await pilot.press(key)
        await assert_visible(pilot, "You cannot decide on these tasks. by the owner: own task")
        assert app.screen is approvals_screen(app)
