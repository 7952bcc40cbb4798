"""What all tests share."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_xdist_auto_num_workers() -> int:
    """`-n auto`: twice the processors, for many tests wait for programs, terminals and screens more than they work."""
    return 2 * (os.cpu_count() or 1)
