"""Tests of calls and members that the Sign & Encrypt API documents."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.model.audit import AuditAction, AuditFilter, AuditResourceType
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import TaskKind
from tests.support.authenticator import Authenticator
from tests.support.client_kinds import OffsetClock
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, CI, DEV, GATEWAY, OWNER, STRANGER, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

API = "/api/v1"


@pytest.fixture(scope="module")
async def harness(shared_folder: Path) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": shared_folder}) as harness:
        yield harness


@pytest.fixture(scope="module")
async def developer(harness: ServerHarness) -> httpx.AsyncClient:
    return await harness.http_client(DEV)


async def create_package(client: httpx.AsyncClient) -> dict[str, Any]:
    fields = [
        Field("deviceConfigId", GATEWAY.encode()),
        Field("inputFiles", b"boot", "boot.bin"),
        Field("inputFiles", b"app", "app.bin"),
    ]
    content = build_form(fields)
    response = await client.post(f"{API}/packagingTask", headers={"Content-Type": FORM_TYPE}, content=content)
    task: dict[str, Any] = response.json()
    return task


@pytest.fixture(scope="module")
async def task_ids(harness: ServerHarness) -> set[str]:
    """Create more tasks than the engine returns in a page, and return the IDs of all signing tasks of the workspace."""
    client = harness.engine.client(DEV)
    requests = (SigningRequest(config=GATEWAY, message=b"x", name=f"message {number}") for number in range(1_010))
    await asyncio.gather(*(client.create_signing(request) for request in requests))
    ids, after = set[str](), None
    while True:
        page = await client.tasks(TaskFilter(kind=TaskKind.SIGNING), after=after, limit=1_000)
        ids |= {task.id for task in page.tasks}
        if (after := page.next) is None:
            return ids


async def test_task_list_returns_all_tasks(developer: httpx.AsyncClient, task_ids: set[str]) -> None:
    response = await developer.get(f"{API}/signingTask")
    assert {task["id"] for task in response.json()} == task_ids
    assert "x-se-cursor" not in response.headers
    first_page = await developer.get(f"{API}/signingTask", params={"size": 1_005})
    assert len(first_page.json()) == 1_005
    second_page = await developer.get(first_page.links["next"]["url"])
    assert {task["id"] for task in (*first_page.json(), *second_page.json())} == task_ids
    assert len((await developer.get(f"{API}/task")).json()) == 100


async def test_audit_list_above_engine_page_is_complete(harness: ServerHarness, task_ids: set[str]) -> None:
    admin = await harness.http_client(ADMIN)
    entries = (await admin.get(f"{API}/auditlog", params={"size": 10_000})).json()
    assert len(entries) > len(task_ids) > 1_000
    assert [entry["seq"] for entry in entries] == list(range(len(entries)))[::-1]


async def test_page_size_above_limit_is_rejected(developer: httpx.AsyncClient) -> None:
    assert (await developer.get(f"{API}/signingTask", params={"size": 10_000})).status_code == 200
    assert (await developer.get(f"{API}/signingTask", params={"size": 10_001})).status_code == 400


async def test_subtasks_are_read_by_id(developer: httpx.AsyncClient) -> None:
    package = await create_package(developer)
    kinds = {"encryption": "encryptionTask", "signing": "signingTask"}
    for subtask, inputs in zip(package["subtasks"], (["boot.bin"], ["app.bin"], []), strict=True):
        path = f"{API}/{kinds[subtask['kind']]}/{subtask['id']}"
        body = (await developer.get(path)).json()
        assert (body["id"], body["status"], body["kind"]) == (subtask["id"], subtask["status"], subtask["kind"])
        assert body["packagingTaskId"] == package["id"]
        assert body[f"{subtask['kind']}TaskId"] == subtask["id"]
        assert [file["name"] for file in body["inputs"]] == inputs
        assert "downloadUrl" not in body
        assert (await developer.get(f"{API}/task/{subtask['id']}")).status_code == 200


@pytest.mark.parametrize("suffix", [".0", ".9", ".", ".x", ".1.1"])
async def test_unknown_subtask_is_not_found(developer: httpx.AsyncClient, suffix: str) -> None:
    package = await create_package(developer)
    assert (await developer.get(f"{API}/encryptionTask/{package['id']}{suffix}")).status_code == 404


async def test_subtask_of_another_kind_is_not_found(developer: httpx.AsyncClient) -> None:
    package = await create_package(developer)
    assert (await developer.get(f"{API}/signingTask/{package['id']}.1")).status_code == 404
    assert (await developer.get(f"{API}/packagingTask/{package['id']}.1")).status_code == 404


async def test_subtask_is_hidden_without_permission(harness: ServerHarness, developer: httpx.AsyncClient) -> None:
    package = await create_package(developer)
    stranger = await harness.http_client(STRANGER)
    assert (await stranger.get(f"{API}/encryptionTask/{package['id']}.1")).status_code == 404


async def test_subtask_takes_no_decision(harness: ServerHarness, developer: httpx.AsyncClient) -> None:
    package = await create_package(developer)
    owner = await harness.http_client(OWNER)
    path = f"{API}/signingTask/{package['id']}.3/approval"
    assert (await owner.post(path, json={"decision": "APPROVED"})).status_code == 404


async def request_signature(client: httpx.AsyncClient) -> str:
    body = {"deviceConfigId": GATEWAY, "inputBase64": base64.b64encode(b"x").decode()}
    task_id: str = (await client.post(f"{API}/signingTask", json=body)).json()["signingTaskId"]
    return task_id


@pytest.mark.parametrize("verdict", ["APPROVED", "approved", "Rejected"])
async def test_task_carries_decision(harness: ServerHarness, developer: httpx.AsyncClient, verdict: str) -> None:
    path = f"{API}/signingTask/{await request_signature(developer)}"
    assert "decision" not in (await developer.get(path)).json()
    owner = await harness.http_client(OWNER)
    decided = await owner.post(f"{path}/approval", json={"decision": verdict, "reason": None})
    assert (decided.status_code, decided.json()["decision"]) == (202, verdict.upper())
    assert (await developer.get(path)).json()["decision"] == verdict.upper()


async def test_audit_entries_carry_id(harness: ServerHarness) -> None:
    admin = await harness.http_client(ADMIN)
    entries = (await admin.get(f"{API}/auditlog")).json()
    assert [entry["id"] for entry in entries] == [str(entry["seq"]) for entry in entries]
    assert (await admin.get(f"{API}/auditlog/{entries[0]['id']}")).json() == entries[0]


async def test_acl_auditlog_lists_all_entries(harness: ServerHarness) -> None:
    admin = await harness.http_client(ADMIN)
    response = await admin.get(f"{API}/acl/auditlog", params={"size": 3})
    assert response.json() == (await admin.get(f"{API}/auditlog", params={"size": 3})).json()
    assert f"{API}/acl/auditlog" in response.links["next"]["url"]


@pytest.mark.parametrize("resource_type", ["task", "RESOURCE_TYPE", *AuditResourceType])
async def test_known_audit_resource_type_is_accepted(harness: ServerHarness, resource_type: str) -> None:
    admin = await harness.http_client(ADMIN)
    assert (await admin.get(f"{API}/auditlog/resources/{resource_type}")).status_code == 200
    assert (await admin.get(f"{API}/auditlog", params={"resourceType": resource_type})).status_code == 200


@pytest.mark.parametrize("path", ["/resources/NOTHING", "/resources/NOTHING/1", "?resourceType=NOTHING"])
async def test_unknown_audit_resource_type_is_rejected(harness: ServerHarness, path: str) -> None:
    response = await (await harness.http_client(ADMIN)).get(f"{API}/auditlog{path}")
    assert response.status_code == 400
    assert "DEVICE_CONFIG" in response.json()["hint"]


async def test_audited_resource_types_are_known(harness: ServerHarness, developer: httpx.AsyncClient) -> None:
    path = f"{API}/signingTask/{await request_signature(developer)}"
    owner = await harness.http_client(OWNER)
    await owner.post(f"{path}/approval", json={"decision": "APPROVED"})

    async def finished() -> bool:
        return bool((await developer.get(path)).json()["status"] == "DONE")

    await wait_until(finished, "the task is DONE")
    page = await harness.engine.client(ADMIN).audit(AuditFilter(), limit=1000)
    assert {entry.resource_type for entry in page.entries} <= set(AuditResourceType)


@pytest.fixture
def clock() -> OffsetClock:
    return OffsetClock()


@pytest.fixture
async def otp_harness(folder: Path, clock: OffsetClock) -> AsyncIterator[ServerHarness]:
    """A server whose clock and policy other tests do not see."""
    async with run_server({"one": folder}, clock=clock) as harness:
        yield harness


@pytest.fixture
async def authenticator(otp_harness: ServerHarness, clock: OffsetClock) -> Authenticator:
    """Require a one-time password, and enroll an authenticator of the owner."""
    admin, owner = await otp_harness.http_client(ADMIN), await otp_harness.http_client(OWNER)
    policy = (await admin.get(f"{API}/policy")).json()
    assert (await admin.put(f"{API}/policy", json=policy | {"requireOtp": True})).status_code == 200
    authenticator = Authenticator((await owner.post(f"{API}/oneTimePassword", json={})).json()["uri"])
    confirmation = {"password": authenticator.code(clock.now())}
    assert (await owner.post(f"{API}/oneTimePassword/confirmation", json=confirmation)).is_success
    clock.added += timedelta(minutes=5)
    return authenticator


async def decide(client: httpx.AsyncClient, developer: httpx.AsyncClient, **body: str) -> tuple[int, str]:
    path = f"{API}/signingTask/{await request_signature(developer)}/approval"
    response = await client.post(path, json={"decision": "APPROVED", **body})
    return response.status_code, response.json().get("code", "")


async def test_one_time_password_is_enough_to_approve(
    otp_harness: ServerHarness, clock: OffsetClock, authenticator: Authenticator
) -> None:
    owner, developer = await otp_harness.http_client(OWNER), await otp_harness.http_client(DEV)
    assert await decide(owner, developer) == (403, "not-allowed")
    assert await decide(owner, developer, oneTimePassword="000000") == (403, "one-time-password")
    assert await decide(owner, developer, oneTimePassword=authenticator.code(clock.now())) == (202, "")


async def test_machine_with_one_time_password_cannot_approve(
    otp_harness: ServerHarness, clock: OffsetClock, authenticator: Authenticator
) -> None:
    developer = await otp_harness.http_client(DEV)
    code = authenticator.code(clock.now())
    machine = await otp_harness.http_client(OWNER, machine=True)
    client = await otp_harness.http_client(CI)
    for body in ({}, {"origin": "terminal"}, {"origin": "machine"}):
        assert await decide(machine, developer, oneTimePassword=code, **body) == (403, "not-allowed")
        assert await decide(client, developer, oneTimePassword=code, **body) == (403, "not-allowed")
    owner = await otp_harness.http_client(OWNER)
    assert await decide(owner, developer, oneTimePassword=code, origin="machine") == (403, "not-allowed")


async def test_receipt_is_recorded_as_claim(harness: ServerHarness, developer: httpx.AsyncClient) -> None:
    form = build_form([Field("deviceConfigId", GATEWAY.encode()), Field("inputFile", b"content", "firmware.bin")])
    created = await developer.post(f"{API}/encryptionTask", headers={"Content-Type": FORM_TYPE}, content=form)
    path = f"{API}/encryptionTask/{created.json()['id']}"

    async def finished() -> bool:
        return bool((await developer.get(path)).json()["status"] == "DONE")

    await wait_until(finished, "the task is DONE")
    assert (await developer.post(f"{path}/receipt")).status_code == 204
    filters = AuditFilter(resource=f"TASK:{created.json()['id']}", change=AuditAction.DOWNLOADED)
    (entry,) = (await harness.engine.client(ADMIN).audit(filters)).entries
    assert entry.message == f"{DEV} reports a complete and verified download"


async def test_counters_of_new_webhook_are_zero(harness: ServerHarness, developer: httpx.AsyncClient) -> None:
    await request_signature(developer)
    admin = await harness.http_client(ADMIN)
    webhook = (await admin.post(f"{API}/webhook", json={"url": "https://hooks.example.org/x"})).json()["webhook"]
    assert [webhook[name] for name in ("deliveredCount", "pendingCount", "deadLetters")] == [0, 0, 0]
