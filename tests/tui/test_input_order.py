"""Tests of keys that arrive in one burst, and of input to a terminal that is too small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from textual import events
from textual.command import CommandPalette
from textual.geometry import Size
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard.model.tasks import TaskStatus
from sealyard_tui.app import SealyardApp
from sealyard_tui.dialogs.form import FormDialog
from sealyard_tui.dialogs.quit import QuitDialog
from sealyard_tui.screens.approvals.dialogs import ApproveDialog
from sealyard_tui.screens.upload.screen import UploadScreen
from sealyard_tui.session.messages import ConnectionMode
from tests.tui.approvals_helpers import open_queue
from tests.tui.connection import FakeConnection
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


def press_in_burst(app: SealyardApp, *keys: str) -> None:
    """Post all keys before the application handles the first one. Texts with a leading space are typed."""
    for key in keys:
        for name in map(_character_to_key, key[1:]) if key.startswith(" ") else (key,):
            character = next((each for each in key[1:] if _character_to_key(each) == name), None)
            app.post_message(events.Key(name, character if key.startswith(" ") else (key if len(key) == 1 else None)))


# ---- bursts


async def test_burst_reaches_dialog_that_its_first_key_opens(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        press_in_burst(app, "n", " maria", "tab", " Maria M.", "ctrl+s")
        await wait_until(pilot, lambda: workspace.engine.permissions.contains("USER:maria"))
        await wait_for_workers(pilot)
        assert workspace.faults.calls_of("add_subject") == [("USER:maria", "Maria M.")]


async def test_burst_reaches_dialog_that_loads_data_first(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        press_in_burst(app, "P", "2")
        await wait_until(pilot, lambda: app.state.identity == "USER:auditor")
        assert app.current_mode == "access"


async def test_tab_in_burst_moves_to_next_field(workspace: TuiWorkspace) -> None:
    async with open_queue(workspace) as (app, pilot):
        press_in_burst(app, "A", " gate", "tab", " half a comment")
        await wait_until(pilot, lambda: isinstance(app.screen, ApproveDialog) and app.screen.comment)
        await assert_visible(pilot, "half a comment")
        assert app.screen.query_one("#word", Input).value == "gate"
        ApproveDialog.comments.clear()


async def test_burst_removes_one_file_for_each_key(workspace: TuiWorkspace, tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.bin" for number in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    async with run_app(app := make_app(workspace, start_screen="upload")) as pilot:
        await wait_until(pilot, lambda: isinstance(app.screen, UploadScreen))
        screen = app.screen
        assert isinstance(screen, UploadScreen)
        screen.add_paths(tuple(paths))
        await wait_until(pilot, lambda: not any(entry.is_pending for entry in screen.form.entries))
        screen.set_focus(screen.query("VirtualTable").first())
        press_in_burst(app, "x", "x", "x")
        await wait_until(pilot, lambda: len(screen.form.entries) == 1)


async def test_long_typed_text_is_complete(workspace: TuiWorkspace) -> None:
    text = "USER:" + "abcdefghij" * 20
    async with run_app(app := make_app(workspace, "administrator", start_screen="access")) as pilot:
        press_in_burst(app, "n", f" {text}", "escape")
        await wait_until(pilot, lambda: not isinstance(app.screen, FormDialog))
        await pilot.press("n")
        await wait_until(pilot, lambda: isinstance(app.focused, Input))
        assert isinstance(app.focused, Input)
        assert app.focused.value == text


# ---- too small


async def make_small(app: SealyardApp, pilot: Pilot[None], width: int = 50, height: int = 15) -> None:
    await pilot.resize_terminal(width, height)
    await wait_until(pilot, lambda: app.size == Size(width, height))
    await assert_visible(pilot, "Terminal too small")


@pytest.mark.parametrize("keys", [("w",), ("2",), ("x", "y"), ("n",), ("ctrl+p",), ("colon",), ("slash",)])
async def test_keys_do_nothing_behind_the_notice(workspace: TuiWorkspace, keys: Sequence[str]) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await make_small(app, pilot)
        screen = app.screen
        await pilot.press(*keys)
        assert app.screen is screen
        assert app.current_mode == "dashboard"
        await assert_visible(pilot, "Terminal too small")
        assert workspace.task("t-waiting").status is TaskStatus.WAITING


async def test_mouse_and_paste_do_nothing_behind_the_notice(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await pilot.press("slash")
        await make_small(app, pilot)
        app.post_message(events.Paste("status:failed"))
        await pilot.click(offset=(14, 0))
        await pilot.pause()
        assert app.current_mode == "dashboard"
        await pilot.resize_terminal(120, 40)
        await assert_visible(pilot, "gateway 1.5.0")
        assert "status:failed" not in screen_text(app)


async def test_dialog_is_covered_in_tiny_terminal(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await pilot.press("x")
        await assert_visible(pilot, "This cannot be undone")
        await make_small(app, pilot, 60, 12)
        await pilot.press("y", "escape")
        assert workspace.task("t-waiting").status is TaskStatus.WAITING
        await pilot.resize_terminal(120, 40)
        await assert_visible(pilot, "This cannot be undone")


async def test_palette_closes_when_terminal_becomes_too_small(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await pilot.press("ctrl+p")
        await wait_until(pilot, lambda: isinstance(app.screen, CommandPalette))
        await make_small(app, pilot)
        assert not isinstance(app.screen, CommandPalette)


async def test_quit_asks_in_tiny_terminal(workspace: TuiWorkspace) -> None:
    async with run_app(app := make_app(workspace)) as pilot:
        await make_small(app, pilot, 40, 10)
        await pilot.press("q")
        await wait_until(pilot, lambda: isinstance(app.screen, QuitDialog))
        await assert_visible(pilot, "Running tasks")
        await pilot.press("n")
        await assert_visible(pilot, "Terminal too small")
        await pilot.press("q", "y")
        await wait_until(pilot, lambda: not app.is_running)


# ---- keys without an effect


@pytest.mark.parametrize(
    ("profile", "screen", "key", "text"),
    [
        ("owner", "approvals", "a", "Press A: Approve"),
        ("developer", "dashboard", "e", "This link has not expired."),
        ("developer", "dashboard", "W", "Press w: Withdraw"),
        ("administrator", "access", "x", "Only rules and members of groups can be removed"),
        ("auditor", "access", "n", "Add: not available to you here"),
    ],
)
async def test_key_without_effect_says_why(
    workspace: TuiWorkspace, profile: str, screen: str, key: str, text: str
) -> None:
    async with run_app(app := make_app(workspace, profile, start_screen=screen)) as pilot:
        await wait_until(pilot, lambda: app.screen.loaded_at is not None)  # type: ignore[attr-defined]
        await pilot.press(key)
        await assert_visible(pilot, text)


async def test_key_in_read_only_workspace_says_why(workspace: TuiWorkspace) -> None:
    connection = FakeConnection(workspace, mode=ConnectionMode.READ_ONLY, read_only=True)
    async with run_app(make_app(workspace, connection=connection)) as pilot:
        await pilot.press("w")
        await assert_visible(pilot, "Withdraw: the workspace is read-only")
