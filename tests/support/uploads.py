"""What the tests of uploads share: sending one, and looking at what is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from sealyard.model.errors import ServerUnreachableError
from sealyard.model.requests import UploadStatus
from tests.support.engine_harness import DEV, EngineHarness

ID = "an-upload-of-mine"
CONTENT = bytes(range(256)) * 256


async def chunks(pieces: Iterable[bytes], *, broken: bool = False) -> AsyncIterator[bytes]:
    for each in pieces:
        yield each
    if broken:
        raise ServerUnreachableError("The body broke off.")


async def upload(house: EngineHarness, content: bytes = CONTENT, *, by: str = DEV, upload_id: str = ID) -> UploadStatus:
    uploads = house.engine.uploads
    await uploads.create(by, upload_id, "firmware.bin", len(content))
    return await uploads.write(by, upload_id, 0, chunks([content]))


def stored_inputs(house: EngineHarness) -> list[str]:
    return sorted(house.artifacts.stored_inputs())


def remaining_files(house: EngineHarness) -> list[Path]:
    return list((house.paths.artifacts / "uploads").iterdir())
