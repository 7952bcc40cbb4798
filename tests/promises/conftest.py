"""Fixtures of the promises: workspaces for engines and for worker processes."""

from __future__ import annotations

from tests.support.client_fixtures import client_workspace, folder
from tests.support.worker_fixtures import workspace, workspace_template

__all__ = ["client_workspace", "folder", "workspace", "workspace_template"]
