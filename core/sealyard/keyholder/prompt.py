"""Prompt for a passphrase on the terminal, and restore the terminal however the prompt ends."""

from __future__ import annotations

import contextlib
import getpass
import os
import signal
import sys
import termios
from typing import Any

from sealyard.keyholder.connection import ParentConnection

_ENDING_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_INTERRUPTED = 130


class TerminalPrompt:
    """Prompts on the controlling terminal or, if there is none, on standard input and standard error.

    While an object of this class exists, the signals that end the process restore the terminal first.
    """

    def __init__(self) -> None:
        self._fd = _open_terminal()
        self._settings: list[Any] | None = None
        with contextlib.suppress(termios.error):
            self._settings = termios.tcgetattr(self._fd)
        for number in _ENDING_SIGNALS:
            signal.signal(number, lambda *_: self.restore_and_exit())
        signal.signal(signal.SIGINT, lambda *_: self.restore_and_exit())

    def end_with(self, parent: ParentConnection) -> None:
        """Restore the terminal and exit if the parent process ends during the prompt."""
        parent.call_when_closed(self.restore_and_exit)

    def ask(self, text: str) -> str:
        """Prompt for input without echo, and return it, or an empty string at the end of the input."""
        try:
            return getpass.getpass(text)
        except EOFError:
            return ""

    def show(self, text: str) -> None:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def restore_and_exit(self) -> None:
        if self._settings is not None:
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._settings)
        os._exit(_INTERRUPTED)


def _open_terminal() -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return 0
