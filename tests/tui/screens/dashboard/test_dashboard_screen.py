"""Tests of the dashboard: rows, live updates, filter, detail, actions and downloads."""

from __future__ import annotations

from pathlib import Path

import msgspec
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
from sealyard_tui.screens.dashboard.screen import DashboardScreen
from sealyard_tui.screens.dashboard.task_detail import render_task
from sealyard_tui.screens.dashboard.task_list import PAGE_SIZE
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.task_factories import decision, task
from tests.tui.workspace import DEVELOPER, NOW, OWNER, TuiWorkspace

HOSTILE = ("fw[/oops].bin", "[@click=app.quit]x[/]", "\x1b]2;PWNED\x07.bin", "exe\u202egpj.bin")


def dashboard(app: SealyardApp) -> DashboardScreen:
    assert isinstance(app.screen, DashboardScreen)
    return app.screen


def listed_ids(app: SealyardApp) -> list[str]:
    return [row.id for row in dashboard(app).table.rows]


async def move_cursor_to(pilot: Pilot[None], app: SealyardApp, task_id: str) -> None:
    dashboard(app).table.move_cursor_to(task_id)
    await pilot.pause()


async def apply_filter(pilot: Pilot[None], app: SealyardApp, line: str) -> None:
    await pilot.press("slash")
    bar = dashboard(app).filter_bar
    bar.query_one(Input).value = line
    await pilot.press("enter")
    await wait_for_workers(pilot)


class FakeDownloads:
    """Replaces the downloader of :class:`~sealyard_tui.session.download_manager.DownloadManager`."""

    def __init__(self, app: SealyardApp, folder: Path) -> None:
        self.app = app
        self.folder = folder
        self.files: dict[str, DownloadedFile] = {}
        self.error = ""
        self.requested: list[str] = []

    def add(self, task_id: str) -> DownloadedFile:
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
        self.requested.append(task_id)
        was_on_disk = task_id in self.files
        file = msgspec.structs.replace(self.add(task_id), was_on_disk=was_on_disk)
        return DownloadResult(task_id=task_id, name=name, downloaded=file)


def install_fake_downloads(app: SealyardApp, folder: Path) -> FakeDownloads:
    app.download_manager.folder = folder
    fake = FakeDownloads(app, folder)
    app.download_manager.download = fake.download  # type: ignore[method-assign]
    app.download_manager._stored_file = fake.get  # type: ignore[method-assign]
    return fake


# ---- content


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_states_have_word_and_symbol(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size):
        text = screen_text(app)
        for words in (
            "◔ WAITING",
            "0 of 1 approved",
            "▸ RUNNING",
            "40 % 42s",
            "1 in queue",
            "↓ AVAILABLE 20h",
            "! EXPIRED · kept 2",
            "∅ GONE",
            "✗ REJECTED",
            "wrong bootloader",
            "✗ FAILED",
            "gateway v2",
            "41d",
        ):
            assert words in text, words


