"""Being asked to stop, for commands that run until they are."""

from __future__ import annotations

import asyncio
import os
import signal


def stop_event(*, hang_up: bool = True) -> asyncio.Event:
    """Set by SIGINT or SIGTERM, which from now on do nothing else.

    By SIGHUP too, unless ``hang_up`` is False, or it was to be ignored from the start (``nohup``).
    """
    stop = asyncio.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, stop.set)
    if hang_up and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    return stop


def has_terminal() -> bool:
    """Whether there is one that can hang up; wherever standard input and output lead."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
