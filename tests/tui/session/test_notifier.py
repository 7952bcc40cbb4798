"""Tests of the notifications about tasks and approvals."""

from __future__ import annotations

import msgspec
import pytest
from textual.widgets._toast import Toast

from sealyard.client.downloads.downloader import DownloadedFile, DownloadResult, VerifiedBy
from sealyard.model.access import Action
from sealyard.model.errors import ResultExpiredError
from sealyard.model.tasks import ResultState
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.widgets.flash import Flash
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import NOW, TuiWorkspace

FIRST_LINES = 6
"""Number of lines at the top of a pane that notifications must not cover: the title and the most important text."""


async def test_finished_own_task_is_notified_once(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("4")
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "✗ Failed: gateway 1.4.3" in screen_text(app))
        await wait_for_workers(pilot)
        assert screen_text(app).count("✗ Failed: gateway 1.4.3") == 1


async def test_expired_link_notification_names_renew_key(workspace: TuiWorkspace) -> None:
    await workspace.fail("t-running")  # otherwise its timeout can be combined with the expired link
    app = make_app(workspace)
    async with run_app(app) as pilot:
        workspace.clock.advance(hours=21)
        await wait_until(pilot, lambda: "to renew it" in screen_text(app))


async def test_task_of_other_user_is_not_notified(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_user("USER:deputy", Action.USE)
    await empty_workspace.add_task("t-other", name="not mine", by="USER:deputy")
    await empty_workspace.add_task("t-mine", name="mine")
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await empty_workspace.fail("t-other")
        await empty_workspace.fail("t-mine")
        await wait_until(pilot, lambda: "✗ Failed: mine" in screen_text(app))
        assert "✗ Failed: not mine" not in screen_text(app)


async def test_new_pending_approval_notifies_and_alerts(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    alerts: list[str] = []
    async with run_app(app) as pilot:
        app.notifier._alert = alerts.append
        await workspace.add_task("t-new")
        await wait_until(pilot, lambda: "1 task is waiting for your approval" in screen_text(app))
        assert alerts == ["1 task is waiting for your approval"]


async def test_alerts_for_many_tasks_are_batched(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    alerts: list[str] = []
    async with run_app(app) as pilot:
        app.notifier._alert = alerts.append
        for number in range(5):
            await workspace.add_task(f"t-{number}")
            await wait_until(pilot, lambda count=number + 2: app.state.awaiting_my_approval == count)  # type: ignore[misc]
        assert alerts == ["1 task is waiting for your approval"]
        workspace.clock.advance(seconds=11)
        await workspace.add_task("t-last")
        await wait_until(pilot, lambda: len(alerts) > 1)
        assert alerts[1] == "5 tasks are waiting for your approval"


async def test_desktop_notifications_are_optional_and_escaped(
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
    notification = [each for each in written if "777;notify" in each]
    assert len(notification) == 1
    assert "\x1b]2" not in notification[0]
    assert "quiet" not in "".join(written)


async def test_simultaneous_changes_share_one_notification(
    empty_workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard_tui.session.notifier.BATCH_SECONDS", 3600.0)
    await empty_workspace.complete(await empty_workspace.add_task("t-gone", name="gateway 2"))
    empty_workspace.clock.advance(days=29)
    await empty_workspace.wait_for_result_state("t-gone", ResultState.EXPIRED)
    await empty_workspace.complete(await empty_workspace.add_task("t-done", name="gateway 1"))
    app = make_app(empty_workspace)
    expired = ResultExpiredError("The download link of task t-done has expired.").to_info()
    async with run_app(app) as pilot:
        empty_workspace.clock.advance(days=1)
        app.notifier.on_download_result(DownloadResult(task_id="t-done", name="gateway 1", error=expired))
        await wait_until(pilot, lambda: len(app.notifier._batch) == 2)
        app.notifier._notify_batch()
        await wait_until(pilot, lambda: "1 expired: press e on the dashboard" in screen_text(app))
        assert len(app._notifications) == 1
        (notification,) = app._notifications
        assert notification.message.splitlines() == [
            "! 1 expired: press e on the dashboard to renew the link.",
            "∅ 1 removed: create a new package for each.",
        ]


async def test_profile_switch_clears_notifications(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "✗ Failed: gateway 1.4.3" in screen_text(app))
        await pilot.press("f2")
        await wait_until(pilot, lambda: app.state.profile == "owner")
        await wait_for_workers(pilot)
        assert not any("gateway 1.4.3" in each.message for each in app._notifications)


async def test_escape_dismisses_notifications(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.notify("In the way")
        await wait_until(pilot, lambda: "In the way" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: "In the way" not in screen_text(app))


async def test_download_notification_shows_warnings(workspace: TuiWorkspace) -> None:
    file = DownloadedFile(
        task_id="t-done",
        path="/srv/gateway.se-1",
        size=12,
        sha256="ab" * 32,
        checked=VerifiedBy.SIGNATURE,
        at=NOW,
        warnings=("The audit log does not record this download.",),
    )
    app = make_app(workspace)
    async with run_app(app) as pilot:
        app.notifier.on_download_result(DownloadResult(task_id="t-done", name="gateway", downloaded=file))
        await wait_until(pilot, lambda: "! The audit log does not record" in screen_text(app))


async def test_rejection_notification_shows_reason(workspace: TuiWorkspace) -> None:
    name = "gateway with a long name that ends with its version 1.6.0"
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.reject(await workspace.add_task("t-new", name=name), "wrong [b]key")
        await wait_until(pilot, lambda: bool(app._notifications))
        (notification,) = app._notifications
        assert notification.message == "✗ Rejected: gateway with a long …h its version 1.6.0\nwrong [b]key"


async def test_own_withdrawal_and_cancellation_are_not_notified(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sealyard_tui.session.notifier.BATCH_SECONDS", 0.0)
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("w", *"old", "ctrl+s")
        await wait_until(pilot, lambda: "✓ Withdrawn: gateway 1.5.0" in screen_text(app))
        await pilot.press("j", "x", "y")
        await wait_until(pilot, lambda: "✓ Cancelled: gateway 1.4.3" in screen_text(app))
        await wait_for_workers(pilot)
        assert not list(app._notifications)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
async def test_notification_covers_only_last_rows_and_lines(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        app.notify("In the way\n" * 3)
        await wait_until(pilot, lambda: "In the way" in screen_text(app))
        dashboard = app.screen
        assert isinstance(dashboard, DashboardScreen)
        dashboard.flash("Copied the id")
        await wait_until(pilot, lambda: "✓ Copied the id" in screen_text(app))
        (toast,) = dashboard.query(Toast)
        assert not toast.region.overlaps(dashboard.query_one(Flash).region)
        for pane in (dashboard.table, dashboard.pane):
            first_lines = pane.region._replace(height=FIRST_LINES)
            assert not pane.display or not toast.region.overlaps(first_lines)


async def test_fourth_notification_waits_until_another_one_disappears(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for name in ("first", "second", "third", "fourth"):
            app.notify(f"{name} message")
        await wait_until(pilot, lambda: "third message" in screen_text(app))
        assert "fourth message" not in screen_text(app)
        app.screen.query(Toast).first()._expire()
        await wait_until(pilot, lambda: "fourth message" in screen_text(app))
        assert "first message" not in screen_text(app)
        app.clear_notifications()
        await wait_until(pilot, lambda: "message" not in screen_text(app))