@pytest.mark.parametrize(
    ("size", "results"),
    [((80, 24), ("↓ 2", "! 1", "∅ 1")), ((120, 40), ("2 available", "1 expired", "1 gone"))],
)
async def test_header_shows_counters(workspace: TuiWorkspace, size: tuple[int, int], results: tuple[str, ...]) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        await pilot.press("r")
        await wait_for_workers(pilot)
        text = screen_text(app)
        for words in ("1 waiting", "1 running", "1 queued", "4 done", "1 failed", *results):
            assert words in text, words
        for words in ("9 tasks", "newest first", "updated 0 s ago"):
            assert words in text, words


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_throughput_is_shown_while_data_is_processed(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        await wait_until(pilot, lambda: workspace.has_listeners and "9 tasks" in screen_text(app))
        assert "MiB/s" not in screen_text(app)
        mebibyte = 1024 * 1024
        for done in (50, 80):
            await workspace.report_progress("t-running", done * mebibyte, 100 * mebibyte)
            await wait_for_workers(pilot)
        await wait_until(pilot, lambda: dashboard(app)._throughput.rate > 0)
        dashboard(app).tick(workspace.now)
        await wait_until(pilot, lambda: " ".join(screen_text(app).splitlines()[2].split()).endswith("10.0 MiB/s"))
        assert "throughput" in screen_text(app)


def test_detail_shows_decision_origin() -> None:
    approval = decision(OWNER, origin=DecisionOrigin.TERMINAL, one_time_password=True)
    words = f"approved by {OWNER} (Olga Owner) (at a terminal, with one-time password), "
    assert (
        words
        in render_task(
            task("t1", TaskStatus.DONE, approvals=(approval,)), NOW, DEFAULT_KEYS, {OWNER: "Olga Owner"}
        ).plain
    )


async def test_self_approved_task_is_marked_trial(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.set_policy(allow_self_approval=True)
    await empty_workspace.complete(await empty_workspace.add_task("t-trial"))
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "↓ AVAILABLE 1d TRIAL")
        await wait_until(pilot, lambda: "TRIAL: self-approved, do not release" in screen_text(app))


async def test_empty_list_shows_next_step(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_until(pilot, lambda: "Press n to create the first package." in screen_text(app))
        assert "No tasks yet." in screen_text(app)


async def test_empty_list_hint_respects_permissions(empty_workspace: TuiWorkspace) -> None:
    app = make_app(empty_workspace, "administrator")
    async with run_app(app, size=(80, 24)) as pilot:
        await assert_visible(pilot, "First steps", "No tasks yet.")
        assert "Press n to create" not in screen_text(app)
        await pilot.press("H")
        await assert_visible(pilot, "USE on a device configuration (5)")
        assert "Press n to create" not in screen_text(app)


async def test_counters_fit_80_columns_with_long_age(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await wait_for_workers(pilot)
        workspace.clock.advance(seconds=3_000)
        dashboard(app).tick(workspace.now)
        await wait_until(pilot, lambda: "updated" in screen_text(app))
        counters = screen_text(app).splitlines()[2]
        assert "↓ 2" in counters
        assert "∅ 1" in counters


async def test_hostile_names_are_escaped(empty_workspace: TuiWorkspace) -> None:
    for number, name in enumerate(HOSTILE):
        await empty_workspace.reject(
            await empty_workspace.add_task(f"t{number}", name=name, firmware={name: b"firmware"}), name
        )
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        for number in range(len(HOSTILE)):
            await move_cursor_to(pilot, app, f"t{number}")
            await wait_until(pilot, lambda number=number: dashboard(app).pane.task_id == f"t{number}")  # type: ignore[misc]
            await wait_for_workers(pilot)
            text = screen_text(app)
            assert not {"\x1b", "\x07", "\u202e"} & set(text)
        for shown in ("fw[/oops].bin", "[@click=app.quit]x[/]", "\\x1b]2;PWNED\\x07.bin", "exe\\u202egpj.bin"):
            assert shown in text


# ---- live updates


async def test_task_events_add_and_update_rows(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.add_task("t-new", name="fresh")
        await wait_until(pilot, lambda: listed_ids(app)[0] == "t-new")
        assert dashboard(app).table.cursor_key == "t-waiting", "the cursor stays on its row"
        await workspace.approve(workspace.task("t-new"))
        await wait_until(pilot, lambda: dashboard(app).table.row("t-new").status is TaskStatus.SCHEDULED)  # type: ignore[union-attr]
        await assert_visible(pilot, "10 tasks")


async def test_progress_updates_row_without_read(workspace: TuiWorkspace) -> None:
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
        assert dashboard(app)._throughput.rate > 0


async def test_event_burst_ends_in_correct_state(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        for number in range(100):
            workspace.clock.advance(seconds=1)
            await workspace.add_task(f"f{number:03}")
        for number in range(100):
            await workspace.reject(workspace.task(f"f{number:03}"))
        await wait_until(pilot, lambda: len(dashboard(app).table) == 109)
        await wait_until(
            pilot,
            lambda: all(row.status is TaskStatus.CANCELLED for row in dashboard(app).table.rows if row.id[0] == "f"),
        )
        assert listed_ids(app)[:2] == ["f099", "f098"]


async def test_changes_on_other_screen_appear_on_return(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("5")
        await wait_for_workers(pilot)
        await workspace.add_task("t-new")
        await wait_for_workers(pilot)
        await pilot.press("1")
        await wait_until(pilot, lambda: "t-new" in listed_ids(app))


# ---- long lists


async def test_end_key_loads_all_tasks(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(2500)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        table = dashboard(app).table
        assert len(table) == 200
        await assert_visible(pilot, "200 of 2,500 tasks")
        await pilot.press("G")
        await wait_until(pilot, lambda: len(table) == 2500)
        await wait_for_workers(pilot)
        assert table.cursor_key == "m02499"
        await assert_visible(pilot, "2,500 tasks")


async def test_moving_down_loads_next_page_early(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(1000)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await move_cursor_to(pilot, app, "m00180")
        await wait_until(pilot, lambda: len(dashboard(app).table) > 200)
        assert dashboard(app).table.cursor_key == "m00180"


async def test_show_task_loads_unlisted_task(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(1000)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        app.show_task("m00900")
        await wait_until(pilot, lambda: dashboard(app).table.cursor_key == "m00900")
        await wait_until(pilot, lambda: dashboard(app).pane.task_id == "m00900")
        await pilot.press("r")
        await wait_for_workers(pilot)
        assert dashboard(app).table.cursor_key == "m00900"
        assert listed_ids(app) == sorted(listed_ids(app))


# ---- filter and sort order


async def test_filter_shows_count_until_escape(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("slash", *"beta")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-queued"])
        await wait_for_workers(pilot)
        await assert_visible(pilot, "1 of 9")
        await pilot.press("enter")
        assert dashboard(app).table.has_focus
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(listed_ids(app)) == 9)


async def test_early_keys_are_not_typed_into_filter(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with app.run_test() as pilot:
        await pilot.press("j", "j")
        await wait_until(pilot, lambda: bool(app.state.workspace))
        await wait_for_workers(pilot)
        assert dashboard(app).filter_bar.text == ""
        assert dashboard(app).table.has_focus
        assert dashboard(app).filter_bar.query_one(Input).disabled


async def test_invalid_filter_shows_error_and_no_rows(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        await apply_filter(pilot, app, "stats:done")
        await assert_visible(pilot, "✗ unknown field stats: status:?")
        await assert_visible(pilot, "The filter is invalid, see above.", "Press esc to clear it.")
        await workspace.add_task("t-next")
        await wait_for_workers(pilot)
        assert listed_ids(app) == []
        await apply_filter(pilot, app, "status:failed")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-failed"])
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(listed_ids(app)) == 10)


async def test_words_on_screen_are_found(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(160, 40)) as pilot:
        for words, ids in {
            "failed": ["t-failed"],
            "expired": ["t-expired"],
            "dana failed": ["t-failed"],
            "olga": ["t-rejected"],
            "wrong": ["t-rejected"],
        }.items():
            await apply_filter(pilot, app, words)
            assert (words, listed_ids(app)) == (words, ids)


async def test_text_that_only_rows_show_is_found(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(160, 40)) as pilot:
        install_fake_downloads(app, tmp_path).add("t-done")
        for words, ids in {
            "approved": ["t-waiting"],
            "gateway approved": ["t-waiting"],
            "4h": ["t-done"],
            '"on disk"': ["t-done"],
            "kind:signing approved": [],
            '"in queue"': ["t-queued"],
        }.items():
            await apply_filter(pilot, app, words)
            assert (words, listed_ids(app)) == (words, ids)


async def test_filter_searches_shown_text_in_first_page_only(workspace: TuiWorkspace) -> None:
    await workspace.add_tasks(1000)
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await workspace.add_task("t-newest", name="newest")
        await wait_until(pilot, lambda: "t-newest" in listed_ids(app))
        await apply_filter(pilot, app, '"of 1 approved"')
        await wait_until(pilot, lambda: len(listed_ids(app)) == PAGE_SIZE)
        workspace.faults.counts.clear()
        await apply_filter(pilot, app, '"of 1 approve"')
        await wait_until(pilot, lambda: workspace.faults.counts["tasks"] == 2)
        assert "t-newest" in listed_ids(app)
        await workspace.reject(workspace.task("t-newest"))
        await wait_until(pilot, lambda: "t-newest" not in listed_ids(app))


async def test_similar_names_are_listed_without_exact_match(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "gtway")
        await wait_until(pilot, lambda: len(listed_ids(app)) > 0)
        await wait_for_workers(pilot)
        await assert_visible(pilot, "no exact match: similar names")
        await apply_filter(pilot, app, "gateway")
        await wait_for_workers(pilot)
        assert "no exact match" not in screen_text(app)


async def test_filter_without_match_shows_hint(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "nothing-like-this")
        await assert_visible(pilot, "No tasks match the filter.", "Press esc to clear it.")


async def test_quick_filters_write_filter_line(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        await pilot.press("s", "9")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-expired"])
        assert dashboard(app).filter_bar.text == "status:expired"
        await pilot.press("m")
        await wait_until(pilot, lambda: listed_ids(app) == [])
        assert dashboard(app).filter_bar.text == "status:expired owner:me"
        await pilot.press("m")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-expired"])


async def test_task_events_respect_filter(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "status:waiting")
        await workspace.fail("t-running")
        await workspace.reject(workspace.task("t-waiting"))
        await workspace.add_task("t-next")
        await wait_until(pilot, lambda: listed_ids(app) == ["t-next"])


async def test_sort_orders_state_their_scope(empty_workspace: TuiWorkspace) -> None:
    await empty_workspace.add_tasks(2500)
    app = make_app(empty_workspace)
    async with run_app(app) as pilot:
        await pilot.press("o", "5")
        await wait_until(pilot, lambda: listed_ids(app)[0] == "m02499")
        await assert_visible(pilot, "oldest first")
        await pilot.press("o", "2")
        await wait_until(pilot, lambda: listed_ids(app)[0] == "m00000")
        await wait_for_workers(pilot)
        read = len(listed_ids(app))
        assert read < 2500
        await assert_visible(pilot, f"{read:,} of 2,500 tasks · by name ({read:,} loaded rows only)")


async def test_filter_and_sort_survive_restart(workspace: TuiWorkspace) -> None:
    memory = UiStateFile()
    app = make_app_with_state(workspace, memory)
    async with run_app(app) as pilot:
        await apply_filter(pilot, app, "status:done")
        await pilot.press("o", "5")
        await wait_for_workers(pilot)
    restarted = make_app_with_state(workspace, memory)
    async with run_app(restarted):
        assert listed_ids(restarted) == ["t-signed", "t-gone", "t-expired", "t-done"]
        assert "status:done" in screen_text(restarted)


def make_app_with_state(workspace: TuiWorkspace, memory: UiStateFile) -> SealyardApp:
    app = make_app(workspace)
    app.preferences = Preferences(app.settings, memory)
    app.appearance = Appearance(app, app.preferences)
    return app


# ---- detail


async def test_wide_terminal_detail_follows_cursor(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await move_cursor_to(pilot, app, "t-rejected")
        await wait_until(pilot, lambda: dashboard(app).pane.task_id == "t-rejected")
        await wait_for_workers(pilot)
        dashboard(app).pane.scroll_end(animate=False)
        await pilot.pause()
        await assert_visible(pilot, "Rejected by Olga Owner: wrong bootloader")


async def test_detail_at_80_columns_replaces_list(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert not dashboard(app).pane.display
        await pilot.press("enter")
        await wait_until(pilot, lambda: dashboard(app).pane.has_focus and dashboard(app).pane.task_id == "t-waiting")
        assert not dashboard(app).table.display
        await assert_visible(pilot, "sha256")
        await pilot.press("escape")
        await pilot.pause()
        assert dashboard(app).table.has_focus
        assert dashboard(app).table.display


async def test_task_is_shown_as_json(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("J")
        await wait_until(pilot, lambda: '"id": "t-waiting"' in screen_text(app))


# ---- actions


async def test_withdraw_requires_reason(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("w")
        await pilot.press("ctrl+s")
        await assert_visible(pilot, "A reason is required")
        await pilot.press(*"old", "ctrl+s")
        await wait_until(pilot, lambda: ("withdraw", ("t-waiting", "old")) in workspace.faults.calls)
        await wait_until(pilot, lambda: "✓ Withdrawn: gateway 1.5.0" in screen_text(app))


async def test_cancel_requires_confirmation(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await move_cursor_to(pilot, app, "t-running")
        await pilot.press("x", "n")
        assert workspace.faults.calls == []
        await pilot.press("x", "y")
        await wait_until(pilot, lambda: ("cancel", ("t-running",)) in workspace.faults.calls)


async def test_bulk_cancel_skips_other_tasks(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("space", "space", "space", "space", "x")
        await wait_until(pilot, lambda: "Cancel 3 tasks?" in screen_text(app))
        await pilot.press("y")
        await wait_until(pilot, lambda: len(workspace.faults.calls) == 3)
        await wait_for_workers(pilot)
        await assert_visible(pilot, "Cancelled: 3 tasks")


async def test_action_error_is_shown_in_dialog(workspace: TuiWorkspace) -> None:
    workspace.faults.fail["cancel"] = ConflictError("It has just ended.", "Look at its result.")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("x", "y")
        await assert_visible(pilot, "✗ It has just ended.", "→ Look at its result.")
        await pilot.press("escape", "j")
        assert dashboard(app).table.cursor == 1


async def test_expired_link_hint_names_renew_key(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        fake = install_fake_downloads(app, tmp_path)
        await move_cursor_to(pilot, app, "t-expired")
        await pilot.press("d")
        await assert_visible(pilot, "The link has expired: press e to renew it")
        assert fake.requested == []
        await pilot.press("e")
        await wait_until(pilot, lambda: ("renew", ("t-expired",)) in workspace.faults.calls)
        await wait_for_workers(pilot)
        await pilot.press("d")
        await wait_until(pilot, lambda: fake.requested == ["t-expired"])


async def test_bulk_download_counts_files_already_on_disk(workspace: TuiWorkspace, tmp_path: Path) -> None:
    workspace.bus.small_slots = 3
    await workspace.complete(await workspace.add_task("t-new"))
    app = make_app(workspace)
    async with run_app(app) as pilot:
        fake = install_fake_downloads(app, tmp_path)
        fake.add("t-expired")
        for task_id in ("t-done", "t-expired", "t-gone", "t-new"):
            await move_cursor_to(pilot, app, task_id)
            await pilot.press("space")
        await pilot.press("d")
        await assert_visible(pilot, "4 marked: 2 downloaded, 1 already on disk, 1 without a file to download")
        assert sorted(fake.requested) == ["t-done", "t-expired", "t-new"]


async def test_download_of_file_on_disk_says_so(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        install_fake_downloads(app, tmp_path).add("t-gone")
        await move_cursor_to(pilot, app, "t-gone")
        await pilot.press("d")
        await assert_visible(pilot, "Already on disk: ")


async def test_download_of_removed_result_shows_hint(workspace: TuiWorkspace, tmp_path: Path) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        install_fake_downloads(app, tmp_path)
        await move_cursor_to(pilot, app, "t-gone")
        await pilot.press("d")
        await assert_visible(pilot, "create a new package")


@pytest.mark.parametrize("size", [(80, 24), (159, 40)])
async def test_rows_show_download_state(workspace: TuiWorkspace, tmp_path: Path, size: tuple[int, int]) -> None:
    workspace.bus.small_slots = 3
    await workspace.complete(await workspace.add_task("t-other"))
    app = make_app(workspace)
    async with run_app(app, size=size) as pilot:
        fake = install_fake_downloads(app, tmp_path)
        fake.add("t-done")
        app.download_manager.by_task["t-other"] = DownloadProgress(
            task_id="t-other", name="x", bytes_done=43, bytes_total=100
        )
        app.downloads_changed.publish(None)
        await pilot.pause()
        text = screen_text(app)
        long = size[0] >= 150
        assert ("✓ on disk, signature checked" if long else "✓ on disk") in text
        assert ("! not downloaded (expired)" if long else "! no file") in text
        assert "↓ 43 %" in text


async def test_copy_keys_copy_id_or_chosen_field(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    copied: list[str] = []
    app = make_app(workspace)
    monkeypatch.setattr(app, "copy_to_clipboard", copied.append)
    async with run_app(app) as pilot:
        await move_cursor_to(pilot, app, "t-done")
        await pilot.press("y")
        await pilot.press("c")
        await wait_until(pilot, lambda: "SHA-256" in screen_text(app))
        await pilot.press("3")
        await wait_for_workers(pilot)
        assert copied == ["t-done", workspace.task("t-done").result.sha256]  # type: ignore[union-attr]


async def test_open_folder_over_ssh_shows_message(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_CONNECTION", "1")
    app = make_app(workspace)
    async with run_app(app) as pilot:
        install_fake_downloads(app, tmp_path).add("t-done")
        await move_cursor_to(pilot, app, "t-done")
        await pilot.press("f")
        await wait_for_workers(pilot)
        await assert_visible(pilot, "No file manager available.")


async def test_read_only_disables_modifying_actions(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, connection=FakeConnection(workspace, read_only=True))
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "read only" in screen_text(app))
        for words in ("Withdraw", "Cancel", "Renew", "New"):
            assert words not in screen_text(app).splitlines()[-1]
        await pilot.press("x", "w", "e")
        await wait_for_workers(pilot)
        assert workspace.faults.calls == []
        assert isinstance(app.screen, DashboardScreen)


async def test_withdraw_is_disabled_for_foreign_tasks(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, "owner")
    async with run_app(app) as pilot:
        assert dashboard(app).check_action("withdraw", ()) is None
        assert dashboard(app).check_action("cancel", ()) is True
        assert dashboard(app).check_action("new", ()) is False
        await pilot.press("w")
        assert isinstance(app.screen, DashboardScreen)


async def test_profile_switch_clears_marks(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app) as pilot:
        await pilot.press("space", "f2")
        await wait_until(pilot, lambda: app.state.identity != DEVELOPER and bool(app.state.roles))
        await wait_for_workers(pilot)
        assert dashboard(app).table.marked_rows == []
        assert len(listed_ids(app)) == 9


# ---- downloads dialog


async def test_downloads_dialog_shows_outcomes_and_hints(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        fake = install_fake_downloads(app, Path("/srv/packages"))
        expired = ResultExpiredError("The link has expired.", "Renew it.").to_info()
        gone = ResultGoneError("The artifact was removed.", "Ask again.").to_info()
        app.download_manager.by_task["t-done"] = DownloadResult(
            task_id="t-done", name=HOSTILE[0], downloaded=fake.add("t-done")
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
            pilot, lambda: ("renew", ("t-expired",)) in workspace.faults.calls and fake.requested == ["t-expired"]
        )
        await pilot.press("j")
        await wait_until(pilot, lambda: "Create a new package" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: isinstance(app.screen, DashboardScreen))
        await wait_until(pilot, lambda: dashboard(app).pane.task_id == "t-gone")


async def test_result_expiry_updates_row(
    empty_workspace: TuiWorkspace,
) -> None:
    await empty_workspace.complete(await empty_workspace.add_task())
    app = make_app(empty_workspace, refresh_interval=0.2)
    async with run_app(app) as pilot:
        await assert_visible(pilot, "AVAILABLE")
        empty_workspace.clock.advance(hours=24)
        await wait_until(pilot, lambda: f"! {ResultState.EXPIRED}" in screen_text(app))


async def test_enlarged_terminal_shows_detail(workspace: TuiWorkspace) -> None:
    app = make_app(workspace)
    async with run_app(app, size=(80, 24)) as pilot:
        assert "bootloader.bin" not in screen_text(app)
        await pilot.resize_terminal(120, 40)
        await wait_until(pilot, lambda: "bootloader.bin" in screen_text(app))
