"""Tests of the conventions of terminal applications, on every screen."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from rich.style import Style
from textual.binding import Binding
from textual.command import CommandPalette
from textual.geometry import Region
from textual.pilot import Pilot
from textual.theme import BUILTIN_THEMES
from textual.widgets import Input, Static, TextArea

from sealyard.client.config.settings_loader import Settings
from sealyard.model.access import Action
from sealyard.model.algorithms import EncryptionAlgorithm, SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.errors import StorageError, WorkspaceLockedError
from sealyard.model.tasks import ResultState, TaskStatus
from sealyard_tui.app import SealyardApp, keymap_classes
from sealyard_tui.appearance.keymap import NAVIGATION_KEYS
from sealyard_tui.appearance.preferences import Preferences
from sealyard_tui.appearance.ui_state import UiStateFile
from sealyard_tui.dialogs.confirm import ConfirmDialog
from sealyard_tui.dialogs.error import ErrorDialog
from sealyard_tui.dialogs.help import HelpScreen
from sealyard_tui.dialogs.text import TextDialog
from sealyard_tui.formatting import result_badge, status_badge
from sealyard_tui.screens.audit.entry_format import change_badge
from sealyard_tui.screens.base import SCREENS, BaseScreen
from sealyard_tui.session.session import Session
from sealyard_tui.terminal.mouse import is_mouse_enabled
from sealyard_tui.widgets.columns import Column
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.too_small import TooSmall
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.tui.conftest import open_workspace
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import (
    PROFILES,
    assert_visible,
    make_app,
    run_app,
    screen_text,
    wait_for_workers,
    wait_until,
)
from tests.tui.task_factories import result
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, NOW, OWNER, FakeIds, TuiWorkspace, WorkspaceTemplate

LIST_SCREENS = ("dashboard", "approvals", "audit", "devices", "access")
"""Screens with a list."""

ROW_COUNT = 40

NAVIGATION = re.compile(
    r"(screen\.)?(move|page|scroll\w*|go_first|go_last|ends|half_page|page_up|page_down|section|up|enter_folder|step)"
    r"(\(.*\))?"
)
"""Actions that only navigate."""

COLOUR = re.compile(r"\x1b\[[0-9;]*?(?<![0-9])(3[0-8]|4[0-8]|9[0-7]|10[0-7])(?![0-9])[0-9;]*m")
"""A control sequence that chooses a colour; 39 and 49 are the terminal's own."""


@pytest.fixture
async def workspace(workspace: TuiWorkspace) -> TuiWorkspace:
    """A workspace in which the administrator may do everything, so that one application can show all screens."""
    await permit_everything(workspace)
    return workspace


@pytest.fixture
async def full_workspace(
    workspace_folder: Path, template: WorkspaceTemplate, ids: FakeIds
) -> AsyncIterator[TuiWorkspace]:
    """As ``workspace``, but every list is longer than the screen."""
    await template.extend("full", "usual", fill_lists)
    async with open_workspace(template.copy("full", workspace_folder / "full", ids)) as workspace:
        await workspace.start_running_task()
        yield workspace


async def permit_everything(workspace: TuiWorkspace) -> None:
    for config in ("gateway", "sensor"):
        for action in (Action.USE, Action.APPROVE):
            await workspace.add_rule(ADMINISTRATOR, f"DEVICE_CONFIG:{config}", action)


async def fill_lists(workspace: TuiWorkspace) -> None:
    await permit_everything(workspace)
    await workspace.add_tasks(ROW_COUNT)
    for number in range(ROW_COUNT):
        await workspace.add_subject(f"USER:p{number}")
        await workspace.create_device(
            f"device-{number:02d}",
            encryption=EncryptionAlgorithm.AES128_CTR_NO_PAD,
            signing=SigningAlgorithm.ED25519,
            encryption_key="local:sensor-encryption",
            signing_key="local:sensor-signing",
            use=(ADMINISTRATOR,),
            approve=(OWNER,),
        )


