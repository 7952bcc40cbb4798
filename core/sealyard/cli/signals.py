"""Signal handlers that stop a long-running command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import Iterator

from sealyard.concurrency.ending_signals import end_on_signals


def stop_event(*, hang_up: bool = True) -> asyncio.Event:
    """Install handlers for SIGINT and SIGTERM that set an event instead of ending the process, and return the event.

    SIGHUP sets it as well, unless ``hang_up`` is False or the signal was already ignored at startup (``nohup``).
    """
    stop = asyncio.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    if hang_up and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, stop.set)
    return stop


@contextlib.contextmanager
def end_prompt_on_signal() -> Iterator[None]:
    """Let signals restore the terminal and end the process within the context, which prompts for a secret.

    Otherwise the terminal would stay without echo. SIGINT raises ``KeyboardInterrupt``.
    """
    if not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)
    with end_on_signals(lambda: termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)):
        yield


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal, even if its standard streams are redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
