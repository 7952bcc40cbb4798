"""Keys on their way to or from the worker: gone a moment later, and after a crash at the next start."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealyard.fs.private import temporary_private_dir, write_private_file
from sealyard.model.workspace import WorkspacePaths
from tests.support.server_harness import ADMIN, GATEWAY, run_server

pytestmark = pytest.mark.anyio

KEY = bytes(range(16))


def lying_about(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and KEY in each.read_bytes()]


async def test_a_key_that_was_brought_in_or_taken_out_lies_nowhere_in_plain_text(folder: Path) -> None:
    async with run_server({"yard": folder}) as yard:
        calls = await yard.http_client(ADMIN)
        body = {"uri": "local:brought", "kind": "AES_128", "content": base64.b64encode(KEY).decode()}
        assert (await calls.post("/api/v1/key", json=body)).status_code == 201
        exported = await calls.post(f"/api/v1/deviceConfig/{GATEWAY}/keyExport", json={"confirmed": True})
        assert len(exported.content) == 32
        assert not lying_about(folder)
        assert not list(WorkspacePaths(folder).key_transfer.iterdir())


async def test_a_key_that_a_crash_left_on_its_way_is_gone_with_the_next_start(folder: Path) -> None:
    places = WorkspacePaths(folder)
    with temporary_private_dir(places) as passing:
        left = places.key_transfer / "left by a crash"
        write_private_file(passing / "key", KEY)
        passing.rename(left)
    assert lying_about(folder)
    async with run_server({"yard": folder}):
        assert not lying_about(folder)
