"""Switching mouse reporting at run time.

Textual only chooses at the start (https://github.com/Textualize/textual/issues/3898). Its terminal driver can switch at
any time, by private methods; it reads its flag again when it resumes from the background, so the choice also holds
there.
"""

from __future__ import annotations

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver


def is_mouse_enabled(driver: Driver) -> bool:
    return driver._mouse


def set_mouse_enabled(driver: Driver, on: bool) -> None:
    """Tell the terminal at once whether to report the mouse."""
    if on == driver._mouse:
        return
    if not isinstance(driver, LinuxDriver):
        driver._mouse = on
        return
    if on:
        driver._mouse = True
        driver._enable_mouse_support()
        if driver._mouse_pixels:
            # Enabling the mouse selects cells; the driver still expects pixels if the terminal supports them.
            driver._enable_mouse_pixels()
    else:
        driver._disable_mouse_support()
        driver._mouse = False
