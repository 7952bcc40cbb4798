"""What people who live in the terminal expect of such an application, habit by habit, on every place that has it."""

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
from tests.tui.workspace import ADMINISTRATOR, DEVELOPER, NOW, OWNER, TuiWorkspace

LISTS = ("dashboard", "approvals", "audit", "devices", "access")
"""The places that are a list."""

MANY = 40

MOVES = re.compile(
    r"(screen\.)?(move|page|scroll\w*|go_first|go_last|ends|half_page|page_up|page_down|section|up|enter_folder|step)"
    r"(\(.*\))?"
)
"""Actions that do nothing but move about."""

COLOUR = re.compile(r"\x1b\[[0-9;]*?(?<![0-9])(3[0-8]|4[0-8]|9[0-7]|10[0-7])(?![0-9])[0-9;]*m")
"""A control sequence that chooses a colour; 39 and 49 are the terminal's own."""


@pytest.fixture
async def workspace(workspace: TuiWorkspace) -> TuiWorkspace:
    """A workspace in which the administrator may do everything, so that one application can show all screens."""
    for config in ("gateway", "sensor"):
        for action in (Action.USE, Action.APPROVE):
            await workspace.add_rule(ADMINISTRATOR, f"DEVICE_CONFIG:{config}", action)
    return workspace


@pytest.fixture
async def full(workspace: TuiWorkspace) -> TuiWorkspace:
    """A workspace in which every list is longer than the screen."""
    await workspace.add_tasks(MANY)
    for number in range(MANY):
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
    return workspace


@asynccontextmanager
async def at(
    workspace: TuiWorkspace, place: str, who: str = "administrator", size: tuple[int, int] = (120, 40), **settings: Any
) -> AsyncIterator[tuple[SealyardApp, Pilot[None]]]:
    """The application with this place on top, and all of it read."""
    app = make_app(workspace, who, start_screen=place, **settings)
    async with run_app(app, size=size) as pilot:
        await wait_for_workers(pilot)
        yield app, pilot


async def each_of(app: SealyardApp, pilot: Pilot[None], places: Iterable[str]) -> AsyncIterator[str]:
    """Goes to one place after the other, by its key."""
    for place in places:
        await pilot.press(SCREENS[place][0])
        await wait_until(pilot, lambda place=place: app.current_mode == place)  # type: ignore[misc]
        await wait_for_workers(pilot)
        yield place


def table_of(app: SealyardApp) -> VirtualTable[Any]:
    return app.screen.query(VirtualTable).first()


# ---- moving


async def test_arrows_and_hjkl_g_G_ctrl_d_ctrl_u_home_end_move_in_every_list(  # noqa: N802 - the keys' names
    full: TuiWorkspace,
) -> None:
    async with at(full, "upload", size=(80, 24)) as (app, pilot):
        async for place in each_of(app, pilot, LISTS):
            table = table_of(app)
            assert app.focused is table, f"{place}: the list has the focus as soon as it is seen"
            assert table.cursor == 0
            for key, back in (("j", "k"), ("down", "up"), ("ctrl+d", "ctrl+u"), ("pagedown", "pageup")):
                await pilot.press(key)
                assert table.cursor > 0, (place, key)
                await pilot.press(back)
                assert table.cursor == 0, (place, back)
            for end, home in (("G", "g"), ("end", "home")):
                await pilot.press(end)
                await wait_until(pilot, lambda table=table: table.cursor == len(table) - 1)  # type: ignore[misc]
                await pilot.press(home)
                assert table.cursor == 0, (place, home)


def test_no_destructive_act_lies_on_a_vim_motion() -> None:
    on_motions = [
        (cls.__name__, binding.action)
        for cls in keymap_classes()
        for binding in Binding.make_bindings(vars(cls).get("BINDINGS", ()))
        if binding.key in (*NAVIGATION_KEYS, "ctrl+k", "ctrl+j", "ctrl+h", "ctrl+l")
    ]
    assert on_motions, "motions are bound at all"
    assert [each for each in on_motions if not MOVES.fullmatch(each[1])] == []


