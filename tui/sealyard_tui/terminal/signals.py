"""Handlers for signals that terminate the application."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any

from textual.app import App

EXIT_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
"""Signals that end the application. In its terminal, Ctrl+C and Ctrl+\\ are ordinary keys and send no signal."""


def install_signal_handlers(app: App[Any]) -> None:
    """Install handlers for :data:`EXIT_SIGNALS` that exit the application with return code 128 + the signal number.

    The terminal is restored on exit. Must be called from the application's event loop.
    """
    loop = asyncio.get_running_loop()
    for signal_number in EXIT_SIGNALS:
        loop.add_signal_handler(signal_number, partial(app.exit, return_code=128 + signal_number))
