"""Tests of enabling and disabling the mouse at run time."""

from __future__ import annotations

import asyncio

import pytest
from textual.app import App
from textual.drivers.headless_driver import HeadlessDriver
from textual.drivers.linux_driver import LinuxDriver

from sealyard_tui.terminal.mouse import is_mouse_enabled, set_mouse_enabled

ON, OFF, PIXELS = "\x1b[?1003h", "\x1b[?1003l", "\x1b[?1016h"


class _RecordingDriver(LinuxDriver):
    """Records what it writes to the terminal."""

    def __init__(self, *, mouse: bool) -> None:
        super().__init__(App(), mouse=mouse)
        self.written: list[str] = []

    def write(self, data: str) -> None:
        self.written.append(data)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize("initially_enabled", [True, False])
def test_change_writes_one_terminal_sequence(initially_enabled: bool) -> None:
    async def switch() -> None:
        driver = _RecordingDriver(mouse=initially_enabled)
        set_mouse_enabled(driver, initially_enabled)
        assert driver.written == []
        set_mouse_enabled(driver, not initially_enabled)
        assert is_mouse_enabled(driver) is not initially_enabled
        set_mouse_enabled(driver, initially_enabled)
        first, second = (OFF, ON) if initially_enabled else (ON, OFF)
        assert driver.written.index(first) < driver.written.index(second)
        assert PIXELS not in driver.written

    asyncio.run(switch())


def test_resume_keeps_mouse_disabled() -> None:
    async def resume() -> None:
        driver = _RecordingDriver(mouse=True)
        set_mouse_enabled(driver, False)
        driver.written.clear()
        driver._enable_mouse_support()
        assert driver.written == []

    asyncio.run(resume())


def test_enabling_restores_pixel_mode() -> None:
    async def reenable() -> None:
        driver = _RecordingDriver(mouse=True)
        driver._enable_mouse_pixels()
        set_mouse_enabled(driver, False)
        driver.written.clear()
        set_mouse_enabled(driver, True)
        assert driver.written.index(ON) < driver.written.index(PIXELS)

    asyncio.run(reenable())


def test_headless_driver_stores_state() -> None:
    async def disable() -> None:
        driver = HeadlessDriver(App())
        set_mouse_enabled(driver, False)
        assert is_mouse_enabled(driver) is False

    asyncio.run(disable())
