"""Ends test processes that do not react to the timeout of a test."""

from __future__ import annotations

import faulthandler
from collections.abc import Generator

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

# Leaves pytest-timeout the time to report the test, and the test the time to clean up.
GRACE_SECONDS = 60.0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """End the process and print the stack of each thread if a test still runs a minute after its timeout.

    pytest-timeout raises an exception in the main thread. A test that then waits for a blocked thread, as
    `asyncio.Runner` does when it closes, would hang until the time of the whole run has passed.
    """
    if not item.config.pluginmanager.hasplugin("timeout"):
        return (yield)
    marker = item.get_closest_marker("timeout")
    timeout = float(marker.args[0] if marker else item.config.getini("timeout"))
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(timeout + GRACE_SECONDS, exit=True, file=stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
