"""Tests of the file browser."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from sealyard_tui.app import SealyardApp
from sealyard_tui.screens.upload import file_browser
from sealyard_tui.screens.upload.file_browser import FileBrowser, Selection
from sealyard_tui.widgets.filter_bar import FilterBar
from sealyard_tui.widgets.virtual_table import VirtualTable
from tests.support.limits import TIMEOUT
from tests.tui.pilot_helpers import make_app, run_app, screen_text, wait_for_workers, wait_until
from tests.tui.workspace import TuiWorkspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "files"
    (root / "apps").mkdir(parents=True)
    for name, size in (("alpha.bin", 10), ("beta.bin", 2048), ("gamma.txt", 5), (".hidden", 1)):
        (root / name).write_bytes(b"x" * size)
    (root / "apps" / "inner.bin").write_bytes(b"y")
    os.utime(root / "beta.bin", (0, 1_000_000_000))
    return root


class BrowserSession:
    """An open file browser, and the results of its dialog."""

    def __init__(self, pilot: Pilot[None], browser: FileBrowser) -> None:
        self.pilot = pilot
        self.browser = browser
        self.answers: list[Selection | None] = []

    @property
    def names(self) -> list[str]:
        return [each.name for each in self.browser.query_one("#entries", VirtualTable).rows]

    @property
    def chosen(self) -> list[str]:
        (answer,) = self.answers
        return [each.name for each in answer.paths] if answer is not None else []

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await wait_for_workers(self.pilot)


async def open_browser(pilot: Pilot[None], folder: Path | None) -> BrowserSession:
    session = BrowserSession(pilot, FileBrowser(folder))
    pilot.app.push_screen(session.browser, session.answers.append)
    await wait_for_workers(pilot)
    await wait_until(pilot, lambda: "Reading" not in screen_text(app_of(pilot)))
    return session


def app_of(pilot: Pilot[None]) -> SealyardApp:
    assert isinstance(pilot.app, SealyardApp)
    return pilot.app


async def test_entries_show_sizes_with_folders_first(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace), size=(80, 24)) as pilot:
        browser = await open_browser(pilot, folder)
        assert browser.names == ["..", "apps", "alpha.bin", "beta.bin", "gamma.txt"]
        text = screen_text(app_of(pilot))
        assert "2.0 KiB" in text
        assert "2001-09-09" in text


async def test_times_use_zone_of_column_title(
    workspace: TuiWorkspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summer = datetime(2026, 7, 1, 12, tzinfo=UTC).timestamp()
    os.utime(folder / "alpha.bin", (0, summer))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        async with run_app(make_app(workspace), size=(80, 24)) as pilot:
            await open_browser(pilot, folder)
            assert "CHANGED (CET)" in screen_text(app_of(pilot))
            assert "2026-07-01 13:00" in screen_text(app_of(pilot))
    time.tzset()


async def test_enter_adds_file_under_cursor(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("j", "j", "enter")
        assert browser.chosen == ["beta.bin"]
        assert browser.answers[0] is not None
        assert not browser.answers[0].metadata


async def test_marked_files_are_added_in_marking_order(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("G", "space", "g", "j", "j", "space")
        assert "2 marked" in screen_text(app_of(pilot))
        await browser.press("m")
        assert browser.chosen == ["gamma.txt", "alpha.bin"]
        assert browser.answers[0] is not None
        assert browser.answers[0].metadata


async def test_returning_to_parent_selects_left_folder(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("l")
        assert browser.names == ["..", "inner.bin"]
        await browser.press("h")
        assert browser.browser.query_one("#entries", VirtualTable).cursor_key == "apps"
        await browser.press("enter")
        await wait_until(pilot, lambda: browser.names == ["..", "inner.bin"])
        await browser.press("enter")
        assert browser.chosen == ["inner.bin"]


async def test_hidden_files_are_shown_by_key(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        assert "1 hidden" in screen_text(app_of(pilot))
        await browser.press("full_stop")
        assert ".hidden" in browser.names


async def test_escape_clears_filter_before_closing(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("slash", "b", "e", "enter")
        await wait_until(pilot, lambda: browser.names == ["..", "beta.bin"])
        assert app_of(pilot).screen.query_one(FilterBar).text == "be"
        await browser.press("escape")
        await wait_until(pilot, lambda: "alpha.bin" in browser.names)
        await browser.press("escape")
        assert browser.answers == [None]


async def test_sort_key_cycles_orders(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("o")
        assert browser.names[-1] == "beta.bin"
        await browser.press("o")
        assert browser.names[2] == "beta.bin"


async def test_typed_path_selects_file(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder.parent)
        await browser.press("p")
        app_of(pilot).screen.query_one("#path", Input).value = str(folder / "beta.bin")
        await browser.press("enter")
        await wait_until(pilot, lambda: browser.browser.query_one("#entries", VirtualTable).cursor_key == "beta.bin")
        await browser.press("p")
        app_of(pilot).screen.query_one("#path", Input).value = "/no/such"
        await browser.press("enter")
        assert "not found: /no/such" in screen_text(app_of(pilot))


async def test_browser_opens_last_used_folder(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder)
        await browser.press("j", "enter")
        reopened = await open_browser(pilot, None)
        assert "alpha.bin" in reopened.names


async def test_unreadable_folder_shows_error(workspace: TuiWorkspace, folder: Path) -> None:
    async with run_app(make_app(workspace)) as pilot:
        browser = await open_browser(pilot, folder / "gone")
        assert "Cannot read this folder" in screen_text(app_of(pilot))
        await browser.press("h")
        assert "alpha.bin" in browser.names


async def test_hostile_names_are_escaped_and_selectable(workspace: TuiWorkspace, tmp_path: Path) -> None:
    names = ["[@click=app.quit]x", "a\x1b]2;PWNED\x07b", "gnp\u202eexe", os.fsdecode(b"odd\xff")]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    async with run_app(make_app(workspace), size=(80, 24)) as pilot:
        browser = await open_browser(pilot, tmp_path)
        await browser.press("ctrl+a")
        text = screen_text(app_of(pilot))
        assert all(each.isprintable() for each in text.replace("\n", ""))
        assert "\\x1b]2;PWNED" in text
        await browser.press("enter")
        assert sorted(browser.chosen) == sorted(names)


async def test_slow_folder_does_not_block(
    workspace: TuiWorkspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    monkeypatch.setattr(file_browser, "_read_rows", lambda *_: answer.wait(TIMEOUT) and [])
    async with run_app(make_app(workspace), size=(80, 24)) as pilot:
        browser = BrowserSession(pilot, FileBrowser(folder))
        pilot.app.push_screen(browser.browser, browser.answers.append)
        await wait_until(pilot, lambda: "Loading" in screen_text(app_of(pilot)))
        await pilot.press("escape")
        await wait_until(pilot, lambda: browser.answers == [None])
        answer.set()


async def test_home_folder_is_shown_as_tilde(
    workspace: TuiWorkspace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    app = make_app(workspace, start_screen="upload")
    async with run_app(app, size=(80, 24)) as pilot:
        session = await open_browser(pilot, folder / "apps")
        path = session.browser.query_one("#path", Input)
        assert path.value == "~/apps/"
        path.value = "~/"
        await session.press("p", "enter")
        await wait_until(pilot, lambda: "alpha.bin" in session.names)
