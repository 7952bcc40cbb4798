"""Fixtures of the server tests."""

from __future__ import annotations

from tests.support.server_fixtures import anyio_backend, folder, shared_folder, workspace_template

__all__ = ["anyio_backend", "folder", "shared_folder", "workspace_template"]
