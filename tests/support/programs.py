"""Find the external programs that verify the output of Sealyard."""

from __future__ import annotations

import os
import shutil

import pytest


def require(program: str) -> str:
    """Return the path of ``program``. Skips the test if it is missing, or fails it if SEALYARD_REQUIRE_INTEROP=1."""
    path = shutil.which(program)
    if path is not None:
        return path
    reason = f"{program} is not installed"
    if os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
