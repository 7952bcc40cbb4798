"""The workspace of the tests of the approvals screen."""

from __future__ import annotations

import pytest

from tests.tui.workspace import TuiWorkspace


@pytest.fixture
def workspace(pending_workspace: TuiWorkspace) -> TuiWorkspace:
    return pending_workspace
