"""Test that imported and exported keys leave no plain text files."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from sealyard.model.workspace import WorkspacePaths
from tests.support.server_harness import ADMIN, GATEWAY, run_server

pytestmark = pytest.mark.anyio

KEY = bytes(range(16))


def find_plain_text_keys(folder: Path, key: bytes = KEY) -> list[Path]:
    """Return the files of the workspace that contain the key: as bytes, in Base64, or as hexadecimal digits."""
    forms = (key, base64.b64encode(key).rstrip(b"="), key.hex().encode(), key.hex().upper().encode())
    return [each for each in folder.rglob("*") if each.is_file() and any(form in each.read_bytes() for form in forms)]


async def test_key_transfer_leaves_no_plain_text(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = await harness.http_client(ADMIN)
        body = {"uri": "local:imported", "kind": "AES_128", "content": base64.b64encode(KEY).decode()}
        assert (await http.post("/api/v1/key", json=body)).status_code == 201
        exported = await http.post(f"/api/v1/deviceConfig/{GATEWAY}/keyExport", json={"confirmed": True})
        assert len(exported.content) == 32
        audit_log = await http.get("/api/v1/auditlog?size=100")
        for key in (KEY, exported.content):
            assert not find_plain_text_keys(folder, key)
            assert base64.b64encode(key).decode() not in audit_log.text
    for key in (KEY, exported.content):
        assert not find_plain_text_keys(folder, key)


async def test_certificate_import_leaves_no_file(folder: Path) -> None:
    async with run_server({"acme": folder}) as harness:
        http = await harness.http_client(ADMIN)
        keys = (await http.get("/api/v1/key")).json()
        signing = next(key for key in keys if key["versions"][0]["certificate"])
        content = KEY + signing["versions"][0]["certificate"].encode()
        body = {"uri": signing["uri"], "content": base64.b64encode(content).decode()}
        assert (await http.post("/api/v1/key/certificate", json=body)).status_code == 409
        assert not find_plain_text_keys(folder)


async def test_server_start_deletes_leftover_key_file(folder: Path) -> None:
    """Earlier releases passed keys to the worker through files, which a crash could leave."""
    leftover = WorkspacePaths(folder).keys / "passing" / "left by a crash"
    leftover.mkdir(parents=True)
    (leftover / "key").write_bytes(KEY)
    assert find_plain_text_keys(folder)
    async with run_server({"acme": folder}):
        assert not find_plain_text_keys(folder)
