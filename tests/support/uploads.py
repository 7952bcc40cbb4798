"""Helpers of the upload tests: send an upload, and list the stored files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

from sealyard.model.errors import ServerUnreachableError
from sealyard.model.requests import UploadStatus
from tests.support.engine_harness import DEV, EngineHarness

ID = "an-upload-of-mine"
CONTENT = bytes(range(256)) * 256


async def chunks(pieces: Iterable[bytes], *, broken: bool = False) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece
    if broken:
        raise ServerUnreachableError("The connection was lost.")


async def upload(
    harness: EngineHarness, content: bytes = CONTENT, *, by: str = DEV, upload_id: str = ID
) -> UploadStatus:
    uploads = harness.engine.uploads
    await uploads.create(by, upload_id, "firmware.bin", len(content))
    return await uploads.write(by, upload_id, 0, chunks([content]))


def stored_inputs(harness: EngineHarness) -> list[str]:
    return sorted(harness.artifacts.stored_inputs())


def remaining_files(harness: EngineHarness) -> list[Path]:
    return list((harness.paths.artifacts / "uploads").iterdir())
