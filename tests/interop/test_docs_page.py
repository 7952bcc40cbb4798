"""Tests of the API reference page in jsdom: its script sends the requests that a reader fills in."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from tests.support.limits import TIMEOUT
from tests.support.node import require_node
from tests.support.server_harness import DEV, GATEWAY, create_test_workspace, run_server

pytestmark = [pytest.mark.interop, pytest.mark.anyio]

SCRIPT = Path(__file__).with_name("docs_page.js")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_page_sends_requests(tmp_path: Path) -> None:
    node = require_node("jsdom")
    await create_test_workspace(tmp_path / "workspace")
    async with run_server({"acme": tmp_path / "workspace"}) as harness:
        command = [node.command, str(SCRIPT), harness.base, await harness.token(DEV), GATEWAY]
        result = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["201 Created signing", "201 Created 7", "404 Not Found"]
