"""Test that imported and exported keys leave no plain text files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealyard.fs.private import temporary_private_dir, write_private_file
from sealyard.model.workspace import WorkspacePaths
from tests.support.server_harness import ADMIN, GATEWAY, run_server

pytestmark = pytest.mark.anyio

KEY = bytes(range(16))


def find_plain_text_keys(folder: Path) -> list[Path]:
    return [each for each in folder.rglob("*") if each.is_file() and KEY in each.read_bytes()]


async def test_key_transfer_leaves_no_plain_text(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = await harness.http_client(ADMIN)
        body = {"uri": "local:imported", "kind": "AES_128", "content": base64.b64encode(KEY).decode()}
        assert (await http.post("/api/v1/key", json=body)).status_code == 201
        exported = await http.post(f"/api/v1/deviceConfig/{GATEWAY}/keyExport", json={"confirmed": True})
        assert len(exported.content) == 32
        assert not find_plain_text_keys(folder)
        assert not list(WorkspacePaths(folder).key_transfer.iterdir())


async def test_certificate_import_leaves_no_file(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = await harness.http_client(ADMIN)
        keys = (await http.get("/api/v1/key")).json()
        signing = next(key for key in keys if key["versions"][0]["certificate"])
        content = KEY + signing["versions"][0]["certificate"].encode()
        body = {"uri": signing["uri"], "content": base64.b64encode(content).decode()}
        assert (await http.post("/api/v1/key/certificate", json=body)).status_code == 409
        assert not find_plain_text_keys(folder)
        assert not list(WorkspacePaths(folder).key_transfer.iterdir())


async def test_server_start_deletes_leftover_key_file(folder: Path) -> None:
    paths = WorkspacePaths(folder)
    with temporary_private_dir(paths) as temporary_dir:
        leftover = paths.key_transfer / "left by a crash"
        write_private_file(temporary_dir / "key", KEY)
        temporary_dir.rename(leftover)
    assert find_plain_text_keys(folder)
    async with run_server({"acme": folder}):
        assert not find_plain_text_keys(folder)
