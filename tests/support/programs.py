"""Finds the real programs that judge what this project makes."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str) -> str:
    """The path of ``program``; where it is missing the test is skipped, or fails if SEALYARD_REQUIRE_INTEROP=1."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed"
    if os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
