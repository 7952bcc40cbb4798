"""Tests of the import boundaries at run time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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


EMBEDDED_SCRIPT = """
import asyncio, sys
from pathlib import Path
from sealyard.engine.create_workspace import create_workspace
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.key_holders import unlock

creation = create_workspace(
    WorkspacePaths(Path(sys.argv[1])),
    name="yard",
    administrator="USER:admin",
    key_store=KeyStore.PASSPHRASE,
    key_holder=unlock("a passphrase for a test"),
)
asyncio.run(creation)
print(*sys.modules)
"""


def test_workspace_in_files_loads_no_database_and_no_object_store(tmp_path: Path) -> None:
    command = [sys.executable, "-c", EMBEDDED_SCRIPT, str(tmp_path / "yard")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    modules = set(result.stdout.split())
    assert "sealyard.storage.journal" in modules
    assert not modules & {"psycopg", "alembic", "sqlalchemy", "sealyard.storage.postgres"}
    assert not modules & {"boto3", "botocore", "urllib3", "sealyard.storage.s3"}