async def test_number_jumps_to_each_place(workspace: TuiWorkspace) -> None:
    async with at(workspace, "audit") as (app, pilot):
        for place in (*SCREENS, *reversed(SCREENS)):
            await pilot.press(SCREENS[place][0])
            await wait_until(pilot, lambda place=place: app.current_mode == place)  # type: ignore[misc]


# ---- narrowing


async def test_slash_filters_in_place_with_a_count_and_escape_clears_it_on_every_list(full: TuiWorkspace) -> None:
    async with at(full, "upload") as (app, pilot):
        async for place in each_of(app, pilot, LISTS):
            table = table_of(app)
            before = len(table)
            screen = app.screen
            await pilot.press("slash", *"zzz")
            await wait_until(pilot, lambda table=table: len(table) == 0)  # type: ignore[misc]
            await wait_for_workers(pilot)
            assert app.screen is screen, place
            assert re.search(r"\b0\b", str(screen.query_one(".count", Static).render())), f"{place}: no count"
            await pilot.press("escape")
            await wait_until(pilot, lambda table=table, before=before: len(table) == before)  # type: ignore[misc]
            assert app.focused is table, place
            assert not screen.query_one(FilterBar).has_class("-shown"), place


# ---- finding one's way


async def test_question_mark_says_what_four_eyes_means_and_who_holds_a_workspace_that_is_read_only(
    workspace: TuiWorkspace,
) -> None:
    locked = WorkspaceLockedError("Another process has the workspace locked for writing.", "It is \x1b[31m pid 7.")
    connection = FakeConnection(workspace, read_only=True, lock_error=locked)
    async with at(workspace, "dashboard", size=(80, 24), connection=connection) as (app, pilot):
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await assert_visible(
            pilot,
            "Separation of duties: not enforced (embedded",
            "Read only: Another process has the workspace locked",
            r"\x1b[31m pid 7",
        )


async def test_question_mark_explains_the_keys_of_the_place(workspace: TuiWorkspace) -> None:
    async with at(workspace, "audit") as (app, pilot):
        async for place in each_of(app, pilot, SCREENS):
            await pilot.press("question_mark")
            await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
            await wait_until(pilot, lambda place=place: f"Help: {SCREENS[place][1]}" in screen_text(app))  # type: ignore[misc]
            assert app.screen.query(".about"), f"{place}: what it is for"
            await pilot.press("escape")
            await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))


@pytest.mark.parametrize("key", ["ctrl+p", "colon"])
async def test_palette_reaches_everything(workspace: TuiWorkspace, key: str) -> None:
    async with at(workspace, "devices") as (app, pilot):
        await pilot.press(key)
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await pilot.press(*"Approvals")
        await wait_until(pilot, lambda: "Approvals  3" in screen_text(app))
        await pilot.press("enter")
        await wait_until(pilot, lambda: app.current_mode == "approvals")


# ---- back and out


async def test_escape_backs_out_one_level_and_loses_no_typed_text(full: TuiWorkspace) -> None:
    async with at(full, "approvals") as (app, pilot):
        table = table_of(app)
        everything = len(table)
        await pilot.press("slash", *"copy 0001", "enter")
        await wait_until(pilot, lambda: 0 < len(table) < everything)
        narrowed = len(table)
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
        assert len(table) == narrowed
        await pilot.press("escape")
        await wait_until(pilot, lambda: len(table) == everything)


async def test_q_quits_at_once_where_nothing_runs_and_asks_where_something_does(workspace: TuiWorkspace) -> None:
    async with at(workspace, "audit") as (app, pilot):
        await pilot.press("q")
        await wait_until(pilot, lambda: isinstance(app.screen, ConfirmDialog))
        await pilot.press("escape")
        await wait_until(pilot, lambda: not app.screen.is_modal)
        await workspace.cancel(workspace.task("t-queued"), DEVELOPER)
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: not app.state.running)
        await pilot.press("q")
        await wait_until(pilot, lambda: not app.is_running)


