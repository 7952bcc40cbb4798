"""Test resumable uploads with `tus-js-client`."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from tests.support.limits import TIMEOUT
from tests.support.node import INTEROP_DIR, Node
from tests.support.server_harness import DEV, ServerHarness, run_server
from tests.support.unreliable_proxy import UnreliableProxy

pytestmark = [pytest.mark.anyio, pytest.mark.interop]

CONTENT = random.Random(1).randbytes(3_000_000)
STOPPED = 3
"""Exit code of the script after it stopped in the middle."""


@pytest.fixture
async def harness(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}) as harness:
        yield harness


@pytest.fixture
def firmware(tmp_path: Path) -> Path:
    path = tmp_path / "firmware.bin"
    path.write_bytes(CONTENT)
    return path


async def run_client(node: Node, base_url: str, token: str, firmware: Path, *, stop_at: int = 0) -> tuple[int, Any]:
    """Upload the file; return the exit code of the client and its output."""
    options = {
        "endpoint": f"{base_url}/api/v1/upload",
        "token": token,
        "file": str(firmware),
        "storage": str(firmware.with_suffix(".urls")),
        "stopAt": stop_at,
    }
    process = await asyncio.create_subprocess_exec(
        node.command,
        str(INTEROP_DIR / "tus_upload.mjs"),
        msgspec.json.encode(options).decode(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert err == b""
    assert process.returncode is not None
    return process.returncode, msgspec.json.decode(out) if out else None


async def check_upload(harness: ServerHarness, url: str) -> None:
    http = await harness.http_client(DEV)
    upload = (await http.get(urlsplit(url).path)).raise_for_status().json()
    assert (upload["name"], upload["size"], upload["complete"]) == ("firmware.bin", len(CONTENT), True)
    assert upload["sha256"] == hashlib.sha256(CONTENT).hexdigest()


async def test_upload_survives_cut_connections(harness: ServerHarness, node: Node, firmware: Path) -> None:
    proxy = UnreliableProxy(urlsplit(harness.base).port or 0, cuts=4, first=300_000, last=900_000)
    async with proxy.listening() as base_url:
        code, result = await run_client(node, base_url, await harness.token(DEV), firmware)
    assert code == 0
    assert proxy.broken == 4
    assert result["resumedAt"] > 0
    await check_upload(harness, result["url"])


async def test_upload_is_resumed_by_another_process(harness: ServerHarness, node: Node, firmware: Path) -> None:
    token = await harness.token(DEV)
    code, _ = await run_client(node, harness.base, token, firmware, stop_at=1_000_000)
    assert code == STOPPED
    code, result = await run_client(node, harness.base, token, firmware)
    assert code == 0
    assert result["resumedAt"] >= 1_000_000
    await check_upload(harness, result["url"])