@asynccontextmanager
async def open_screen(
    workspace: TuiWorkspace,
    name: str,
    profile_name: str = "administrator",
    size: tuple[int, int] = (120, 40),
    **settings: Any,
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    """Run the application on this screen, completely loaded."""
    app = make_app(workspace, profile_name, start_screen=name, **settings)
    async with run_app(app, size=size) as pilot:
        await wait_for_workers(pilot)
        yield app, pilot


async def visit_screens(app: SealyardApp, pilot: Pilot[None], names: Iterable[str]) -> AsyncIterator[str]:
    """Switch to each of the screens by its key."""
    for name in names:
        await pilot.press(SCREENS[name][0])
        await wait_until(pilot, lambda name=name: app.current_mode == name)  # type: ignore[misc]
        await wait_for_workers(pilot)
        yield name


def table_of(app: SealyardApp) -> VirtualTable[Any]:
    return app.screen.query(VirtualTable).first()


# ---- navigation


async def test_arrow_and_vim_keys_move_in_lists(
    full_workspace: TuiWorkspace,
) -> None:
    async with open_screen(full_workspace, "upload", size=(80, 24)) as (app, pilot):
        async for name in visit_screens(app, pilot, LIST_SCREENS):
            table = table_of(app)
            assert app.focused is table, f"{name}: the list has the focus at first"
            assert table.cursor == 0
            for key, back in (("j", "k"), ("down", "up"), ("ctrl+d", "ctrl+u"), ("pagedown", "pageup")):
                await pilot.press(key)
                assert table.cursor > 0, (name, key)
                await pilot.press(back)
                assert table.cursor == 0, (name, back)
            for end, home in (("G", "g"), ("end", "home")):
                await pilot.press(end)
                await wait_until(pilot, lambda table=table: table.cursor == len(table) - 1)  # type: ignore[misc]
                await pilot.press(home)
                assert table.cursor == 0, (name, home)


def test_vim_motions_trigger_only_navigation() -> None:
    motion_bindings = [
        (cls.__name__, binding.action)
        for cls in keymap_classes()
        for binding in Binding.make_bindings(vars(cls).get("BINDINGS", ()))
        if binding.key in (*NAVIGATION_KEYS, "ctrl+k", "ctrl+j", "ctrl+h", "ctrl+l")
    ]
    assert motion_bindings, "navigation keys are bound"
    assert [each for each in motion_bindings if not NAVIGATION.fullmatch(each[1])] == []


async def test_number_keys_switch_screens(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "audit") as (app, pilot):
        for name in (*SCREENS, *reversed(SCREENS)):
            await pilot.press(SCREENS[name][0])
            await wait_until(pilot, lambda name=name: app.current_mode == name)  # type: ignore[misc]


# ---- filter


async def test_slash_filters_lists_until_escape(full_workspace: TuiWorkspace) -> None:
    async with open_screen(full_workspace, "upload") as (app, pilot):
        async for name in visit_screens(app, pilot, LIST_SCREENS):
            table = table_of(app)
            before = len(table)
            screen = app.screen
            await pilot.press("slash", *"zzz")
            await wait_until(pilot, lambda table=table: len(table) == 0)  # type: ignore[misc]
            await wait_for_workers(pilot)
            assert app.screen is screen, name
            assert re.search(r"\b0\b", str(screen.query_one(".count", Static).render())), f"{name}: no count"
            await pilot.press("escape")
            await wait_until(pilot, lambda table=table, before=before: len(table) == before)  # type: ignore[misc]
            assert app.focused is table, name
            assert not screen.query_one(FilterBar).has_class("-shown"), name


# ---- help and palette


async def test_help_explains_dual_control_and_lock(
    workspace: TuiWorkspace,
) -> None:
    locked = WorkspaceLockedError("Another process has the workspace locked for writing.", "It is \x1b[31m pid 7.")
    connection = FakeConnection(workspace, read_only=True, read_only_error=locked)
    async with open_screen(workspace, "dashboard", size=(80, 24), connection=connection) as (app, pilot):
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await assert_visible(
            pilot,
            "Separation of duties: not enforced (embedded",
            "Read only: Another process has the workspace locked",
            r"\x1b[31m pid 7",
        )


async def test_help_opens_on_all_screens(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "audit") as (app, pilot):
        async for name in visit_screens(app, pilot, SCREENS):
            await pilot.press("question_mark")
            await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await wait_until(pilot, lambda name=name: f"Help: {SCREENS[name][1]}" in screen_text(app))  # type: ignore[misc]
            assert app.screen.query(".about"), f"{name}: no description"
            await pilot.press("escape")
            await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))


