"""What the walls between the rooms mean at run time."""

from __future__ import annotations

import subprocess
import sys

LOADED = """
import importlib, pkgutil, sys, {package}
for found in pkgutil.walk_packages({package}.__path__, "{package}."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(*sys.modules)
"""


def loaded_by(package: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(package=package)], capture_output=True, text=True, check=True
    )
    return {each.partition(".")[0] for each in done.stdout.split()}


def test_all_of_the_core_together_loads_no_textual() -> None:
    """Rich may come with httpx, which has a command line of its own where click is installed."""
    assert not loaded_by("sealyard") & {"textual", "sealyard_tui"}


def test_the_worker_loads_no_http_library() -> None:
    assert not loaded_by("sealyard.worker") & {"httpx", "httpcore", "h11", "requests", "urllib3", "aiohttp"}


def test_the_model_loads_nothing_of_the_project_and_no_cryptography() -> None:
    assert not loaded_by("sealyard.model") & {"cryptography", "tinydb", "keyring", "httpx", "watchfiles"}
