"""Fixtures of the promises: workspaces for engines and for worker processes.

Attacks on crypto zones are skipped without the packages for S3.
"""

from __future__ import annotations

import importlib.util
import os

from tests.support.client_fixtures import client_workspace, folder
from tests.support.worker_fixtures import workspace, workspace_template

__all__ = ["client_workspace", "folder", "workspace", "workspace_template"]

if os.environ.get("SEALYARD_REQUIRE_INTEROP") != "1" and importlib.util.find_spec("boto3") is None:
    collect_ignore_glob = ["test_zone_*.py"]
