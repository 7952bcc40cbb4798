"""Tests of task creation by multipart form: file order, checksums, uploads and cleanup."""

from __future__ import annotations

import hashlib
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.model.audit import AuditFilter
from sealyard.model.tasks import Verdict
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, DEV, GATEWAY, OWNER, STRANGER, ServerHarness, run_server

pytestmark = pytest.mark.anyio

PACKAGES = "/api/v1/packagingTask"
ENCRYPTIONS = "/api/v1/encryptionTask"
ID = "an-upload-of-mine"
MAX_UPLOAD_BYTES = 64 << 20
CONFIG = Field("deviceConfigId", GATEWAY.encode())


@pytest.fixture
async def harness(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, largest_upload=MAX_UPLOAD_BYTES) as harness:
        yield harness


@pytest.fixture
async def http(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


@pytest.fixture(scope="module")
async def shared_harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    """A server for the tests of rejected forms, which leave nothing in its workspace."""
    async with run_server({"one": shared_folder}, largest_upload=MAX_UPLOAD_BYTES) as harness:
        yield harness


@pytest.fixture(scope="module")
async def shared_http(shared_harness: ServerHarness) -> httpx.AsyncClient:
    return await shared_harness.http_client(DEV)


async def post_form(http: httpx.AsyncClient, path: str, *fields: Field, **headers: str) -> httpx.Response:
    return await http.post(path, headers={"Content-Type": FORM_TYPE, **headers}, content=build_form(fields))


def file_field(name: str, content: bytes, file_name: str = "firmware.bin") -> Field:
    return Field(name, content, file_name)


def text_field(name: str, value: str) -> Field:
    return Field(name, value.encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def list_inputs(folder: Path) -> set[str]:
    return {each.name for each in (folder / "artifacts" / "inputs").rglob("*") if each.is_file()}


def list_uploads(folder: Path) -> list[Path]:
    return list((folder / "artifacts" / "uploads").iterdir())


def names_and_digests(files: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["name"], each["sha256"]) for each in files]


async def test_files_and_uploads_keep_form_order(http: httpx.AsyncClient, folder: Path) -> None:
    await http.put(f"/api/v1/upload/{ID}", params={"name": "second.bin"}, content=b"second")
    response = await post_form(
        http,
        PACKAGES,
        file_field("inputFiles", b"first", "first.bin"),
        text_field("inputIds", ID),
        file_field("metadataFile", b"{}", "a.json"),
        text_field("name", "both"),
        file_field("inputFiles", b"third", "third.bin"),
        text_field("contentType", "firmware"),
        file_field("metadataFiles", b"[]", "b.json"),
        CONFIG,
    )
    assert response.status_code == 201, response.text
    task = response.json()
    assert task["id"] == task["packagingTaskId"]
    assert (task["name"], task["contentType"]) == ("both", "firmware")
    contents = {"first.bin": b"first", "second.bin": b"second", "third.bin": b"third"}
    assert names_and_digests(task["inputs"]) == [(name, sha256(content)) for name, content in contents.items()]
    assert names_and_digests(task["metadata"]) == [("a.json", sha256(b"{}")), ("b.json", sha256(b"[]"))]
    assert len(list_uploads(folder)) == 1  # the record of the earlier upload


async def test_encryption_form_creates_task(http: httpx.AsyncClient) -> None:
    response = await post_form(
        http,
        ENCRYPTIONS,
        CONFIG,
        file_field("inputFile", b"secret"),
        text_field("sha256checksum", sha256(b"secret").upper()),
    )
    assert response.status_code == 201, response.text
    assert response.json()["encryptionTaskId"] == response.json()["id"]


async def test_checksums_match_files_by_order(http: httpx.AsyncClient) -> None:
    files = [file_field("inputFiles", b"first"), file_field("inputFiles", b"second")]
    checksums = [text_field("sha256checksum", sha256(each.content)) for each in files]
    for fields in ([*checksums, *files], [*files, *checksums]):
        assert (await post_form(http, PACKAGES, CONFIG, *fields)).status_code == 201
    swapped = await post_form(http, PACKAGES, CONFIG, *files, *reversed(checksums))
    assert (swapped.status_code, swapped.json()["code"]) == (400, "input-mismatch")


FIRMWARE = file_field("inputFiles", b"firmware")


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ([CONFIG, FIRMWARE, text_field("sha256checksum", "0" * 64)], 400, "SHA-256 mismatch for"),
        (
            [CONFIG, FIRMWARE, FIRMWARE, text_field("sha256checksum", sha256(b"firmware"))],
            400,
            "checksums (1) and files (2) differ",
        ),
        ([CONFIG, FIRMWARE, file_field("inputFiles", b"")], 400, "empty"),
        ([CONFIG, FIRMWARE, file_field("inputFile", b"x")], 400, "Unexpected file field inputFile"),
        ([CONFIG, FIRMWARE, text_field("inputFiles", "x")], 400, "Unexpected text field inputFiles"),
        ([CONFIG, FIRMWARE, CONFIG], 400, "Repeated form field deviceConfigId"),
        (
            [CONFIG, FIRMWARE, text_field("inputIds", "not-there-at-all-00")],
            404,
            "Upload not-there-at-all-00 not found",
        ),
        ([FIRMWARE], 400, "Missing form field deviceConfigId"),
        ([FIRMWARE, text_field("deviceConfigId", "not-there")], 404, ""),
        ([CONFIG], 400, "at least one firmware file"),
        ([CONFIG, FIRMWARE, text_field("name", "n" * 201)], 400, "200 characters"),
    ],
)
async def test_rejected_form_leaves_no_files(
    shared_http: httpx.AsyncClient, shared_folder: Path, fields: list[Field], status: int, message: str
) -> None:
    response = await post_form(shared_http, PACKAGES, *fields)
    assert (response.status_code, message in response.json()["detail"]) == (status, True), response.text
    assert (list_inputs(shared_folder), list_uploads(shared_folder)) == (set(), [])


