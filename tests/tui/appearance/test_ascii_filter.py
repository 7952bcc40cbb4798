"""Test ASCII signs and lines, and when they are used."""

from __future__ import annotations

from pathlib import Path
from unicodedata import category

import pytest
from rich.cells import cell_len

import sealyard
import sealyard_tui
from sealyard.model.ascii_signs import ASCII_TABLE, has_unicode_locale
from sealyard_tui.screens.base import SCREENS
from tests.support.extent import choose_pairs
from tests.tui.pilot_helpers import assert_visible, make_app, run_app, screen_text
from tests.tui.workspace import TuiWorkspace


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "POSIX"}, False),
        ({"LANG": "de_DE"}, False),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.utf8@euro"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "C", "LC_CTYPE": "en_US.UTF-8"}, True),
    ],
)
def test_locale_decides_about_ascii(environ: dict[str, str], expected: bool) -> None:
    assert has_unicode_locale(environ) is expected


def test_replacements_are_ascii_and_keep_the_width() -> None:
    assert all(text.isascii() and len(text) == 1 for text in ASCII_TABLE.values())
    assert all(cell_len(chr(code)) == 1 for code in ASCII_TABLE)


@pytest.mark.parametrize("folder", [Path(sealyard_tui.__file__).parent, Path(sealyard.__file__).parent / "cli"])
def test_every_sign_has_a_replacement(folder: Path) -> None:
    signs = {
        char
        for source in folder.rglob("*.py")
        for char in source.read_text()
        if not char.isascii() and category(char)[0] == "S"
    }
    assert signs - {chr(code) for code in ASCII_TABLE} <= {"\ufffd"}


@pytest.mark.parametrize(("screen", "profile"), choose_pairs(list(SCREENS), ["developer", "auditor"]))
async def test_screens_are_ascii(workspace: TuiWorkspace, profile: str, screen: str) -> None:
    app = make_app(workspace, profile, start_screen=screen, symbols="ascii")
    async with run_app(app, size=(120, 40)):
        text = screen_text(app)
        assert text.isascii(), {char for char in text if not char.isascii()}


async def test_sorted_column_and_progress_are_ascii(workspace: TuiWorkspace) -> None:
    app = make_app(workspace, symbols="ascii")
    async with run_app(app, size=(120, 40)) as pilot:
        await assert_visible(pilot, "AGE^", "#")
        await pilot.press("o", "1", "escape")
        await assert_visible(pilot, "STATUS^")
        await pilot.press("o", "1", "escape")
        await assert_visible(pilot, "STATUSv")
        assert screen_text(app).isascii()


async def test_screens_are_unicode_in_utf8_locale(workspace: TuiWorkspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    app = make_app(workspace)
    async with run_app(app):
        assert "◔ WAITING" in screen_text(app)
    monkeypatch.setenv("LC_ALL", "C")
    app = make_app(workspace)
    async with run_app(app):
        assert "o WAITING" in screen_text(app)
