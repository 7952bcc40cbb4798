"""The documented calls that ask for tasks: with a form or with JSON, once however often they are sent."""

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
AGAIN = {"Idempotency-Key": "the same again"}


@pytest.fixture
async def yard(folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}) as yard:
        yield yard


@pytest.fixture
async def calls(yard: ServerHarness) -> httpx.AsyncClient:
    return await yard.http_client(DEV)


async def sent(calls: httpx.AsyncClient, kind: str, *fields: Field, **headers: str) -> httpx.Response:
    content = build_form([CONFIG, *fields])
    return await calls.post(f"/api/v1/{kind}", headers={"Content-Type": FORM_TYPE, **headers}, content=content)


async def signing(calls: httpx.AsyncClient, headers: dict[str, str] | None = None, **more: Any) -> httpx.Response:
    body = {"deviceConfigId": GATEWAY, "inputBase64": MESSAGE, **more}
    return await calls.post("/api/v1/signingTask", json=body, headers=headers)


async def test_a_documented_call_makes_a_task_with_its_files_in_their_order(calls: httpx.AsyncClient) -> None:
    fields = (SECOND, META, FIRST, Field("name", b"release 7"), Field("contentType", b"firmware"))
    answer = await sent(calls, "packagingTask", *fields)
    assert answer.status_code == 201
    task = answer.json()
    assert task["packagingTaskId"] == task["id"]
    assert (task["status"], task["name"], task["contentType"]) == ("CREATED", "release 7", "firmware")
    assert [each["name"] for each in task["inputs"]] == ["second.bin", "first.bin"]
    assert [each["name"] for each in task["metadata"]] == ["meta.json"]
    assert task["createdBy"] == DEV


async def test_a_wrong_checksum_is_refused_and_no_task_is_made(calls: httpx.AsyncClient) -> None:
    answer = await sent(calls, "encryptionTask", Field("inputFile", b"x", "x.bin"), Field("sha256checksum", b"0" * 64))
    assert (answer.status_code, answer.json()["code"]) == (400, "input")
    assert (await calls.get("/api/v1/task")).json() == []


async def test_the_same_form_under_the_same_key_is_the_same_task_and_another_is_a_conflict(
    calls: httpx.AsyncClient,
) -> None:
    made = [await sent(calls, "packagingTask", FIRST, META, **AGAIN) for _ in range(2)]
    assert [each.status_code for each in made] == [201, 201]
    assert len({each.json()["id"] for each in made}) == 1
    for other in ((SECOND, META), (FIRST,), (FIRST, META, Field("name", b"another"))):
        answer = await sent(calls, "packagingTask", *other, **AGAIN)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert len((await calls.get("/api/v1/task")).json()) == 1


async def test_a_key_is_for_all_kinds_of_its_owner_alone(yard: ServerHarness, calls: httpx.AsyncClient) -> None:
    first = await signing(calls, AGAIN)
    assert (await signing(calls, AGAIN)).json()["id"] == first.json()["id"]
    assert (await signing(calls, AGAIN, inputBase64=base64.b64encode(b"other").decode())).status_code == 409
    assert (await sent(calls, "packagingTask", FIRST, **AGAIN)).status_code == 409
    others = await signing(await yard.http_client(CI), AGAIN)
    assert others.status_code == 201
    assert others.json()["id"] != first.json()["id"]


async def test_uploads_are_named_in_json_too_and_in_their_order(calls: httpx.AsyncClient) -> None:
    ids = [f"an-upload-of-mine-{number}" for number in range(3)]
    for each in ids:
        await calls.put(f"/api/v1/upload/{each}", params={"name": f"{each}.bin"}, content=each.encode())
    body = {"deviceConfigId": GATEWAY, "inputIds": [ids[2], ids[0]], "metadataIds": [ids[1]]}
    task = (await calls.post("/api/v1/packagingTask", json=body)).json()
    assert [each["name"] for each in task["inputs"]] == [f"{ids[2]}.bin", f"{ids[0]}.bin"]
    assert [each["name"] for each in task["metadata"]] == [f"{ids[1]}.bin"]


async def test_a_signing_task_waits_and_takes_its_message_as_it_is(calls: httpx.AsyncClient) -> None:
    answer = await signing(calls, name="release 7")
    assert answer.status_code == 201
    task = answer.json()
    assert task["signingTaskId"] == task["id"]
    assert (task["status"], task["name"]) == ("WAITING", "release 7")


@pytest.mark.parametrize("kind", ["packagingTask", "encryptionTask"])
async def test_another_media_type_is_refused(calls: httpx.AsyncClient, kind: str) -> None:
    for media in ("text/plain", "application/x-www-form-urlencoded", ""):
        answer = await calls.post(f"/api/v1/{kind}", headers={"Content-Type": media}, content=b"x")
        assert (answer.status_code, answer.json()["code"]) == (415, "media-type")


async def test_what_makes_no_sense_is_refused(calls: httpx.AsyncClient) -> None:
    large = {"Content-Type": "application/json"}
    answers = {
        "no Base64": await signing(calls, inputBase64="not*base64"),
        "no text": await signing(calls, inputBase64=7),
        "no JSON": await calls.post("/api/v1/packagingTask", headers=large, content=b"{"),
        "no UTF-8": await calls.post("/api/v1/packagingTask", headers=large, content=b'{"deviceConfigId": "\xff"}'),
        "no uploads": await calls.post("/api/v1/packagingTask", json={"deviceConfigId": GATEWAY}),
        "a long key": await signing(calls, {"Idempotency-Key": "x" * 201}),
    }
    assert {name: each.status_code for name, each in answers.items()} == dict.fromkeys(answers, 400)
    body = b'{"deviceConfigId": "' + bytes(2 << 20) + b'"}'
    assert (await calls.post("/api/v1/packagingTask", headers=large, content=body)).status_code == 413


async def test_a_text_that_is_far_too_long_is_refused_before_the_engine_hears_of_it(
    yard: ServerHarness, calls: httpx.AsyncClient
) -> None:
    before = (await yard.engine.client(ADMIN).workspace()).audit_size
    long = "\x1b" * (512 * 1024)
    for member in ("deviceConfigId", "name", "contentType", "fileName"):
        wrong: dict[str, Any] = {member: long}
        answer = await signing(calls, **wrong)
        assert answer.status_code == 400
        assert member in answer.json()["detail"]
        assert len(answer.content) < 3000
    assert (await yard.engine.client(ADMIN).workspace()).audit_size == before


async def test_who_may_not_see_the_configuration_learns_nothing_of_it(yard: ServerHarness) -> None:
    stranger = await yard.http_client(STRANGER)
    known, unknown = await signing(stranger), await signing(stranger, deviceConfigId="nothing-like-it")
    assert known.status_code == unknown.status_code == 404
    assert known.text.replace(GATEWAY, "*") == unknown.text.replace("nothing-like-it", "*")
