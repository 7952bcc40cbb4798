"""The dashboard: what stands how is seen, can be narrowed, looked at and acted on, whatever it is called."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.client.downloads.downloader import DownloadedFile, DownloadProgress, DownloadResult, VerifiedBy
from sealyard.engine.execution.progress import INITIAL_RATE
from sealyard.model.errors import ConflictError, ResultExpiredError, ResultGoneError, StorageError
from sealyard.model.tasks import DecisionOrigin, ResultState, TaskStatus
from sealyard_tui.action_keys import DEFAULT_KEYS
from sealyard_tui.app import SealyardApp
from sealyard_tui.appearance.appearance import Appearance
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import UiStateFile
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.screens.dashboard.task_detail import render_task
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import decision, task
from tests.tui.workspace import DEVELOPER, NOW, OWNER, TuiWorkspace

HOSTILE = ("fw[/oops].bin", "[@click=app.quit]x[/]", "\x1b]2;PWNED\x07.bin", "exe\u202egpj.bin")


def place(app: SealyardApp) -> DashboardScreen:
    assert isinstance(app.screen, DashboardScreen)
    return app.screen


def ids(app: SealyardApp) -> list[str]:
    return [row.id for row in place(app).table.rows]


async def go_to(pilot: Pilot[None], app: SealyardApp, task_id: str) -> None:
    place(app).table.move_cursor_to(task_id)
    await pilot.pause()


async def filter_by(pilot: Pilot[None], app: SealyardApp, line: str) -> None:
    await pilot.press("slash")
    bar = place(app).filter_bar
    bar.query_one(Input).value = line
    await pilot.press("enter")
    await wait_for_workers(pilot)


class FakeDownloads:
    """Stands in for the downloader of :class:`~sealyard_tui.session.download_manager.DownloadManager`."""

    def __init__(self, app: SealyardApp, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.files: dict[str, DownloadedFile] = {}
        self.error = ""
        self.asked: list[str] = []

    def put(self, task_id: str) -> DownloadedFile:
        self.files[task_id] = DownloadedFile(
            task_id=task_id,
            path=str(self.folder / "gateway.se-1"),
            size=12,
            sha256="ab" * 32,
            checked=VerifiedBy.SIGNATURE,
            at=NOW,
        )
        return self.files[task_id]

    def get(self, task_id: str) -> DownloadedFile | None:
        return self.files.get(task_id)

    async def download(self, task_id: str, name: str, *, again: bool = False) -> DownloadResult:
        self.asked.append(task_id)
        return DownloadResult(task_id=task_id, name=name, downloaded=self.put(task_id))


def with_downloads(app: SealyardApp, folder: Path) -> FakeDownloads:
    app.download_manager.folder = folder
    fake = FakeDownloads(app, folder)
    app.download_manager.download = fake.download  # type: ignore[method-assign]
    app.download_manager._stored_file = fake.get  # type: ignore[method-assign]
    return fake


# ---- what is seen


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_status_progress_queue_and_results_are_said_by_word_and_sign(
    workspace: TuiWorkspace, size: tuple[int, int]
) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size):
        seen = screen_text(app)
        for words in (
            "◔ WAITING",
            "0 of 1 approved",
            "▸ RUNNING",
            "40 % 42s",
            "1 in queue",
            "↓ AVAILABLE 20h",
            "! EXPIRED",
            "∅ GONE",
            "– CANCELLED",
            "✗ FAILED",
            "gateway v2",
            "41d",
        ):
            assert words in seen, words


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_counters_title_and_throughput_are_above_the_list(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        await pilot.press("r")
        await wait_for_workers(pilot)
        seen = screen_text(app)
        for words in ("1 waiting", "1 running", "1 queued", "4 done", "1 failed", "2 available", "1 expired", "1 gone"):
            assert words in seen, words
        for words in ("9 tasks", "newest first", "updated 0 s ago", "MiB/s"):
            assert words in seen, words


def test_the_detail_says_how_a_decision_was_made() -> None:
    made = decision(OWNER, origin=DecisionOrigin.TERMINAL, one_time_password=True)
    words = f"approved by {OWNER} (Olga Owner) (at a terminal, with one-time password), "
    assert (
        words
        in render_task(task("t1", TaskStatus.DONE, approvals=(made,)), NOW, DEFAULT_KEYS, {OWNER: "Olga Owner"}).plain
    )


async def test_a_trial_is_marked_on_its_row_and_in_its_detail(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.set_policy(allow_self_approval=True)
    await empty_workspace.complete(await empty_workspace.add_task("t-trial"))
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "↓ AVAILABLE 1d TRIAL")
        await wait_until(pilot, lambda: "TRIAL: self-approved, do not release" in screen_text(app))


async def test_with_no_tasks_it_says_what_to_do_next(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "No tasks yet. Press n to create the first package." in screen_text(app))


async def test_with_no_tasks_nobody_is_sent_to_a_key_they_do_not_have(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace, "administrator")
    async with run_app(app, size=(80, 24)):
        assert "n asks for the first package" not in screen_text(app)
        assert "USE on a device configuration (5)" in screen_text(app)


async def test_at_80_columns_the_counters_are_whole_however_long_ago_it_was_read(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_for_workers(pilot)
        workspace.clock.advance(seconds=3_000)
        place(app).tick(workspace.now)
        await wait_until(pilot, lambda: "updated" in screen_text(app))
        counters = screen_text(app).splitlines()[3]
        assert "available" in counters
        assert "gone" in counters


async def test_names_of_strangers_are_shown_harmless(empty_workspace: TuiWorkspace) -> None:
    for number, name in enumerate(HOSTILE):
        await empty_workspace.reject(
            await empty_workspace.add_task(f"t{number}", name=name, firmware={name: b"firmware"}), name
        )
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        for number in range(len(HOSTILE)):
            await go_to(pilot, app, f"t{number}")
            await wait_until(pilot, lambda number=number: place(app).pane.task_id == f"t{number}")  # type: ignore[misc]
            await wait_for_workers(pilot)
            seen = screen_text(app)
            assert not {"\x1b", "\x07", "\u202e"} & set(seen)
        for shown in ("fw[/oops].bin", "[@click=app.quit]x[/]", "\\x1b]2;PWNED\\x07.bin", "exe\\u202egpj.bin"):
            assert shown in seen


# ---- what moves


async def test_a_new_task_appears_and_one_that_moves_is_renewed_in_its_row(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.add_task("t-new", name="fresh")
        await wait_until(pilot, lambda: ids(app)[0] == "t-new")
        assert place(app).table.cursor_key == "t-waiting", "the cursor stays on its row"
        await workspace.approve(workspace.task("t-new"))
        await wait_until(pilot, lambda: place(app).table.row("t-new").status is TaskStatus.SCHEDULED)  # type: ignore[union-attr]
        await assert_visible(pilot, "10 tasks")


async def test_progress_goes_into_the_row_without_a_read(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: workspace.has_listeners and "bootloader.bin" in screen_text(app))
        workspace.faults.fail["task"] = workspace.faults.fail["tasks"] = StorageError("not to be read")
        second = int(INITIAL_RATE)
        await workspace.report_progress("t-running", 50 * second, 100 * second)
        workspace.clock.advance(seconds=1)
        await wait_for_workers(pilot)
        await workspace.report_progress("t-running", 99 * second, 100 * second)
        await wait_until(pilot, lambda: "99 % 1s" in screen_text(app))
        assert place(app)._throughput.rate > 0


async def test_a_flood_of_changes_is_read_by_page_and_ends_right(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for number in range(100):
            workspace.clock.advance(seconds=1)
            await workspace.add_task(f"f{number:03}")
        for number in range(100):
            await workspace.reject(workspace.task(f"f{number:03}"))
        await wait_until(pilot, lambda: len(place(app).table) == 109)
        await wait_until(
            pilot, lambda: all(row.status is TaskStatus.CANCELLED for row in place(app).table.rows if row.id[0] == "f")
        )
        assert ids(app)[:2] == ["f099", "f098"]


async def test_what_happened_while_another_place_was_seen_is_there_on_return(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("5")
        await wait_for_workers(pilot)
        await workspace.add_task("t-new")
        await wait_for_workers(pilot)
        await pilot.press("1")
        await wait_until(pilot, lambda: "t-new" in ids(app))


# ---- long lists


async def test_a_long_list_begins_with_a_page_and_end_reads_on_to_the_last(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(2500)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        table = place(app).table
        assert len(table) == 200
        await assert_visible(pilot, "200 of 2,500 tasks")
        await pilot.press("G")
        await wait_until(pilot, lambda: len(table) == 2500)
        await wait_for_workers(pilot)
        assert table.cursor_key == "m02499"
        await assert_visible(pilot, "2,500 tasks")


async def test_moving_down_reads_more_before_the_end_comes(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(1000)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await go_to(pilot, app, "m00180")
        await wait_until(pilot, lambda: len(place(app).table) > 200)
        assert place(app).table.cursor_key == "m00180"


async def test_a_task_on_no_page_that_was_read_can_be_shown(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(1000)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        app.show_task("m00900")
        await wait_until(pilot, lambda: place(app).table.cursor_key == "m00900")
        await wait_until(pilot, lambda: place(app).pane.task_id == "m00900")
        await pilot.press("r")
        await wait_for_workers(pilot)
        assert place(app).table.cursor_key == "m00900"
        assert ids(app) == sorted(ids(app))


# ---- filter and order


async def test_the_list_is_narrowed_in_place_with_a_count_and_escape_widens_it(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("slash", *"beta")
        await wait_until(pilot, lambda: ids(app) == ["t-queued"])
        await wait_for_workers(pilot)
        await assert_visible(pilot, "1 of 9")
        await pilot.press("enter")
        assert place(app).table.has_focus
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(ids(app)) == 9)


async def test_keys_that_come_before_the_first_paint_are_not_typed_into_a_hidden_line(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await pilot.press("j", "j")
        await wait_until(pilot, lambda: bool(app.state.workspace))
        await wait_for_workers(pilot)
        assert place(app).filter_bar.text == ""
        assert place(app).table.has_focus
        assert place(app).filter_bar.query_one(Input).disabled


async def test_a_wrong_field_is_said_beside_the_line_and_the_list_stays(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await filter_by(pilot, app, "stats:done")
        await assert_visible(pilot, "✗ unknown field stats: status:?")
        assert len(ids(app)) == 9


async def test_an_unmatched_filter_says_how_to_come_back(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await filter_by(pilot, app, "nothing-like-this")
        await assert_visible(pilot, "No tasks match the filter. Press esc to clear it.")


async def test_quick_filters_and_mine_are_written_into_the_line(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        await pilot.press("s", "9")
        await wait_until(pilot, lambda: ids(app) == ["t-expired"])
        assert place(app).filter_bar.text == "state:expired"
        await pilot.press("m")
        await wait_until(pilot, lambda: ids(app) == [])
        assert place(app).filter_bar.text == "state:expired owner:me"
        await pilot.press("m")
        await wait_until(pilot, lambda: ids(app) == ["t-expired"])


async def test_news_keep_to_the_filter(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await filter_by(pilot, app, "status:waiting")
        await workspace.fail("t-running")
        await workspace.reject(workspace.task("t-waiting"))
        await workspace.add_task("t-next")
        await wait_until(pilot, lambda: ids(app) == ["t-next"])


async def test_orders_of_the_engine_hold_for_all_and_others_say_what_they_order(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(2500)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await pilot.press("o", "2")
        await wait_until(pilot, lambda: ids(app)[0] == "m02499")
        await assert_visible(pilot, "oldest first")
        await pilot.press("o", "3")
        await wait_until(pilot, lambda: ids(app)[0] == "m00000")
        await wait_for_workers(pilot)
        read = len(ids(app))
        assert read < 2500
        await assert_visible(pilot, f"{read:,} of 2,500 tasks · by name ({read:,} loaded rows only)")


async def test_filter_and_order_are_as_they_were_left(workspace: TuiWorkspace) -> None:
    memory = UiStateFile()
    app = remembering(workspace, memory)
    async with run_app(app) as pilot:
        await filter_by(pilot, app, "status:done")
        await pilot.press("o", "2")
        await wait_for_workers(pilot)
    again = remembering(workspace, memory)
    async with run_app(again):
        assert ids(again) == ["t-signed", "t-gone", "t-expired", "t-done"]
        assert "status:done" in screen_text(again)


def remembering(workspace: TuiWorkspace, memory: UiStateFile) -> SealyardApp:
    app = make_app(workspace)
    app.preferences = Preferences(app.settings, memory)
    app.appearance = Appearance(app, app.preferences)
    return app


# ---- the detail


async def test_the_detail_follows_the_cursor_where_there_is_room(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await go_to(pilot, app, "t-rejected")
        await wait_until(pilot, lambda: place(app).pane.task_id == "t-rejected")
        await wait_for_workers(pilot)
        place(app).pane.scroll_end(animate=False)
        await pilot.pause()
        await assert_visible(pilot, "Rejected by USER:owner: wrong bootloader")


async def test_at_80_columns_enter_opens_the_detail_and_escape_goes_back(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert not place(app).pane.display
        await pilot.press("enter")
        await wait_until(pilot, lambda: place(app).pane.has_focus and place(app).pane.task_id == "t-waiting")
        assert not place(app).table.display
        await assert_visible(pilot, "sha256")
        await pilot.press("escape")
        await pilot.pause()
        assert place(app).table.has_focus
        assert place(app).table.display


async def test_the_json_of_a_task_is_a_key_away(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("J")
        await wait_until(pilot, lambda: '"id": "t-waiting"' in screen_text(app))


# ---- acts


async def test_withdrawing_wants_a_reason_and_says_that_it_was_done(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("w")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "A reason is required")
        await pilot.press(*"old", "ctrl+s")
        await wait_until(pilot, lambda: ("withdraw", ("t-waiting", "old")) in workspace.faults.calls)
        await wait_until(pilot, lambda: "gateway 1.5.0 withdrawn" in screen_text(app))


async def test_cancelling_is_confirmed(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await go_to(pilot, app, "t-running")
        await pilot.press("x", "n")
        assert workspace.faults.calls == []
        await pilot.press("x", "y")
        await wait_until(pilot, lambda: ("cancel", ("t-running",)) in workspace.faults.calls)


async def test_marked_tasks_are_ended_together_and_the_others_are_left(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("space", "space", "space", "space", "x")
        await wait_until(pilot, lambda: "Cancel 3 tasks?" in screen_text(app))
        await pilot.press("y")
        await wait_until(pilot, lambda: len(workspace.faults.calls) == 3)
        await wait_for_workers(pilot)
        await assert_visible(pilot, "3 tasks cancelled")


async def test_an_error_is_shown_and_the_application_goes_on(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["cancel"] = ConflictError("It has just ended.", "Look at its result.")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("x", "y")
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await assert_visible(pilot, "Look at its result.")
        await pilot.press("escape", "j")
        assert place(app).table.cursor == 1


async def test_an_expired_link_is_renewed_by_the_key_that_is_named(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        fake = with_downloads(app, tmp_path)
        await go_to(pilot, app, "t-expired")
        await pilot.press("d")
        await assert_visible(pilot, "The link has expired: press e to renew it")
        assert fake.asked == []
        await pilot.press("e")
        await wait_until(pilot, lambda: ("renew", ("t-expired",)) in workspace.faults.calls)
        await wait_for_workers(pilot)
        await pilot.press("d")
        await wait_until(pilot, lambda: fake.asked == ["t-expired"])


async def test_of_a_file_that_is_gone_it_is_said_what_helps(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        with_downloads(app, tmp_path)
        await go_to(pilot, app, "t-gone")
        await pilot.press("d")
        await assert_visible(pilot, "create a new package")


@pytest.mark.parametrize("size", [(80, 24), (160, 40)])
async def test_each_row_says_how_its_download_stands(
    workspace: TuiWorkspace, tmp_path: Path, size: tuple[int, int]
) -> None:
    workspace.bus.small_slots = 3
    await workspace.complete(await workspace.add_task("t-other"))
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        fake = with_downloads(app, tmp_path)
        fake.put("t-done")
        app.download_manager.by_task["t-other"] = DownloadProgress(
            task_id="t-other", name="x", bytes_done=43, bytes_total=100
        )
        app.downloads_changed.publish(None)
        await pilot.pause()
        seen = screen_text(app)
        long = size[0] >= 150
        assert ("✓ on disk, signature checked" if long else "✓ on disk") in seen
        assert ("! not downloaded (expired)" if long else "! missing") in seen
        assert "↓ 43 %" in seen


async def test_what_there_is_of_a_task_can_be_copied(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    app = make_app(workspace)
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with run_app(app) as pilot:
        await go_to(pilot, app, "t-done")
        await pilot.press("y")
        await pilot.press("c")
        await wait_until(pilot, lambda: "SHA-256" in screen_text(app))
        await pilot.press("3")
        await wait_for_workers(pilot)
        assert copied == ["t-done", workspace.task("t-done").result.sha256]  # type: ignore[union-attr]


async def test_over_ssh_the_path_is_said_instead_of_opening_a_window(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "1")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        with_downloads(app, tmp_path).put("t-done")
        await go_to(pilot, app, "t-done")
        await pilot.press("f")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "No file manager available.")


async def test_who_may_only_read_sees_no_key_that_changes_anything(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "read only" in screen_text(app))
        for words in ("Withdraw", "Cancel", "Renew", "New"):
            assert words not in screen_text(app).splitlines()[-1]
        await pilot.press("x", "w", "e")
        await wait_for_workers(pilot)
        assert workspace.faults.calls == []
        assert isinstance(app.screen, DashboardScreen)


async def test_what_is_not_ones_own_cannot_be_withdrawn(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        assert place(app).check_action("withdraw", ()) is None
        assert place(app).check_action("cancel", ()) is True
        assert place(app).check_action("new", ()) is False
        await pilot.press("w")
        assert isinstance(app.screen, DashboardScreen)


async def test_another_person_sees_nothing_of_the_one_before(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("space", "f2")
        await wait_until(pilot, lambda: app.state.identity != DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert place(app).table.marked_rows == []
        assert len(ids(app)) == 9


# ---- this session's downloads


async def test_downloads_of_the_session_say_what_came_of_them_and_what_can_be_done(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        fake = with_downloads(app, Path("/srv/packages"))
        expired = ResultExpiredError("The link has expired.", "Renew it.").to_info()
        gone = ResultGoneError("The artifact was removed.", "Ask again.").to_info()
        app.download_manager.by_task["t-done"] = DownloadResult(
            task_id="t-done", name=HOSTILE[0], downloaded=fake.put("t-done")
        )
        app.download_manager.by_task["t-expired"] = DownloadResult(task_id="t-expired", name="old", error=expired)
        app.download_manager.by_task["t-gone"] = DownloadResult(task_id="t-gone", name="older", error=gone)
        await pilot.press("L")
        await wait_until(pilot, lambda: "on disk, signature checked" in screen_text(app))
        for words in (HOSTILE[0], "gateway.se-1", "! not downloaded (link expired)", "∅ not downloaded (file removed)"):
            await assert_visible(pilot, words)
        await pilot.press("j")
        await wait_until(pilot, lambda: "Press e to renew the link" in screen_text(app))
        await pilot.press("e")
        await wait_until(
            pilot, lambda: ("renew", ("t-expired",)) in workspace.faults.calls and fake.asked == ["t-expired"]
        )
        await pilot.press("j")
        await wait_until(pilot, lambda: "Create a new package" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        await wait_until(pilot, lambda: place(app).pane.task_id == "t-gone")


async def test_a_result_that_expires_while_it_is_looked_at_is_said_to_be_expired(
    empty_workspace: TuiWorkspace,
) -> None:
    await empty_workspace.complete(await empty_workspace.add_task())
    app = make_app(empty_workspace, refresh_interval=0.2)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "AVAILABLE")
        empty_workspace.clock.advance(hours=24)
        await wait_until(pilot, lambda: f"! {ResultState.EXPIRED}" in screen_text(app))


async def test_a_window_made_larger_shows_the_detail_without_a_key(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert "bootloader.bin" not in screen_text(app)
        await pilot.resize_terminal(120, 40)
        await wait_until(pilot, lambda: "bootloader.bin" in screen_text(app))
