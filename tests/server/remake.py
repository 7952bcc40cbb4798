"""Writes the checked-in OpenAPI document anew: `python -m tests.server.remake`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import msgspec

sys.path.append(str(Path(__file__).parent))

from test_openapi import CHECKED_IN
from yard import found, serving


async def _told() -> bytes:
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "yard"
        await found(folder)
        async with serving({"yard": folder}) as yard:
            return (await yard.raw().get("/openapi.json")).content


if __name__ == "__main__":
    CHECKED_IN.write_bytes(msgspec.json.format(asyncio.run(_told()), indent=1) + b"\n")