@pytest.mark.parametrize("key", ["ctrl+p", "colon"])
async def test_palette_opens_other_screen(workspace: TuiWorkspace, key: str) -> None:
    async with open_screen(workspace, "devices") as (app, pilot):
        await pilot.press(key)
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"Approvals")
        await wait_until(pilot, lambda: "Approvals  3" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.current_mode == "approvals")


# ---- escape and quit


async def test_escape_closes_one_level_and_keeps_text(full_workspace: TuiWorkspace) -> None:
    async with open_screen(full_workspace, "approvals") as (app, pilot):
        table = table_of(app)
        row_count = len(table)
        await pilot.press("slash", *"copy 0001", "enter")
        await wait_until(pilot, lambda: 0 < len(table) < row_count)
        filtered_count = len(table)
        await pilot.press("space", "x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(*"half a thought", "escape")
        await wait_until(pilot, lambda: not app.screen.is_modal)
        assert table.marked_rows
        await pilot.press("x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        assert app.screen.query_one(TextArea).text == "half a thought"
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.screen.is_modal)
        await pilot.press("escape")
        assert not table.marked_rows
        assert len(table) == filtered_count
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(table) == row_count)


async def test_quit_asks_while_tasks_run(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "audit") as (app, pilot):
        await pilot.press("q")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.screen.is_modal)
        await workspace.cancel(workspace.task("t-queued"), DEVELOPER)
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: not app.state.running)
        await pilot.press("q")
        await wait_until(pilot, lambda: not app.is_running)


async def test_confirmation_accepts_letters_enter_and_escape(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "audit") as (app, pilot):
        answers: list[bool | None] = []
        for key in ("y", "enter", "n", "escape"):
            app.push_screen(ConfirmDialog("Sure", "Really?"), answers.append)
            await wait_until(pilot, lambda: app.screen.is_modal)
            await pilot.press(key)
            await wait_until(pilot, lambda: not app.screen.is_modal)
        assert answers == [True, True, False, False]


async def test_approval_is_not_confirmed_by_enter(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "approvals") as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press("enter", "enter")
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("decide") == []
        assert app.screen.is_modal


# ---- key map


