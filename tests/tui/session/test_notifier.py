"""A person is told of what concerns them, once, wherever they are, and in words."""

from __future__ import annotations

import msgspec
import pytest

from sealyard.client.downloads.events import DownloadResult
from sealyard.model.access import Action
from sealyard.model.errors import ResultExpiredError
from sealyard.model.tasks import ResultState
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


async def test_the_end_of_ones_own_task_is_told_once_on_any_place(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("4")
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "gateway 1.4.3 ✗ failed" in screen_text(app))
        await wait_for_workers(pilot)
        assert screen_text(app).count("gateway 1.4.3 ✗ failed") == 1


async def test_an_expired_link_is_told_with_what_can_be_done(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        workspace.clock.advance(hours=21)
        await wait_until(pilot, lambda: "link expired: press e" in screen_text(app))


async def test_somebody_elses_task_is_not_told(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_user("USER:deputy", Action.USE)
    await empty_workspace.add_task("t-other", name="not mine", by="USER:deputy")
    await empty_workspace.add_task("t-mine", name="mine")
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await empty_workspace.fail("t-other")
        await empty_workspace.fail("t-mine")
        await wait_until(pilot, lambda: "mine ✗ failed" in screen_text(app))
        assert "not mine ✗ failed" not in screen_text(app)


async def test_what_newly_waits_for_ones_approval_is_told_and_rings(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    rung: list[str] = []
    async with run_app(app) as pilot:
        app.notifier._alert = rung.append
        await workspace.add_task("t-new")
        await wait_until(pilot, lambda: "1 task is waiting for your approval" in screen_text(app))
        assert rung == ["1 task is waiting for your approval"]


async def test_a_stream_of_tasks_rings_once_and_the_rest_is_told_together(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    rung: list[str] = []
    async with run_app(app) as pilot:
        app.notifier._alert = rung.append
        for number in range(5):
            await workspace.add_task(f"t-{number}")
            await wait_until(pilot, lambda count=number + 2: app.state.awaiting_my_approval == count)  # type: ignore[misc]
        assert rung == ["1 task is waiting for your approval"]
        workspace.clock.advance(seconds=11)
        await workspace.add_task("t-last")
        await wait_until(pilot, lambda: len(rung) > 1)
        assert rung[1] == "5 tasks are waiting for your approval"


async def test_the_desktop_is_told_only_where_the_settings_say_so_and_never_gets_control_characters(
    workspace: TuiWorkspace,
) -> None:
    written: list[str] = []
    app = make_app(workspace, desktop_notifications=True)
    async with run_app(app):
        assert app._driver is not None
        app._driver.write = written.append  # type: ignore[method-assign,assignment]
        app.alert("evil\x1b]2;title\x07;name")
        app.settings = msgspec.structs.replace(app.settings, desktop_notifications=False)
        app.alert("quiet")
    told = [each for each in written if "777;notify" in each]
    assert len(told) == 1
    assert "\x1b]2" not in told[0]
    assert "quiet" not in "".join(written)


async def test_what_happens_together_is_told_in_one_notice_of_each_task_once(
    empty_workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard_tui.session.notifier.BATCH_SECONDS", 0.5)
    await empty_workspace.complete(await empty_workspace.add_task("t-gone", name="gateway 2"))
    empty_workspace.clock.advance(days=29)
    await empty_workspace.wait_for_result_state("t-gone", ResultState.EXPIRED)
    await empty_workspace.complete(await empty_workspace.add_task("t-done", name="gateway 1"))
    app = make_app(empty_workspace)
    expired = ResultExpiredError("The download link of task t-done has expired.").to_info()
    async with run_app(app) as pilot:
        empty_workspace.clock.advance(days=1)
        app.notifier.on_download_result(DownloadResult(task_id="t-done", name="gateway 1", error=expired))
        await wait_until(pilot, lambda: "1 expired: press e on the dashboard to renew" in screen_text(app))
        assert len(app._notifications) == 1
        (told,) = app._notifications
        assert told.message.splitlines() == [
            "! 1 expired: press e on the dashboard to renew the link.",
            "∅ 1 removed: create a new package for each.",
        ]


async def test_what_was_told_to_one_person_is_not_left_for_the_next(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "gateway 1.4.3 ✗ failed" in screen_text(app))
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.profile == "owner")
        await wait_for_workers(pilot)
        assert not any("gateway 1.4.3" in each.message for each in app._notifications)


async def test_esc_takes_the_notices_away(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.notify("In the way")
        await wait_until(pilot, lambda: "In the way" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "In the way" not in screen_text(app))
