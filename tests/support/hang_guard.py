"""Ends test processes that do not react to the timeout of a test."""

from __future__ import annotations

import faulthandler
from collections.abc import Generator
from typing import Protocol

import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

# Leaves pytest-timeout the time to report the test, and the test the time to clean up.
GRACE_SECONDS = 60.0


class TimeoutSettings(Protocol):
    """The settings of a test by pytest-timeout, from its marker, the command line or the configuration."""

    timeout: float


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_timeout_set_timer(item: pytest.Item, settings: TimeoutSettings) -> None:
    """End the process and print the stack of each thread if a test still runs a minute after its timeout.

    pytest-timeout raises an exception in the main thread. A test that then waits for a blocked thread, as
    `asyncio.Runner` does when it closes, would hang until the time of the whole run has passed.
    """
    stderr = item.config.stash[fault_handler_stderr_fd_key]
    faulthandler.dump_traceback_later(settings.timeout + GRACE_SECONDS, exit=True, file=stderr)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol() -> Generator[None, object, object]:
    """Cancel the guard at the end of the teardown. pytest-timeout cancels its own timer when a test fails."""
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
