"""Update the checked-in OpenAPI document: `python -m tests.support.update_openapi`."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import msgspec

from tests.server.test_openapi import CHECKED_IN
from tests.support.server_harness import found, serving


async def _told() -> bytes:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "yard"
        await found(folder)
        async with serving({"yard": folder}) as yard:
            return (await yard.raw().get("/openapi.json")).content


if __name__ == "__main__":
    CHECKED_IN.write_bytes(msgspec.json.format(asyncio.run(_told()), indent=1) + b"\n")
