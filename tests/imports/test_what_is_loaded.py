"""Tests of the import boundaries at run time."""

from __future__ import annotations

import subprocess
import sys

LOAD_SCRIPT = """
import importlib, pkgutil, sys, {package}
for module in pkgutil.walk_packages({package}.__path__, "{package}."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sys.modules)
"""


def list_loaded_packages(package: str) -> set[str]:
    result = subprocess.run(
        [sys.executable, "-c", LOAD_SCRIPT.format(package=package)], capture_output=True, text=True, check=True
    )
    return {each.partition(".")[0] for each in result.stdout.split()}


def test_core_loads_no_textual() -> None:
    """Rich is allowed: httpx imports it for its own command line if click is installed."""
    assert not list_loaded_packages("sealyard") & {"textual", "sealyard_tui"}


def test_worker_loads_no_http_library() -> None:
    assert not list_loaded_packages("sealyard.worker") & {"httpx", "httpcore", "h11", "requests", "urllib3", "aiohttp"}


def test_model_loads_no_infrastructure_libraries() -> None:
    assert not list_loaded_packages("sealyard.model") & {"cryptography", "tinydb", "keyring", "httpx", "watchfiles"}