@pytest.mark.parametrize(("key", "answer"), [("y", True), ("enter", True), ("n", False), ("escape", False)])
async def test_confirming_works_by_y_and_n_and_by_enter_and_escape(
    workspace: TuiWorkspace, key: str, answer: bool
) -> None:
    async with at(workspace, "audit") as (app, pilot):
        answers: list[bool | None] = []
        app.push_screen(ConfirmDialog("Sure", "Really?"), answers.append)
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(key)
        await wait_until(pilot, lambda: answers == [answer])


async def test_the_dangerous_one_wants_a_word_typed_and_enter_alone_does_nothing(workspace: TuiWorkspace) -> None:
    async with at(workspace, "approvals") as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press("enter", "enter")
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("decide") == []
        assert app.screen.is_modal


# ---- keys of one's own


async def test_keys_can_be_remapped_and_clashes_are_reported(workspace: TuiWorkspace) -> None:
    async with at(workspace, "audit", keymap={"audit.verify": "f9", "audit.export": "f9", "audit.no": "z"}) as (
        app,
        pilot,
    ):
        await pilot.press("exclamation_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, TextDialog))
        seen = screen_text(app)
        assert "f9" in seen
        assert "audit.no" in seen
        await pilot.press("escape", "f9")
        await wait_until(pilot, lambda: "Verify the audit log" in screen_text(app))


# ---- who, where, and what may be done


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_identity_is_always_visible(workspace: TuiWorkspace, size: tuple[int, int]) -> None:
    async with at(workspace, "audit", size=size) as (app, pilot):
        async for place in each_of(app, pilot, SCREENS):
            line = screen_text(app).splitlines()[1]
            for words in ("administrator", "demo DEMO", "ready", "no separation of duties"):
                assert words in line, (place, words)


CHANGES = {
    "dashboard": ("withdraw", "cancel", "renew", "new"),
    "approvals": ("approve", "reject"),
    "devices": ("create", "next_version", "rotate", "export"),
    "access": ("add_subject", "add_rule", "add_member", "remove"),
}
"""By place, the actions that change something."""


async def test_read_only_hides_what_would_change_something(workspace: TuiWorkspace) -> None:
    async with at(workspace, "upload") as (app, pilot):
        async for place in each_of(app, pilot, CHANGES):
            assert actions(app) & set(CHANGES[place]), f"{place}: there is something to hide"
    async with at(workspace, "upload", connection=FakeConnection(workspace, read_only=True)) as (app, pilot):
        async for place in each_of(app, pilot, CHANGES):
            await assert_visible(pilot, "read only")
            assert actions(app) & set(CHANGES[place]) == set(), place


def actions(app: SealyardApp) -> set[str]:
    return {each.binding.action for each in app.screen.active_bindings.values()}


# ---- seeing


def test_status_is_told_apart_without_colour() -> None:
    badges = [status_badge(each).plain for each in TaskStatus]
    assert all(each.value in badge for each, badge in zip(TaskStatus, badges, strict=True))
    assert len({badge.split()[0] for badge in badges}) == len(TaskStatus), "each has a sign of its own too"
    assert all(each.value in change_badge(each).plain for each in AuditAction)
    for state in ResultState:
        assert state.value in result_badge(result(state), NOW).plain


@pytest.mark.parametrize("theme", ["sealyard-light", "ansi-light", "ansi-dark"])
async def test_light_terminals_and_the_terminals_own_palette_have_a_theme(workspace: TuiWorkspace, theme: str) -> None:
    async with at(workspace, "dashboard", theme=theme) as (app, _):
        assert app.theme == theme
        assert app.current_theme.dark is (theme == "ansi-dark")
        assert theme in BUILTIN_THEMES or theme.startswith("sealyard")


def cursor_styles(app: SealyardApp, table: VirtualTable[Any]) -> set[Style]:
    """Those on the line of the cursor, as they are drawn."""
    region: Region = table.region_of_cursor().translate(table.content_region.offset)
    strip = app.screen._compositor.render_strips()[region.y]
    return {each.style for each in strip.crop(region.x, region.right) if each.style is not None and each.text.strip()}


@pytest.mark.parametrize("theme", ["sealyard-dark", "sealyard-light", "ansi-dark"])
async def test_focus_is_visible(full: TuiWorkspace, theme: str) -> None:
    async with at(full, "upload", theme=theme) as (app, pilot):
        async for place in each_of(app, pilot, LISTS if theme == "sealyard-dark" else LISTS[:1]):
            table = table_of(app)
            focused = cursor_styles(app, table)
            app.screen.set_focus(None)
            await wait_for_workers(pilot)
            assert cursor_styles(app, table) != focused, place
            await assert_visible(pilot, "▶")


def emitted(app: SealyardApp) -> str:
    """What would be sent to the terminal for the whole screen."""
    sent = []
    for strip in app.screen._compositor.render_strips():
        for each in app.get_line_filters():
            strip = strip.apply_filter(each, app.screen.background_colors[1])  # noqa: PLW2901 - one after the other
        sent.append(strip.render(app.console))
    return "".join(sent)


async def test_no_color_emits_no_colour_at_all(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with at(workspace, "audit", size=(80, 24)) as (app, pilot):
        assert app.theme == "ansi-dark"
        async for place in each_of(app, pilot, SCREENS):
            assert COLOUR.findall(emitted(app)) == [], place
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        await wait_for_workers(pilot)
        assert COLOUR.findall(emitted(app)) == [], "a dialog"


async def test_without_colour_the_row_one_is_on_is_reversed(
    workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    async with at(workspace, "audit") as (app, pilot):
        assert all(each.reverse for each in cursor_styles(app, table_of(app)))
        app.screen.set_focus(None)
        await wait_for_workers(pilot)
        assert not any(each.reverse for each in cursor_styles(app, table_of(app)))


async def test_with_colour_the_same_look_finds_some(workspace: TuiWorkspace) -> None:
    """So that the test above cannot pass by looking wrongly."""
    async with at(workspace, "audit", size=(80, 24)) as (app, _):
        assert COLOUR.findall(emitted(app))


# ---- taking along


COPIES = {"dashboard": "y", "approvals": "y", "audit": "y", "devices": "c", "access": "c"}
"""By place, the key that copies what one wants most."""


async def test_copy_works_with_one_key(workspace: TuiWorkspace) -> None:
    async with at(workspace, "upload") as (app, pilot):
        async for place in each_of(app, pilot, COPIES):
            app._clipboard = ""
            await pilot.press(COPIES[place])
            await wait_until(pilot, lambda: app.clipboard)
            await wait_until(pilot, lambda: "copied" in screen_text(app).lower())


async def test_mouse_can_be_turned_off_while_running(workspace: TuiWorkspace) -> None:
    async with at(workspace, "dashboard") as (app, pilot):
        driver = app._driver
        assert driver is not None
        assert is_mouse_enabled(driver)
        await pilot.press("f3")
        assert not is_mouse_enabled(driver)
        await pilot.press("f3")
        assert is_mouse_enabled(driver)


async def test_editor_opens_for_what_is_longer_than_a_line(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor = tmp_path / "editor.py"
    editor.write_text("import sys, pathlib\np = pathlib.Path(sys.argv[1])\np.write_text(p.read_text() + ' and more')\n")
    monkeypatch.setenv("EDITOR", f"{sys.executable} {editor}")
    monkeypatch.setattr(SealyardApp, "suspend", _no_terminal)
    async with at(workspace, "approvals") as (app, pilot):
        await pilot.press("x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(*"some", "ctrl+e")
        await wait_until(pilot, lambda: app.screen.query_one(TextArea).text == "some and more")


async def test_pager_opens_for_a_record(
    workspace: TuiWorkspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", f"cp -t {tmp_path}")
    monkeypatch.setattr(SealyardApp, "suspend", _no_terminal)
    async with at(workspace, "audit") as (app, pilot):
        newest = table_of(app).rows[0].seq
        await pilot.press("J", "e")
        await wait_until(pilot, (tmp_path / "text.json").exists)
        assert f'"seq": {newest}' in (tmp_path / "text.json").read_text()
        assert isinstance(app.screen, TextDialog)


def _no_terminal(_: SealyardApp) -> AbstractContextManager[None]:
    return nullcontext()


# ---- several at once


async def test_marks_and_ranges_with_bulk_action_and_count(full: TuiWorkspace) -> None:
    async with at(full, "approvals") as (app, pilot):
        table = table_of(app)
        await pilot.press("space", "j", "j", "v")
        assert len(table.marked_rows) == 4
        await assert_visible(pilot, "4 marked")
        await pilot.press("x")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await pilot.press(*"all wrong", "ctrl+s")
        await wait_until(pilot, lambda: len(full.faults.calls_of("decide")) == 4)


async def test_an_approval_may_carry_a_comment(workspace: TuiWorkspace) -> None:
    async with at(workspace, "approvals") as (app, pilot):
        await pilot.press("A")
        await wait_until(pilot, lambda: app.screen.is_modal)
        await wait_until(pilot, lambda: "comment" in screen_text(app).lower())


# ---- freshness and news


async def test_refresh_key_and_age_of_what_is_seen(workspace: TuiWorkspace) -> None:
    async with at(workspace, "upload", refresh_interval=0.2) as (app, pilot):
        for place in ("dashboard", "approvals"):
            await pilot.press(SCREENS[place][0])
            await wait_until(pilot, lambda: "updated 0 s ago" in screen_text(app))
            workspace.clock.advance(seconds=7)
            await wait_until(pilot, lambda: "updated 7 s ago" in screen_text(app))
            await pilot.press("r")
            await wait_until(pilot, lambda: "updated 0 s ago" in screen_text(app))


async def test_what_ends_in_the_background_is_told_on_any_place(workspace: TuiWorkspace) -> None:
    async with at(workspace, "access", "developer") as (app, pilot):
        await workspace.fail("t-running")
        await wait_until(pilot, lambda: "gateway 1.4.3 ✗ failed" in screen_text(app))


READS = {"dashboard": "tasks", "approvals": "tasks", "audit": "audit", "devices": "devices", "access": "access"}
"""By place, what is asked of the client."""


async def test_errors_are_shown_in_a_dialog_and_the_application_survives(workspace: TuiWorkspace) -> None:
    async with at(workspace, "upload") as (app, pilot):
        async for place in each_of(app, pilot, READS):
            workspace.faults.fail[READS[place]] = StorageError("The disk fails.", "Look at it.")
            await pilot.press("r")
            await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
            await wait_until(pilot, lambda: "The disk fails." in screen_text(app) and "Look at it." in screen_text(app))
            await pilot.press("c")
            assert "code: storage" in app.clipboard, place
            del workspace.faults.fail[READS[place]]
            await pilot.press("escape")
            await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))
            await pilot.press("r")
            await wait_for_workers(pilot)
            assert isinstance(app.screen, BaseScreen), place


async def test_a_fault_of_ours_ends_nothing_either(workspace: TuiWorkspace) -> None:
    async with at(workspace, "audit") as (app, pilot):
        workspace.faults.fail["audit"] = ZeroDivisionError("oops")  # type: ignore[assignment]
        await workspace.add_task()
        await pilot.press("r")
        await wait_until(pilot, lambda: isinstance(app.screen, ErrorDialog))
        await wait_until(pilot, lambda: "ZeroDivisionError" in screen_text(app))
        await pilot.press("escape")
        await wait_until(pilot, lambda: isinstance(app.screen, BaseScreen))


# ---- what stays


async def test_view_sort_and_filter_are_remembered(workspace: TuiWorkspace, tmp_path: Path) -> None:
    def remembering() -> SealyardApp:
        settings = Settings(bell=False, start_screen="last")
        preferences = Preferences(settings, UiStateFile(tmp_path / "memory.json"), environ={})
        session = Session(FakeConnection(workspace), PROFILES[0], PROFILES)
        return SealyardApp(session, settings, now=lambda: workspace.now, preferences=preferences)

    seen: dict[str, int] = {}
    async with run_app(app := remembering()) as pilot:
        async for place in each_of(app, pilot, LISTS):
            await pilot.press("slash", *"gat", "enter")
            await wait_until(pilot, lambda place=place: app.appearance.screen_state(place).filter == "gat")  # type: ignore[misc]
            await wait_for_workers(pilot)
            seen[place] = len(table_of(app))
    async with run_app(app := remembering()) as pilot:
        assert app.current_mode == LISTS[-1]
        async for place in each_of(app, pilot, LISTS):
            assert app.screen.query_one(FilterBar).query_one(Input).value == "gat", place
            assert len(table_of(app)) == seen[place], place


# ---- sizes


async def test_80x24_shows_all(full: TuiWorkspace) -> None:
    screen = Region(0, 0, 80, 24)
    async with at(full, "audit", size=(80, 24)) as (app, pilot):
        async for place in each_of(app, pilot, SCREENS):
            assert app.screen.max_scroll_y == 0, place
            outside = [each for each in app.screen.children if each.display and not screen.contains_region(each.region)]
            assert outside == [], place
            lines = screen_text(app).splitlines()
            assert "1 Dashboard" in lines[0], place
            assert "6 Access" in lines[0], place
            assert "q Quit" in lines[-1], f"{place}: the keys that are shown do not fit"


async def test_smaller_than_60x18_degrades_with_a_clear_notice_and_comes_back_as_it_was(full: TuiWorkspace) -> None:
    async with at(full, "audit", size=(80, 24)) as (app, pilot):
        async for place in each_of(app, pilot, SCREENS):
            focused = app.focused
            before = screen_text(app).splitlines()
            for columns, lines in ((59, 24), (80, 17), (30, 8)):
                await pilot.resize_terminal(columns, lines)
                await wait_until(pilot, lambda: app.screen.query_one(TooSmall).display)
                await wait_for_workers(pilot)
                seen = " ".join(screen_text(app).split())
                assert (
                    "Terminal too small Sealyard needs 60 columns and 18 lines; "
                    f"this terminal has {columns} and {lines}" in seen
                )
            await pilot.resize_terminal(60, 18)
            await wait_until(pilot, lambda: not app.screen.query_one(TooSmall).display)
            await wait_for_workers(pilot)
            assert "too small" not in screen_text(app)
            await pilot.resize_terminal(80, 24)
            await wait_for_workers(pilot)
            assert app.focused is focused, place
            assert screen_text(app).splitlines()[:2] == before[:2], place


# ---- speed and the terminal


async def test_a_big_list_draws_what_is_seen_and_no_more(workspace: TuiWorkspace) -> None:
    drawn: list[int] = []

    def cells(row: int) -> tuple[str]:
        drawn.append(row)
        return (str(row),)

    async with at(workspace, "audit", size=(80, 24)) as (app, pilot):
        table = VirtualTable[int]((Column(title="N", width=10),), cells, key=str)
        await app.screen.mount(table, before="#entries")
        table.replace(range(100_000))
        table.focus()
        await wait_for_workers(pilot)
        drawn.clear()
        await pilot.press("j")
        await pilot.pause()
        assert 0 < len(drawn) <= 4, "a move draws the two lines it changes"
        drawn.clear()
        await pilot.press("G")
        await pilot.pause()
        assert len(drawn) < 100
        assert table.cursor == 99_999


async def test_nothing_moves_by_itself_and_ctrl_z_suspends(workspace: TuiWorkspace) -> None:
    async with at(workspace, "dashboard") as (app, _):
        assert app.animation_level == "none"
        assert app.screen.active_bindings["ctrl+z"].binding.action == "suspend_process"


async def test_the_first_paint_does_not_wait_for_the_engine(workspace: TuiWorkspace) -> None:
    gate = asyncio.Event()
    app = make_app(workspace, gate=gate)
    async with run_app(app) as pilot:
        await wait_until(pilot, lambda: "Dashboard" in screen_text(app))
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        gate.set()