async def test_encryption_requires_exactly_one_file(shared_http: httpx.AsyncClient, shared_folder: Path) -> None:
    for fields in ([], [file_field("inputFile", b"a"), file_field("inputFile", b"b")]):
        response = await post_form(shared_http, ENCRYPTIONS, CONFIG, *fields)
        assert (response.status_code, response.json()["code"]) == (400, "input")
    assert list_inputs(shared_folder) == set()


async def test_unauthorized_form_leaves_no_files(shared_harness: ServerHarness, shared_folder: Path) -> None:
    for subject in (OWNER, STRANGER):
        response = await post_form(await shared_harness.http_client(subject), PACKAGES, CONFIG, FIRMWARE)
        assert response.status_code in (403, 404)
    assert (list_inputs(shared_folder), list_uploads(shared_folder)) == (set(), [])


async def test_truncated_form_leaves_no_files(shared_http: httpx.AsyncClient, shared_folder: Path) -> None:
    whole = build_form([CONFIG, FIRMWARE, file_field("inputFiles", bytes(3_000_000))])
    response = await shared_http.post(PACKAGES, headers={"Content-Type": FORM_TYPE}, content=whole[:-2_000_000])
    assert (response.status_code, response.json()["code"]) == (400, "input-mismatch")
    assert (list_inputs(shared_folder), list_uploads(shared_folder)) == (set(), [])


async def test_upload_of_other_subject_is_not_found(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    await (await harness.http_client(OWNER)).put(f"/api/v1/upload/{ID}", content=b"theirs")
    response = await post_form(http, PACKAGES, CONFIG, text_field("inputIds", ID))
    assert response.status_code == 404


async def test_checksum_mismatch_is_audited(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    await post_form(http, PACKAGES, CONFIG, FIRMWARE, text_field("sha256checksum", "0" * 64))
    page = await harness.engine.client(ADMIN).audit(AuditFilter(author=DEV, resource="INPUT"))
    assert ["SHA-256 mismatch" in each.message for each in page.entries] == [True]


async def test_same_idempotency_key_returns_same_task(
    harness: ServerHarness, http: httpx.AsyncClient, folder: Path
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await post_form(http, PACKAGES, CONFIG, FIRMWARE, **key)
    second = await post_form(http, PACKAGES, CONFIG, FIRMWARE, **key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["id"] == second.json()["id"]
    assert list_inputs(folder) == {sha256(b"firmware")}
    await harness.engine.client(OWNER).decide(first.json()["id"], Verdict.REJECTED, "no")
    assert (await post_form(http, PACKAGES, CONFIG, FIRMWARE, **key)).json()["id"] == first.json()["id"]
    assert (list_inputs(folder), list_uploads(folder)) == (set(), [])


async def test_idempotency_key_outlives_finished_task(
    harness: ServerHarness, http: httpx.AsyncClient, folder: Path
) -> None:
    await http.put(f"/api/v1/upload/{ID}", content=b"firmware")
    body, key = {"deviceConfigId": GATEWAY, "inputIds": [ID]}, {"Idempotency-Key": "once"}
    first = await http.post(PACKAGES, json=body, headers=key)
    assert (await http.post(PACKAGES, json=body, headers=key)).json()["id"] == first.json()["id"]
    await harness.engine.client(OWNER).decide(first.json()["id"], Verdict.REJECTED, "no")
    assert list_inputs(folder) == set()
    assert (await http.post(PACKAGES, json=body, headers=key)).json()["id"] == first.json()["id"]
    refused = await http.post(PACKAGES, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "input-mismatch")
    assert "no longer stored" in refused.json()["detail"]


async def test_large_form_uses_constant_memory(http: httpx.AsyncClient, folder: Path) -> None:
    chunk, count = bytes(1 << 16), 400
    head, _, tail = build_form([CONFIG, file_field("inputFiles", b"CONTENT")]).partition(b"CONTENT")

    async def iter_body() -> AsyncIterator[bytes]:
        yield head
        for _ in range(count):
            yield chunk
        yield tail

    tracemalloc.start()
    try:
        response = await http.post(PACKAGES, headers={"Content-Type": FORM_TYPE}, content=iter_body())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert response.status_code == 201, response.text
    assert response.json()["inputs"][0]["size"] == len(chunk) * count
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("kind", "field", "hint"),
    [
        ("encryptionTask", Field("file", b"x", "x.bin"), "Use inputFile."),
        ("packagingTask", Field("file", b"x", "x.bin"), "Use inputFiles, metadataFile or metadataFiles."),
        (
            "encryptionTask",
            Field("checksum", b"0"),
            "Use deviceConfigId, name, contentType, justification, resubmissionOf, encryptionKey, sha256checksum or"
            " inputId.",
        ),
    ],
)
async def test_unexpected_form_field_names_expected_ones(
    shared_harness: ServerHarness, kind: str, field: Field, hint: str
) -> None:
    client = await shared_harness.http_client(DEV)
    content = build_form([Field("deviceConfigId", GATEWAY.encode()), field])
    response = await client.post(f"/api/v1/{kind}", headers={"Content-Type": FORM_TYPE}, content=content)
    assert (response.status_code, response.json()["hint"]) == (400, hint)
