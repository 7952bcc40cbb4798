"""The workspace of the tests of the audit screen."""

from __future__ import annotations

import pytest

from tests.tui.workspace import TuiWorkspace


@pytest.fixture
async def workspace(empty_workspace: TuiWorkspace) -> TuiWorkspace:
    """A workspace whose log has 60 entries about ten tasks at its end, all of them covered by a checkpoint."""
    await empty_workspace.add_audit_entries(60)
    await empty_workspace.checkpoint_audit()
    return empty_workspace
