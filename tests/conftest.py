"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.child_signals import default_child_signals


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: twice the processors, for many tests wait for programs, terminals and screens more than they work."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Tests send SIGHUP, SIGINT and SIGTERM to child processes, and expect that these do not ignore them."""
    with default_child_signals():
        yield
