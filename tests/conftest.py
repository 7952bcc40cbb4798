"""Configuration and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.child_signals import default_child_signals
from tests.support.extent import load_hypothesis_profile

pytest_plugins = ("tests.support.hang_guard", "tests.support.secrets_canary")

load_hypothesis_profile()


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """Use two workers per processor for `-n auto`, because many tests wait for other processes."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def no_freshness_anchors() -> Iterator[None]:
    """Keep no freshness anchors, because most tests open several copies of one template. Tests of anchors use others.

    Without this, the tests would also leave files in the user's folders.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SEALYARD_ANCHORS", "none")
        yield


@pytest.fixture(scope="session", autouse=True)
def default_signals() -> Iterator[None]:
    """Reset ignored signals, because tests send SIGHUP, SIGINT and SIGTERM to child processes."""
    with default_child_signals():
        yield