async def test_remapped_key_works_and_conflicts_are_reported(workspace: TuiWorkspace) -> None:
    async with open_screen(
        workspace, "audit", keymap={"audit.verify": "f9", "audit.export": "f9", "audit.no": "z"}
    ) as (
        app,
        pilot,
    ):
        await pilot.press("exclamation_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, TextDialog))
        text = screen_text(app)
        assert "f9" in text
        assert "audit.no" in text
        await pilot.press("escape", "f9")
        await wait_until(pilot, lambda: "Verify the audit log" in screen_text(app))


# ---- identity and permissions


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_identity_is_visible_on_all_screens(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    async with open_screen(workspace, "audit", size=size) as (app, pilot):
        async for name in visit_screens(app, pilot, SCREENS):
            line = screen_text(app).splitlines()[1]
            for words in ("administrator", "demo DEMO", "ready", "no separation of duties"):
                assert words in line, (name, words)


MODIFYING_ACTIONS = {
    "dashboard": ("withdraw", "cancel", "renew", "new"),
    "approvals": ("approve", "reject"),
    "devices": ("create", "next_version", "rotate", "export"),
    "access": ("add_subject", "add_rule", "add_member", "remove"),
}
"""By screen, the actions that modify the workspace."""


async def test_read_only_hides_modifying_actions(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "upload") as (app, pilot):
        async for name in visit_screens(app, pilot, MODIFYING_ACTIONS):
            assert active_actions(app) & set(MODIFYING_ACTIONS[name]), f"{name}: no modifying action"
    async with open_screen(workspace, "upload", connection=FakeConnection(workspace, read_only=True)) as (app, pilot):
        async for name in visit_screens(app, pilot, MODIFYING_ACTIONS):
            await assert_visible(pilot, "read only")
            assert active_actions(app) & set(MODIFYING_ACTIONS[name]) == set(), name


def active_actions(app: SealyardApp) -> set[str]:
    return {each.binding.action for each in app.screen.active_bindings.values()}


# ---- colour and focus


def test_status_is_recognizable_without_colour() -> None:
    badges = [status_badge(each).plain for each in TaskStatus]
    assert all(each.value in badge for each, badge in zip(TaskStatus, badges, strict=True))
    assert len({badge.split()[0] for badge in badges}) == len(TaskStatus), "the symbols are distinct"
    assert all(each.value in change_badge(each).plain for each in AuditAction)
    for state in ResultState:
        assert state.value in result_badge(result(state), NOW).plain


@pytest.mark.parametrize("theme", ["sealyard-light", "ansi-light", "ansi-dark"])
async def test_light_and_terminal_palette_themes_exist(workspace: TuiWorkspace, theme: str) -> None:
    async with open_screen(workspace, "dashboard", theme=theme) as (app, _):
        assert app.theme == theme
        assert app.current_theme.dark is (theme == "ansi-dark")
        assert theme in BUILTIN_THEMES or theme.startswith("sealyard")


def cursor_styles(app: SealyardApp, table: VirtualTable[Any]) -> set[Style]:
    """Return the styles of the cursor row as it is drawn."""
    region: Region = table.region_of_cursor().translate(table.content_region.offset)
    strip = app.screen._compositor.render_strips()[region.y]
    return {each.style for each in strip.crop(region.x, region.right) if each.style is not None and each.text.strip()}


@pytest.mark.parametrize("theme", ["sealyard-dark", "sealyard-light", "ansi-dark"])
async def test_focus_is_visible(full_workspace: TuiWorkspace, theme: str) -> None:
    async with open_screen(full_workspace, "upload", theme=theme) as (app, pilot):
        async for name in visit_screens(app, pilot, LIST_SCREENS if theme == "sealyard-dark" else LIST_SCREENS[:1]):
            table = table_of(app)
            focused = cursor_styles(app, table)
            app.screen.set_focus(None)
            await wait_for_workers(pilot)
            assert cursor_styles(app, table) != focused, name
            await assert_visible(pilot, "▶")


def terminal_output(app: SealyardApp) -> str:
    """Return the terminal output of the whole screen."""
    rendered = []
    for strip in app.screen._compositor.render_strips():
        for each in app.get_line_filters():
            strip = strip.apply_filter(each, app.screen.background_colors[1])  # noqa: PLW2901 - the filters are chained
        rendered.append(strip.render(app.console))
    return "".join(rendered)


async def test_no_color_emits_no_colour(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_screen(workspace, "audit", size=(80, 24)) as (app, pilot):
        assert app.theme == "ansi-dark"
        async for name in visit_screens(app, pilot, SCREENS):
            assert COLOUR.findall(terminal_output(app)) == [], name
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await wait_for_workers(pilot)
        assert COLOUR.findall(terminal_output(app)) == [], "a dialog"


async def test_cursor_row_without_colour_is_reversed(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with open_screen(workspace, "audit") as (app, pilot):
        assert all(each.reverse for each in cursor_styles(app, table_of(app)))
        app.screen.set_focus(None)
        await wait_for_workers(pilot)
        assert not any(each.reverse for each in cursor_styles(app, table_of(app)))


async def test_default_theme_emits_colour(workspace: TuiWorkspace) -> None:
    """Verify that ``COLOUR`` matches, so that the tests without colour are meaningful."""
    async with open_screen(workspace, "audit", size=(80, 24)) as (app, _):
        assert COLOUR.findall(terminal_output(app))


# ---- copy, editor and pager


COPY_KEYS = {"dashboard": "y", "approvals": "y", "audit": "y", "devices": "c", "access": "c"}
"""By screen, the key that copies the most important value."""


async def test_copy_key_works_on_all_screens(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "upload") as (app, pilot):
        async for name in visit_screens(app, pilot, COPY_KEYS):
            app._clipboard = ""
            await pilot.press(COPY_KEYS[name])
            await wait_until(pilot, lambda: app.clipboard)
            await wait_until(pilot, lambda: "copied" in screen_text(app).lower())


async def test_mouse_can_be_disabled_at_run_time(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "dashboard") as (app, pilot):
        driver = app._driver
        assert driver is not None
        assert is_mouse_enabled(driver)
        await pilot.press("f3")
        assert not is_mouse_enabled(driver)
        await pilot.press("f3")
        assert is_mouse_enabled(driver)


async def test_editor_opens_for_multiline_text(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys, pathlib\np = pathlib.Path(sys.argv[1])\np.write_text(p.read_text() + ' and more')\n")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    monkeypatch.setattr(SealyardApp, "suspend", _no_terminal)
    async with open_screen(workspace, "approvals") as (app, pilot):
        await pilot.press("x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(*"some", "ctrl+e")
        await wait_until(pilot, lambda: app.screen.query_one(TextArea).text == "some and more")


async def test_pager_opens_for_json(workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGER", f"cp -t {tmp_path}")
    monkeypatch.setattr(SealyardApp, "suspend", _no_terminal)
    async with open_screen(workspace, "audit") as (app, pilot):
        newest = table_of(app).rows[0].seq
        await pilot.press("J", "e")
        await wait_until(pilot, (tmp_path / "text.json").exists)
        assert f'"seq": {newest}' in (tmp_path / "text.json").read_text()
        assert isinstance(app.screen, TextDialog)


def _no_terminal(_: SealyardApp) -> AbstractContextManager[None]:
    return nullcontext()


# ---- bulk actions


async def test_marked_range_supports_bulk_action(full_workspace: TuiWorkspace) -> None:
    async with open_screen(full_workspace, "approvals") as (app, pilot):
        table = table_of(app)
        await pilot.press("space", "j", "j", "v")
        assert len(table.marked_rows) == 4
        await assert_visible(pilot, "4 marked")
        await pilot.press("x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(*"all wrong", "ctrl+s")
        await wait_until(pilot, lambda: len(full_workspace.faults.calls_of("decide")) == 4)


async def test_approval_dialog_has_comment_field(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "approvals") as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await wait_until(pilot, lambda: "comment" in screen_text(app).lower())


# ---- updates and errors


async def test_refresh_key_resets_data_age(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "upload", refresh_interval=0.2) as (app, pilot):
        for name in ("dashboard", "approvals"):
            await pilot.press(SCREENS[name][0])
            await wait_until(pilot, lambda: "updated 0 s ago" in screen_text(app))
            workspace.clock.advance(seconds=7)
            await wait_until(pilot, lambda: "updated 7 s ago" in screen_text(app))
            await pilot.press("r")
            await wait_until(pilot, lambda: "updated 0 s ago" in screen_text(app))


async def test_background_failure_is_notified_on_other_screen(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "access", "developer") as (app, pilot):
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "✗ Failed: gateway 1.4.3" in screen_text(app))


READ_METHODS = {"dashboard": "tasks", "approvals": "tasks", "audit": "audit", "devices": "devices", "access": "access"}
"""By screen, the client method that loads it."""


async def test_read_errors_are_shown_in_dialog(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "upload") as (app, pilot):
        async for name in visit_screens(app, pilot, READ_METHODS):
            workspace.faults.fail[READ_METHODS[name]] = StorageError("The disk fails.", "Look at it.")
            await pilot.press("r")
            await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
            await wait_until(pilot, lambda: "The disk fails." in screen_text(app) and "Look at it." in screen_text(app))
            await pilot.press("c")
            assert "code: storage" in app.clipboard, name
            del workspace.faults.fail[READ_METHODS[name]]
            await pilot.press("escape")
            await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))
            await pilot.press("r")
            await wait_for_workers(pilot)
            assert isinstance(app.screen, BaseScreen), name


async def test_unexpected_exception_is_shown_in_dialog(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "audit") as (app, pilot):
        workspace.faults.fail["audit"] = ZeroDivisionError("oops")  # type: ignore[assignment]
        await workspace.add_task()
        await pilot.press("r")
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await wait_until(pilot, lambda: "ZeroDivisionError" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))


# ---- saved state


async def test_screen_and_filters_survive_restart(workspace: TuiWorkspace, tmp_path: Path) -> None:
    def make_app_with_state() -> SealyardApp:
        settings = Settings(bell=False, start_screen="last")
        preferences = Preferences(settings, UiStateFile(tmp_path / "memory.json"), environ={})
        session = Session(FakeConnection(workspace), PROFILES[0], PROFILES)
        return SealyardApp(session, settings, now=lambda: workspace.now, preferences=preferences)

    row_counts: dict[str, int] = {}
    async with run_app(app := make_app_with_state()) as pilot:
        async for name in visit_screens(app, pilot, LIST_SCREENS):
            await pilot.press("slash", *"gat", "enter")
            await wait_until(pilot, lambda name=name: app.appearance.screen_state(name).filter == "gat")  # type: ignore[misc]
            await wait_for_workers(pilot)
            row_counts[name] = len(table_of(app))
    async with run_app(app := make_app_with_state()) as pilot:
        assert app.current_mode == LIST_SCREENS[-1]
        async for name in visit_screens(app, pilot, LIST_SCREENS):
            assert app.screen.query_one(FilterBar).query_one(Input).value == "gat", name
            assert len(table_of(app)) == row_counts[name], name


# ---- terminal sizes


async def test_content_fits_80x24(full_workspace: TuiWorkspace) -> None:
    screen = Region(0, 0, 80, 24)
    async with open_screen(full_workspace, "audit", size=(80, 24)) as (app, pilot):
        async for name in visit_screens(app, pilot, SCREENS):
            assert app.screen.max_scroll_y == 0, name
            outside = [each for each in app.screen.children if each.display and not screen.contains_region(each.region)]
            assert outside == [], name
            lines = screen_text(app).splitlines()
            assert "1 Dashboard" in lines[0], name
            assert "6 Access" in lines[0], name
            assert "q Quit" in lines[-1], f"{name}: the key hints do not fit"


async def test_terminal_below_60x18_shows_notice_until_resize(full_workspace: TuiWorkspace) -> None:
    async with open_screen(full_workspace, "audit", size=(80, 24)) as (app, pilot):
        async for name in visit_screens(app, pilot, SCREENS):
            focused = app.focused
            before = screen_text(app).splitlines()
            for columns, lines in ((59, 24), (80, 17), (30, 8)):
                await pilot.resize_terminal(columns, lines)
                await wait_until(pilot, lambda: app.screen.query_one(TooSmall).display)
                await wait_for_workers(pilot)
                text = " ".join(screen_text(app).split())
                assert (
                    "Terminal too small Sealyard needs 60 columns and 18 lines; "
                    f"this terminal has {columns} and {lines}" in text
                )
            await pilot.resize_terminal(60, 18)
            await wait_until(pilot, lambda: not app.screen.query_one(TooSmall).display)
            await wait_for_workers(pilot)
            assert "too small" not in screen_text(app)
            await pilot.resize_terminal(80, 24)
            await wait_for_workers(pilot)
            assert app.focused is focused, name
            assert screen_text(app).splitlines()[:2] == before[:2], name


# ---- performance and suspend


async def test_large_table_draws_visible_rows_only(workspace: TuiWorkspace) -> None:
    drawn: list[int] = []

    def cells(row: int) -> tuple[str]:
        drawn.append(row)
        return (str(row),)

    async with open_screen(workspace, "audit", size=(80, 24)) as (app, pilot):
        table = VirtualTable[int]((Column(title="N", width=10),), cells, key=str)
        await app.screen.mount(table, before="#entries")
        table.replace(range(100_000))
        table.focus()
        await wait_for_workers(pilot)
        drawn.clear()
        await pilot.press("j")
        await pilot.pause()
        assert 0 < len(drawn) <= 4, "a move draws two rows"
        drawn.clear()
        await pilot.press("G")
        await pilot.pause()
        assert len(drawn) < 100
        assert table.cursor == 99_999


async def test_animations_are_off_and_ctrl_z_suspends(workspace: TuiWorkspace) -> None:
    async with open_screen(workspace, "dashboard") as (app, _):
        assert app.animation_level == "none"
        assert app.screen.active_bindings["ctrl+z"].binding.action == "suspend_process"


async def test_first_paint_precedes_engine_start(workspace: TuiWorkspace) -> None:
    gate = asyncio.Event()
    app = make_app(workspace, gate=gate)
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "Dashboard" in screen_text(app))
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        gate.set()
