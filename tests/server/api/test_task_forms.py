"""Asking for tasks by a form that brings its files, on a real server: order, checksums, ids, and nothing left over."""

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
LARGEST = 64 << 20
CONFIG = Field("deviceConfigId", GATEWAY.encode())


@pytest.fixture
async def yard(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, largest_upload=LARGEST) as yard:
        yield yard


@pytest.fixture
async def calls(yard: ServerHarness) -> httpx.AsyncClient:
    return await yard.http_client(DEV)


async def asked(calls: httpx.AsyncClient, path: str, *fields: Field, **headers: str) -> httpx.Response:
    return await calls.post(path, headers={"Content-Type": FORM_TYPE, **headers}, content=build_form(fields))


def file(name: str, content: bytes, file_name: str = "firmware.bin") -> Field:
    return Field(name, content, file_name)


def text(name: str, value: str) -> Field:
    return Field(name, value.encode())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored(folder: Path) -> set[str]:
    return {each.name for each in (folder / "artifacts" / "inputs").rglob("*") if each.is_file()}


def left(folder: Path) -> list[Path]:
    return list((folder / "artifacts" / "uploads").iterdir())


def named(files: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(each["name"], each["sha256"]) for each in files]


async def test_files_and_ids_are_packed_in_the_order_in_which_they_appear(
    calls: httpx.AsyncClient, folder: Path
) -> None:
    await calls.put(f"/api/v1/upload/{ID}", params={"name": "second.bin"}, content=b"second")
    answer = await asked(
        calls,
        PACKAGES,
        file("inputFiles", b"first", "first.bin"),
        text("inputIds", ID),
        file("metadataFile", b"{}", "a.json"),
        text("name", "both"),
        file("inputFiles", b"third", "third.bin"),
        text("contentType", "firmware"),
        file("metadataFiles", b"[]", "b.json"),
        CONFIG,
    )
    assert answer.status_code == 201, answer.text
    task = answer.json()
    assert task["id"] == task["packagingTaskId"]
    assert (task["name"], task["contentType"]) == ("both", "firmware")
    contents = {"first.bin": b"first", "second.bin": b"second", "third.bin": b"third"}
    assert named(task["inputs"]) == [(name, sha256(content)) for name, content in contents.items()]
    assert named(task["metadata"]) == [("a.json", sha256(b"{}")), ("b.json", sha256(b"[]"))]
    assert len(left(folder)) == 1  # what is remembered of the upload that came before


async def test_a_file_is_encrypted(calls: httpx.AsyncClient) -> None:
    answer = await asked(
        calls, ENCRYPTIONS, CONFIG, file("inputFile", b"secret"), text("sha256checksum", sha256(b"secret").upper())
    )
    assert answer.status_code == 201, answer.text
    assert answer.json()["encryptionTaskId"] == answer.json()["id"]


async def test_checksums_are_of_the_files_in_their_order_wherever_they_stand(calls: httpx.AsyncClient) -> None:
    files = [file("inputFiles", b"first"), file("inputFiles", b"second")]
    checksums = [text("sha256checksum", sha256(each.content)) for each in files]
    for fields in ([*checksums, *files], [*files, *checksums]):
        assert (await asked(calls, PACKAGES, CONFIG, *fields)).status_code == 201
    swapped = await asked(calls, PACKAGES, CONFIG, *files, *reversed(checksums))
    assert (swapped.status_code, swapped.json()["code"]) == (400, "input")


FIRMWARE = file("inputFiles", b"firmware")


@pytest.mark.parametrize(
    ("fields", "status", "words"),
    [
        ([CONFIG, FIRMWARE, text("sha256checksum", "0" * 64)], 400, "SHA-256 mismatch for"),
        (
            [CONFIG, FIRMWARE, FIRMWARE, text("sha256checksum", sha256(b"firmware"))],
            400,
            "checksums (1) and files (2) differ",
        ),
        ([CONFIG, FIRMWARE, file("inputFiles", b"")], 400, "empty"),
        ([CONFIG, FIRMWARE, file("inputFile", b"x")], 400, "Unexpected file field inputFile"),
        ([CONFIG, FIRMWARE, text("inputFiles", "x")], 400, "Unexpected text field inputFiles"),
        ([CONFIG, FIRMWARE, CONFIG], 400, "Repeated form field deviceConfigId"),
        ([CONFIG, FIRMWARE, text("inputIds", "not-there-at-all-00")], 404, "Upload not-there-at-all-00 not found"),
        ([FIRMWARE], 400, "Missing form field deviceConfigId"),
        ([FIRMWARE, text("deviceConfigId", "not-there")], 404, ""),
        ([CONFIG], 400, "at least one firmware file"),
        ([CONFIG, FIRMWARE, text("name", "n" * 201)], 400, "200 characters"),
    ],
)
async def test_a_form_that_is_refused_leaves_nothing_behind(
    calls: httpx.AsyncClient, folder: Path, fields: list[Field], status: int, words: str
) -> None:
    answer = await asked(calls, PACKAGES, *fields)
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
    assert (stored(folder), left(folder)) == (set(), [])


