"""Fixtures of the tests of the agent."""

from __future__ import annotations

from tests.support.worker_fixtures import workspace, workspace_template

__all__ = ["workspace", "workspace_template"]
