"""How an application ends that is killed: the terminal is left as it was, and the exit code says which signal."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from typing import Any

from textual.app import App


def install_signal_handlers(app: App[Any]) -> None:
    """For SIGTERM and SIGHUP; on the application's loop."""
    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(each, partial(app.exit, return_code=128 + each))