async def test_an_encryption_takes_exactly_one_file(calls: httpx.AsyncClient, folder: Path) -> None:
    for fields in ([], [file("inputFile", b"a"), file("inputFile", b"b")]):
        answer = await asked(calls, ENCRYPTIONS, CONFIG, *fields)
        assert (answer.status_code, answer.json()["code"]) == (400, "input")
    assert stored(folder) == set()


async def test_who_may_not_use_the_configuration_leaves_nothing_behind(yard: ServerHarness, folder: Path) -> None:
    for subject in (OWNER, STRANGER):
        answer = await asked(await yard.http_client(subject), PACKAGES, CONFIG, FIRMWARE)
        assert answer.status_code in (403, 404)
    assert (stored(folder), left(folder)) == (set(), [])


async def test_a_form_that_breaks_off_leaves_nothing_behind(
    yard: ServerHarness, calls: httpx.AsyncClient, folder: Path
) -> None:
    whole = build_form([CONFIG, FIRMWARE, file("inputFiles", bytes(3_000_000))])
    answer = await calls.post(PACKAGES, headers={"Content-Type": FORM_TYPE}, content=whole[:-2_000_000])
    assert (answer.status_code, answer.json()["code"]) == (400, "input")
    assert (stored(folder), left(folder)) == (set(), [])


async def test_another_subjects_upload_makes_no_task(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    await (await yard.http_client(OWNER)).put(f"/api/v1/upload/{ID}", content=b"theirs")
    answer = await asked(calls, PACKAGES, CONFIG, text("inputIds", ID))
    assert answer.status_code == 404


async def test_a_wrong_checksum_is_in_the_audit_log(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    await asked(calls, PACKAGES, CONFIG, FIRMWARE, text("sha256checksum", "0" * 64))
    page = await yard.engine.client(ADMIN).audit(AuditFilter(author=DEV, resource="INPUT"))
    assert ["SHA-256 mismatch" in each.message for each in page.entries] == [True]


async def test_the_same_form_and_key_give_the_same_task(
    yard: ServerHarness, calls: httpx.AsyncClient, folder: Path
) -> None:
    key = {"Idempotency-Key": "once"}
    first = await asked(calls, PACKAGES, CONFIG, FIRMWARE, **key)
    again = await asked(calls, PACKAGES, CONFIG, FIRMWARE, **key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["id"] == again.json()["id"]
    assert stored(folder) == {sha256(b"firmware")}
    await yard.engine.client(OWNER).decide(first.json()["id"], Verdict.REJECTED, "no")
    assert (await asked(calls, PACKAGES, CONFIG, FIRMWARE, **key)).json()["id"] == first.json()["id"]
    assert (stored(folder), left(folder)) == (set(), [])


async def test_the_same_ids_and_key_give_the_same_task_also_after_it_ended(
    yard: ServerHarness, calls: httpx.AsyncClient, folder: Path
) -> None:
    await calls.put(f"/api/v1/upload/{ID}", content=b"firmware")
    body, key = {"deviceConfigId": GATEWAY, "inputIds": [ID]}, {"Idempotency-Key": "once"}
    first = await calls.post(PACKAGES, json=body, headers=key)
    assert (await calls.post(PACKAGES, json=body, headers=key)).json()["id"] == first.json()["id"]
    await yard.engine.client(OWNER).decide(first.json()["id"], Verdict.REJECTED, "no")
    assert stored(folder) == set()
    assert (await calls.post(PACKAGES, json=body, headers=key)).json()["id"] == first.json()["id"]
    refused = await calls.post(PACKAGES, json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "input")
    assert "no longer stored" in refused.json()["detail"]


async def test_memory_does_not_grow_with_the_files_of_a_form(calls: httpx.AsyncClient, folder: Path) -> None:
    chunk, count = bytes(1 << 16), 900
    head, _, tail = build_form([CONFIG, file("inputFiles", b"CONTENT")]).partition(b"CONTENT")

    async def large() -> AsyncIterator[bytes]:
        yield head
        for _ in range(count):
            yield chunk
        yield tail

    tracemalloc.start()
    try:
        answer = await calls.post(PACKAGES, headers={"Content-Type": FORM_TYPE}, content=large())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert answer.status_code == 201, answer.text
    assert answer.json()["inputs"][0]["size"] == len(chunk) * count
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("kind", "field", "hint"),
    [
        ("encryptionTask", Field("file", b"x", "x.bin"), "Use inputFile."),
        ("packagingTask", Field("file", b"x", "x.bin"), "Use inputFiles, metadataFile or metadataFiles."),
        (
            "encryptionTask",
            Field("checksum", b"0"),
            "Use deviceConfigId, name, contentType, sha256checksum or inputId.",
        ),
    ],
)
async def test_unexpected_form_field_names_expected_ones(
    yard: ServerHarness, kind: str, field: Field, hint: str
) -> None:
    client = await yard.http_client(DEV)
    content = build_form([Field("deviceConfigId", GATEWAY.encode()), field])
    response = await client.post(f"/api/v1/{kind}", headers={"Content-Type": FORM_TYPE}, content=content)
    assert (response.status_code, response.json()["hint"]) == (400, hint)
