"""The mouse, given back to the terminal while the application runs, and taken again.

Textual chooses at the start only. Its driver for terminals can do both at any time, under names of its own; it looks
at its switch when it comes back from the background, so that the choice holds there too.
"""

from __future__ import annotations

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver


def is_mouse_enabled(driver: Driver) -> bool:
    return driver._mouse


def set_mouse_enabled(driver: Driver, on: bool) -> None:
    """Tells the terminal at once whether it should report the mouse."""
    if on == driver._mouse:
        return
    if not isinstance(driver, LinuxDriver):
        driver._mouse = on
        return
    if on:
        driver._mouse = True
        driver._enable_mouse_support()
        if driver._mouse_pixels:
            # Taking the mouse chose cells; the driver still counts in pixels where the terminal had offered them.
            driver._enable_mouse_pixels()
    else:
        driver._disable_mouse_support()
        driver._mouse = False
