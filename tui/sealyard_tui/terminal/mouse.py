"""Enabling and disabling mouse reporting at run time.

Textual enables it only at startup (https://github.com/Textualize/textual/issues/3898). Private methods of its terminal
driver can switch it on or off at any time. The driver reads its flag again when the application resumes from the
background, so the change remains in effect.
"""

from __future__ import annotations

from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver


def is_mouse_enabled(driver: Driver) -> bool:
    return driver._mouse


def set_mouse_enabled(driver: Driver, enabled: bool) -> None:
    """Enable or disable mouse reporting immediately."""
    if enabled == driver._mouse:
        return
    if not isinstance(driver, LinuxDriver):
        driver._mouse = enabled
        return
    if enabled:
        driver._mouse = True
        driver._enable_mouse_support()
        if driver._mouse_pixels:
            # The call above selects cell coordinates; the driver expects pixels if the terminal supports them.
            driver._enable_mouse_pixels()
    else:
        driver._disable_mouse_support()
        driver._mouse = False
