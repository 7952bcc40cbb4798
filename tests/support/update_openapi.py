"""Update the checked-in OpenAPI document: `python -m tests.support.update_openapi`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec

from tests.server.api.test_openapi import CHECKED_IN
from tests.support.server_harness import create_test_workspace, run_server


async def _fetch_document() -> bytes:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "workspace"
        await create_test_workspace(folder)
        async with run_server({"yard": folder}) as harness:
            return (await harness.anonymous_client().get("/openapi.json")).content


if __name__ == "__main__":
    CHECKED_IN.write_bytes(msgspec.json.format(asyncio.run(_fetch_document()), indent=1) + b"\n")
