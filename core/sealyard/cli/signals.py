"""Signal handlers that stop a long-running command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


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
    """Let signals end the process within the context, which prompts for a secret, and restore the terminal first.

    Otherwise the terminal would stay without echo, and the handlers of an event loop, which cannot run during the
    prompt, would delay the end until the user presses Enter. SIGINT raises ``KeyboardInterrupt``.
    """
    if threading.current_thread() is not threading.main_thread() or not sys.stdin.isatty():
        yield
        return
    settings = termios.tcgetattr(sys.stdin)

    def restore_and_exit(signal_number: int, _: object) -> None:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, settings)
        signal.signal(signal_number, signal.SIG_DFL)
        signal.raise_signal(signal_number)

    new_handlers = {signal.SIGINT: signal.default_int_handler, **dict.fromkeys(_ENDING_SIGNALS, restore_and_exit)}
    old_handlers = {
        number: signal.signal(number, handler)
        for number, handler in new_handlers.items()
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in old_handlers.items():
            signal.signal(number, handler)


def has_terminal() -> bool:
    """Return whether the process has a controlling terminal, even if its standard streams are redirected."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
