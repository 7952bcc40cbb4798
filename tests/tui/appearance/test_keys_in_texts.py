"""Texts name the keys of the key map in force, here one that changes every action that a text names."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from textual.pilot import Pilot

from sealyard_tui.action_keys import DEFAULT_KEYS, action_keys
from sealyard_tui.app import SealyardApp, keymap_classes
from sealyard_tui.appearance.keymap import bindings_of, check_keymap
from sealyard_tui.dialogs.confirm import TypedConfirmDialog
from sealyard_tui.dialogs.help import HelpScreen
from sealyard_tui.screens.base import SCREENS
from sealyard_tui.screens.dashboard.downloads_dialog import DownloadsDialog
from sealyard_tui.screens.upload.file_browser import FileBrowser
from tests.support.extent import choose_pairs
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace

LETTERS = [
    chr(code) for code in (*range(0x3B1, 0x3C2), *range(0x3C3, 0x3CA), *range(0x430, 0x450), *range(0x561, 0x587))
]
KEYMAP = dict(zip(DEFAULT_KEYS, LETTERS, strict=False))

LABELS = "|".join(label for _, label in SCREENS.values())
NAMED_KEY = re.compile(
    rf"[Pp]ress (?!the )(\S+)|\((\S|esc|\^\w|enter|tab|space|f\d+)[:)]|(?:^|\s)([^\s│]) (?:{LABELS})\b"
)


def find_unchanged_keys(text: str) -> list[str]:
    """Return the keys that ``text`` names and that are not in the key map of these tests."""
    keys = {key for match in NAMED_KEY.findall(text) for key in match if key}
    return sorted(key for key in keys if key.rstrip(".,:;") not in LETTERS)


def app_with_keymap(workspace: TuiWorkspace, profile: str = "developer", screen: str = "dashboard") -> SealyardApp:
    return make_app(workspace, profile, keymap=KEYMAP, start_screen=screen)


async def apply_filter_without_match(pilot: Pilot[None]) -> None:
    await pilot.press(KEYMAP["screen.filter"])
    await pilot.press(*"zzz", "enter")
    await wait_for_workers(pilot)


def test_keymap_changes_every_named_action() -> None:
    assert set(KEYMAP) == set(DEFAULT_KEYS)
    keymap, errors = check_keymap(KEYMAP, bindings_of(keymap_classes()))
    assert (len(keymap), errors) == (len(DEFAULT_KEYS), ())


@pytest.mark.parametrize(
    ("text", "keys"),
    [("Press α to", []), ("Press n to", ["n"]), ("Back (esc)", ["esc"]), ("1 Dashboard", ["1"]), ("α Dashboard", [])],
)
def test_check_finds_keys(text: str, keys: list[str]) -> None:
    assert find_unchanged_keys(text) == keys


@pytest.mark.parametrize(("screen", "profile"), choose_pairs(list(SCREENS), ["developer", "administrator"]))
async def test_screens_and_their_help_name_changed_keys(workspace: TuiWorkspace, profile: str, screen: str) -> None:
    app = app_with_keymap(workspace, profile, screen)
    async with run_app(app, size=(160, 60)) as pilot:
        assert find_unchanged_keys(screen_text(app)) == []
        await pilot.press("question_mark")
        await wait_until(pilot, lambda: isinstance(app.screen, HelpScreen))
        assert find_unchanged_keys(screen_text(app)) == []


@pytest.mark.parametrize("screen", SCREENS)
async def test_empty_lists_name_changed_keys(empty_workspace: TuiWorkspace, screen: str) -> None:
    app = app_with_keymap(empty_workspace, "administrator", screen)
    async with run_app(app, size=(160, 40)) as pilot:
        assert find_unchanged_keys(screen_text(app)) == []
        if screen != "upload":
            await apply_filter_without_match(pilot)
            await assert_visible(pilot, f"Press {action_keys(app)['screen.back']} to clear it")
            assert find_unchanged_keys(screen_text(app)) == []


@pytest.mark.parametrize(
    ("screen", "create_dialog", "actions"),
    [
        ("dashboard", DownloadsDialog, ["dashboard.download"]),
        ("upload", FileBrowser, ["table.open", "table.mark", "browser.hidden"]),
    ],
)
async def test_dialogs_name_changed_keys(
    workspace: TuiWorkspace, screen: str, create_dialog: Callable[[], DownloadsDialog | FileBrowser], actions: list[str]
) -> None:
    app = app_with_keymap(workspace, screen=screen)
    async with run_app(app) as pilot:
        app.push_screen(create_dialog())
        await wait_for_workers(pilot)
        await assert_visible(pilot, *(KEYMAP[action] for action in actions))


async def test_forms_name_changed_keys(workspace: TuiWorkspace) -> None:
    app = app_with_keymap(workspace, "administrator", "access")
    async with run_app(app) as pilot:
        await pilot.press(KEYMAP["access.add_rule"])
        await assert_visible(
            pilot,
            f"Grant ({KEYMAP['form.submit']})",
            f"Back ({KEYMAP['dialog.back']})",
            f"{KEYMAP['form.choose']}: choose from list",
        )


async def test_typed_confirmation_names_the_changed_key(workspace: TuiWorkspace) -> None:
    app = app_with_keymap(workspace)
    async with run_app(app) as pilot:
        app.push_screen(TypedConfirmDialog("Approve", "About", "gateway"))
        await pilot.press("x", "enter")
        await assert_visible(pilot, f"Press {KEYMAP['dialog.back']} to cancel")


async def test_notification_about_ignored_settings_names_the_changed_key(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, keymap={"app.ignored_settings": "f9", "app.nothing": "x"})
    async with run_app(app) as pilot:
        await assert_visible(pilot, "press f9")


async def test_small_terminal_names_the_changed_key(workspace: TuiWorkspace) -> None:
    app = app_with_keymap(workspace)
    async with run_app(app, size=(50, 15)) as pilot:
        await assert_visible(pilot, f"Press {KEYMAP['app.quit']} to quit")


async def test_ctrl_c_names_the_key_that_quits(workspace: TuiWorkspace) -> None:
    app = app_with_keymap(workspace)
    async with run_app(app) as pilot:
        await pilot.press("ctrl+c")
        await assert_visible(pilot, f"Press {KEYMAP['app.quit']} to quit.")
