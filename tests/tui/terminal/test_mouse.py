"""The mouse can be given back to the terminal and taken again while the application runs."""

from __future__ import annotations

import asyncio

import pytest
from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.drivers.linux_driver import LinuxDriver

from sealyard_tui.terminal.mouse import is_mouse_enabled, set_mouse_enabled

ON, OFF, PIXELS = "\x1b[?1003h", "\x1b[?1003l", "\x1b[?1016h"


class _Terminal(LinuxDriver):
    """Keeps what would go to the terminal."""

    def __init__(self, *, mouse: bool) -> None:
        super().__init__(App(), mouse=mouse)
        self.written: list[str] = []

    def write(self, data: str) -> None:
        self.written.append(data)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("begun", [True, False])
def test_the_terminal_is_told_once_for_each_change(begun: bool) -> None:
    async def switched() -> None:
        driver = _Terminal(mouse=begun)
        set_mouse_enabled(driver, begun)
        assert driver.written == []
        set_mouse_enabled(driver, not begun)
        assert is_mouse_enabled(driver) is not begun
        set_mouse_enabled(driver, begun)
        first, second = (OFF, ON) if begun else (ON, OFF)
        assert driver.written.index(first) < driver.written.index(second)
        assert PIXELS not in driver.written

    asyncio.run(switched())


def test_what_comes_back_from_the_background_keeps_the_choice() -> None:
    async def back() -> None:
        driver = _Terminal(mouse=True)
        set_mouse_enabled(driver, False)
        driver.written.clear()
        driver._enable_mouse_support()
        assert driver.written == []

    asyncio.run(back())


def test_a_terminal_that_counts_in_pixels_does_so_again() -> None:
    async def again() -> None:
        driver = _Terminal(mouse=True)
        driver._enable_mouse_pixels()
        set_mouse_enabled(driver, False)
        driver.written.clear()
        set_mouse_enabled(driver, True)
        assert driver.written.index(ON) < driver.written.index(PIXELS)

    asyncio.run(again())


def test_where_there_is_no_terminal_the_choice_is_only_kept() -> None:
    async def kept() -> None:
        driver = HeadlessDriver(App())
        set_mouse_enabled(driver, False)
        assert is_mouse_enabled(driver) is False

    asyncio.run(kept())
