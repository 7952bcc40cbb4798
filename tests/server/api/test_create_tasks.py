"""Tests of the task creation endpoints: forms, JSON bodies and idempotency keys."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, CI, DEV, GATEWAY, STRANGER, ServerHarness, run_server

pytestmark = pytest.mark.anyio

CONFIG = Field("deviceConfigId", GATEWAY.encode())
FIRST, SECOND, META = (
    Field("inputFiles", b"first", "first.bin"),
    Field("inputFiles", b"second", "second.bin"),
    Field("metadataFiles", b"{}", "meta.json"),
)
MESSAGE = base64.b64encode(b"hello").decode()
IDEMPOTENT = {"Idempotency-Key": "same-key"}


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


@pytest.fixture(scope="module")
async def http(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


async def post_form(http: httpx.AsyncClient, kind: str, *fields: Field, **headers: str) -> httpx.Response:
    content = build_form([CONFIG, *fields])
    return await http.post(f"/api/v1/{kind}", headers={"Content-Type": FORM_TYPE, **headers}, content=content)


async def post_signing_task(
    http: httpx.AsyncClient, headers: dict[str, str] | None = None, **members: Any
) -> httpx.Response:
    body = {"deviceConfigId": GATEWAY, "inputBase64": MESSAGE, **members}
    return await http.post("/api/v1/signingTask", json=body, headers=headers)


async def test_packaging_form_creates_task_with_ordered_files(http: httpx.AsyncClient) -> None:
    fields = (SECOND, META, FIRST, Field("name", b"release 7"), Field("contentType", b"firmware"))
    response = await post_form(http, "packagingTask", *fields)
    assert response.status_code == 201
    task = response.json()
    assert task["packagingTaskId"] == task["id"]
    assert (task["status"], task["name"], task["contentType"]) == ("CREATED", "release 7", "firmware")
    assert [each["name"] for each in task["inputs"]] == ["second.bin", "first.bin"]
    assert [each["name"] for each in task["metadata"]] == ["meta.json"]
    assert task["createdBy"] == DEV


async def test_checksum_mismatch_creates_no_task(http: httpx.AsyncClient) -> None:
    tasks = (await http.get("/api/v1/task")).json()
    response = await post_form(
        http, "encryptionTask", Field("inputFile", b"x", "x.bin"), Field("sha256checksum", b"0" * 64)
    )
    assert (response.status_code, response.json()["code"]) == (400, "input-mismatch")
    assert (await http.get("/api/v1/task")).json() == tasks


async def test_idempotency_key_with_other_form_conflicts(
    http: httpx.AsyncClient,
) -> None:
    count, key = len((await http.get("/api/v1/task")).json()), {"Idempotency-Key": "same-form"}
    responses = [await post_form(http, "packagingTask", FIRST, META, **key) for _ in range(2)]
    assert [each.status_code for each in responses] == [201, 201]
    assert len({each.json()["id"] for each in responses}) == 1
    for other in ((SECOND, META), (FIRST,), (FIRST, META, Field("name", b"another"))):
        response = await post_form(http, "packagingTask", *other, **key)
        assert (response.status_code, response.json()["code"]) == (409, "conflict")
    assert len((await http.get("/api/v1/task")).json()) == count + 1


async def test_idempotency_key_applies_per_subject(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    first = await post_signing_task(http, IDEMPOTENT)
    assert (await post_signing_task(http, IDEMPOTENT)).json()["id"] == first.json()["id"]
    assert (
        await post_signing_task(http, IDEMPOTENT, inputBase64=base64.b64encode(b"other").decode())
    ).status_code == 409
    assert (await post_form(http, "packagingTask", FIRST, **IDEMPOTENT)).status_code == 409
    other_response = await post_signing_task(await harness.http_client(CI), IDEMPOTENT)
    assert other_response.status_code == 201
    assert other_response.json()["id"] != first.json()["id"]


async def test_json_request_uses_uploads_in_order(http: httpx.AsyncClient) -> None:
    ids = [f"an-upload-of-mine-{number}" for number in range(3)]
    for each in ids:
        await http.put(f"/api/v1/upload/{each}", params={"name": f"{each}.bin"}, content=each.encode())
    body = {"deviceConfigId": GATEWAY, "inputIds": [ids[2], ids[0]], "metadataIds": [ids[1]]}
    task = (await http.post("/api/v1/packagingTask", json=body)).json()
    assert [each["name"] for each in task["inputs"]] == [f"{ids[2]}.bin", f"{ids[0]}.bin"]
    assert [each["name"] for each in task["metadata"]] == [f"{ids[1]}.bin"]


async def test_signing_request_creates_waiting_task(http: httpx.AsyncClient) -> None:
    response = await post_signing_task(http, name="release 7")
    assert response.status_code == 201
    task = response.json()
    assert task["signingTaskId"] == task["id"]
    assert (task["status"], task["name"]) == ("WAITING", "release 7")


@pytest.mark.parametrize("kind", ["packagingTask", "encryptionTask"])
async def test_unsupported_media_type_is_rejected(http: httpx.AsyncClient, kind: str) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", ""):
        response = await http.post(f"/api/v1/{kind}", headers={"Content-Type": media}, content=b"x")
        assert (response.status_code, response.json()["code"]) == (415, "media-type")


async def test_malformed_request_is_rejected(http: httpx.AsyncClient) -> None:
    json_headers = {"Content-Type": "application/json"}
    responses = {
        "no Base64": await post_signing_task(http, inputBase64="not*base64"),
        "no text": await post_signing_task(http, inputBase64=7),
        "no JSON": await http.post("/api/v1/packagingTask", headers=json_headers, content=b"{"),
        "no UTF-8": await http.post(
            "/api/v1/packagingTask", headers=json_headers, content=b'{"deviceConfigId": "\xff"}'
        ),
        "no uploads": await http.post("/api/v1/packagingTask", json={"deviceConfigId": GATEWAY}),
        "a long key": await post_signing_task(http, {"Idempotency-Key": "x" * 201}),
    }
    assert {name: each.status_code for name, each in responses.items()} == dict.fromkeys(responses, 400)
    body = b'{"deviceConfigId": "' + bytes(2 << 20) + b'"}'
    assert (await http.post("/api/v1/packagingTask", headers=json_headers, content=body)).status_code == 413


async def test_overlong_text_is_rejected_without_audit_entry(harness: ServerHarness, http: httpx.AsyncClient) -> None:
    await harness.engine.wait_idle()  # jobs of other tests would add entries
    size_before = (await harness.engine.client(ADMIN).workspace()).audit_size
    long_text = "\x1b" * (512 * 1024)
    for member in ("deviceConfigId", "name", "contentType", "fileName"):
        invalid: dict[str, Any] = {member: long_text}
        response = await post_signing_task(http, **invalid)
        assert response.status_code == 400
        assert member in response.json()["detail"]
        assert len(response.content) < 3000
    assert (await harness.engine.client(ADMIN).workspace()).audit_size == size_before


async def test_hidden_configuration_is_reported_as_unknown(harness: ServerHarness) -> None:
    stranger = await harness.http_client(STRANGER)
    known, unknown = (
        await post_signing_task(stranger),
        await post_signing_task(stranger, deviceConfigId="nothing-like-it"),
    )
    assert known.status_code == unknown.status_code == 404
    assert known.text.replace(GATEWAY, "*") == unknown.text.replace("nothing-like-it", "*")


async def test_forms_and_json_take_justification_and_earlier_task(http: httpx.AsyncClient) -> None:
    earlier = (await post_form(http, "packagingTask", FIRST)).json()["id"]
    withdrawn = await http.post(f"/api/v1/packagingTask/{earlier}/withdrawal", json={"reason": "not needed"})
    assert (withdrawn.json()["status"], withdrawn.json()["detailedStatus"]) == ("CANCELLED", "WITHDRAWN")
    fields = (Field("justification", "fixes ☂".encode()), Field("resubmissionOf", earlier.encode()))
    package = (await post_form(http, "packagingTask", FIRST, *fields)).json()
    encryption = (await post_form(http, "encryptionTask", Field("inputFile", b"x", "x.bin"), *fields)).json()
    signing = (await post_signing_task(http, justification="fixes ☂", resubmissionOf=earlier)).json()
    for task in (package, encryption, signing):
        assert (task["justification"], task["resubmissionOf"]) == ("fixes ☂", earlier)
    rejected = await post_form(http, "packagingTask", FIRST, Field("justification", b"x" * 2001))
    assert (rejected.status_code, rejected.json()["code"]) == (400, "usage")
