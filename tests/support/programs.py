"""Find the external programs that verify the output of Sealyard."""

from __future__ import annotations

import importlib.util
import os
import shutil
from typing import NoReturn

import pytest


def require(program: str) -> str:
    """Return the path of ``program``. Skips the test if it is missing, or fails it if SEALYARD_REQUIRE_INTEROP=1."""
    path = shutil.which(program)
    return path if path is not None else skip_missing(f"{program} is not installed")


def skip_missing(reason: str) -> NoReturn:
    """Skip the test because a program is missing, or fail it if SEALYARD_REQUIRE_INTEROP=1."""
    if os.environ.get("SEALYARD_REQUIRE_INTEROP") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def require_module(name: str, extra: str = "interop") -> None:
    """Skip the test because a Python module is missing, or fail it if SEALYARD_REQUIRE_INTEROP=1."""
    if importlib.util.find_spec(name) is None:
        skip_missing(f"{name} is not installed: pip install -e '.[{extra}]'")
