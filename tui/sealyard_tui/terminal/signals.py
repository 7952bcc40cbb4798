"""Signals that end the application: the terminal is restored, and the exit code names the signal."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any

from textual.app import App


def install_signal_handlers(app: App[Any]) -> None:
    """Exit on SIGTERM and SIGHUP. Must be called on the application's loop."""
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signal_number, partial(app.exit, return_code=128 + signal_number))
