"""Test the permissions of each role for each API call, and the isolation of tenants.

The table holds the expected status: 2xx allowed, 401 not authenticated, 403 not allowed, 404 not found or hidden.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.model.access import Action
from sealyard.model.credentials import TokenRequest
from sealyard.model.notifications import NotificationTargetRequest
from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import TaskStatus
from sealyard.model.webhooks import WebhookRequest
from tests.support.server_harness import (
    ADMIN,
    AUDITOR,
    CI,
    DEV,
    GATEWAY,
    OWNER,
    STRANGER,
    ServerHarness,
    create_test_workspace,
    run_server,
    wait_until,
)
from tests.support.workspace_copies import copy_workspace

pytestmark = pytest.mark.anyio

ROLES = {"admin": ADMIN, "dev": DEV, "owner": OWNER, "auditor": AUDITOR, "ci": CI, "stranger": STRANGER}
FILE = {"name": "f.bin", "size": 8, "sha256": "0" * 64}
MESSAGE = base64.b64encode(b"hello").decode()

Statuses = dict[str, int]


def all_roles(status: int, **exceptions: int) -> Statuses:
    return {**dict.fromkeys(ROLES, status), **exceptions}


def viewers(status: int, **exceptions: int) -> Statuses:
    """Expect ``status`` for roles that may view the configuration, and 404 for the others."""
    return {**all_roles(status, auditor=404, stranger=404), **exceptions}


def admin_only(status: int) -> Statuses:
    return all_roles(403, admin=status)


TABLE: list[tuple[str, str, Any, Statuses]] = [
    # ---- tasks: {waiting} was created by dev
    ("GET", "/workspace", None, all_roles(200)),
    ("POST", "/workspace/clockConfirmation", {"confirmed": True}, admin_only(200)),
    ("GET", "/zone", None, admin_only(404)),
    ("POST", "/zone/hosts/crypto-1/drain", None, admin_only(409)),
    ("GET", "/task", None, all_roles(200)),
    ("GET", "/task?deviceConfigId=gateway", None, viewers(200)),
    ("GET", "/task?deviceConfigId=unknown", None, all_roles(404)),
    ("GET", "/task/counts", None, all_roles(200)),
    ("GET", "/signingTask", None, all_roles(200)),
    ("GET", "/packagingTask", None, all_roles(200)),
    ("GET", "/encryptionTask", None, all_roles(200)),
    ("GET", "/signingTask/{waiting}", None, viewers(200)),
    ("GET", "/task/{waiting}", None, viewers(200)),
    ("GET", "/packagingTask/{waiting}", None, all_roles(404)),
    ("GET", "/task/{waiting}/review", None, viewers(200)),
    ("GET", "/task/{waiting}/certificate", None, viewers(200)),
    ("GET", "/task/{waiting}/download", None, viewers(409)),
    ("GET", "/task/unknown/download", None, all_roles(404)),
    ("POST", "/task/{waiting}/receipt", None, viewers(409)),
    ("POST", "/task/{waiting}/renewal", None, viewers(409)),
    ("POST", "/signingTask/{waiting}/approval", {"decision": "APPROVED"}, viewers(403, owner=202)),
    ("POST", "/signingTask/{waiting}/approval", {"decision": "REJECTED"}, viewers(403, owner=202)),
    ("POST", "/task/{waiting}/withdrawal", {"reason": "wrong file"}, viewers(403, dev=200)),
    ("POST", "/task/{waiting}/cancellation", None, viewers(403, dev=202, owner=202)),
    (
        "POST",
        "/signingTask",
        {"deviceConfigId": GATEWAY, "inputBase64": MESSAGE},
        viewers(403, dev=201, ci=201),
    ),
    ("POST", "/packagingTask", {"deviceConfigId": GATEWAY, "inputIds": ["{upload}"]}, viewers(403, dev=201, ci=201)),
    ("POST", "/encryptionTask", {"deviceConfigId": GATEWAY, "inputId": "{upload}"}, viewers(403, dev=201, ci=201)),
    ("POST", "/packagingTask/check", {"deviceConfigId": GATEWAY, "inputs": [FILE]}, viewers(403, dev=200, ci=200)),
    ("POST", "/encryptionTask/check", {"deviceConfigId": GATEWAY, "input": FILE}, viewers(403, dev=200, ci=200)),
    (
        "POST",
        "/signingTask/check",
        {"deviceConfigId": GATEWAY, "inputBase64": MESSAGE},
        viewers(403, dev=200, ci=200),
    ),
    # ---- uploads belong to their subject
    ("GET", "/upload/{upload}", None, all_roles(200)),
    ("GET", "/upload/{devs_upload}", None, all_roles(404, dev=200)),
    ("DELETE", "/upload/{devs_upload}", None, all_roles(404, dev=204)),
    # ---- device configurations
    ("GET", "/deviceConfig", None, all_roles(200)),
    ("GET", "/deviceConfig/gateway", None, viewers(200)),
    ("GET", "/deviceConfig/unknown", None, all_roles(404)),
    ("GET", "/deviceConfig/gateway/certificates", None, viewers(200)),
    ("PATCH", "/deviceConfig/gateway", {"description": "front door"}, viewers(403, admin=200)),
    ("POST", "/deviceConfig/gateway/keyExport", {"confirmed": True}, viewers(403, admin=200)),
    ("POST", "/deviceConfig", {"device": "new"}, admin_only(201)),
    ("GET", "/algorithms", None, all_roles(200)),
    ("GET", "/key", None, admin_only(200)),
    ("POST", "/key", {"uri": "local:{fresh}", "kind": "AES_128", "content": "{key}"}, admin_only(201)),
    ("POST", "/key/generation", {"uri": "local:made-{fresh}", "kind": "ED25519"}, admin_only(201)),
    ("POST", "/key/registration", {"uri": "vault:transit/x"}, admin_only(422)),
    ("GET", "/keyProvider", None, admin_only(200)),
    ("GET", "/keyProvider/keys", None, admin_only(200)),
    ("POST", "/key/rotation", {"uri": "local:gateway-signing"}, admin_only(200)),
    ("POST", "/key/certificate", {"uri": "local:gateway-signing", "content": "{key}"}, admin_only(422)),
    ("POST", "/key/certificateRequest", {"uri": "local:gateway-signing"}, admin_only(200)),
    # ---- access control and policy
    ("GET", "/acl", None, admin_only(200)),
    ("GET", "/acl/all", None, admin_only(200)),
    ("GET", "/acl/names", None, all_roles(200)),
    ("GET", "/acl/identities", None, all_roles(200)),
    ("GET", "/acl/subjects", None, all_roles(200)),
    ("GET", "/acl/subjects/rules", None, all_roles(200)),
    ("POST", "/acl/subjects", {"subject": "USER:{fresh}"}, admin_only(201)),
    (
        "PATCH",
        "/acl/subjects/{group}",
        {"state": "DISABLED", "reason": "left", "confirmed": True},
        admin_only(200),
    ),
    ("DELETE", "/acl/subjects/USER:second/account", None, admin_only(404)),
    ("POST", "/acl/groups", {"group": "{group}", "member": DEV}, admin_only(201)),
    ("DELETE", "/acl/groups/{full_group}/" + DEV, None, admin_only(204)),
    (
        "POST",
        "/acl",
        {"subject": "{group}", "resource": "RESOURCE_TYPE:AUDIT_LOG", "action": "VIEW"},
        admin_only(201),
    ),
    ("DELETE", "/acl/{rule}", None, admin_only(204)),
    ("GET", "/policy", None, all_roles(200)),
    ("PUT", "/policy", {}, admin_only(200)),
    # ---- the audit log
    ("GET", "/auditlog", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/acl/auditlog", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/0", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/deviceconfigs/x", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/resources/TASK", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/resources/TASK/x", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/inclusionProof/0", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/consistencyProof?from=1", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/key", None, all_roles(403, admin=200, auditor=200)),
    ("GET", "/auditlog/export", None, all_roles(403, admin=200, auditor=200)),
    ("POST", "/auditlog/verification", {}, all_roles(403, admin=200, auditor=200)),
    # ---- credentials: own ones, and those of others for administrators
    ("GET", "/token", None, all_roles(200)),
    ("POST", "/token", {"name": "mine"}, all_roles(201, ci=403)),
    ("POST", "/token", {"name": "theirs", "subject": "USER:second"}, admin_only(201)),
    ("DELETE", "/token/{token}", None, all_roles(404, admin=204)),
    ("GET", "/oneTimePassword", None, all_roles(200)),
    ("POST", "/oneTimePassword", {}, all_roles(201, ci=403)),
    ("DELETE", "/oneTimePassword/USER:second", None, admin_only(404)),
    # ---- webhooks
    ("GET", "/webhook", None, admin_only(200)),
    ("POST", "/webhook", {"url": "https://example.org/hook"}, admin_only(201)),
    ("GET", "/webhook/{hook}/deadLetter", None, admin_only(200)),
    ("DELETE", "/webhook/{hook}", None, admin_only(204)),
    ("POST", "/deadLetter/unknown/redelivery", None, admin_only(404)),
    # ---- notifications: own targets, and those of others and of device configurations for administrators
    ("GET", "/notification/target", None, all_roles(200)),
    ("POST", "/notification/target", {"address": "a@example.org"}, all_roles(201, ci=400)),
    ("POST", "/notification/target", {"address": "a@example.org", "subject": DEV}, all_roles(403, admin=201, dev=201)),
    ("POST", "/notification/target", {"address": "a@example.org", "deviceConfig": GATEWAY}, admin_only(201)),
    ("GET", "/notification/target/{target}/failed", None, all_roles(404, admin=200)),
    ("POST", "/notification/target/{target}/test", None, all_roles(404, admin=409)),
    ("DELETE", "/notification/target/{target}", None, all_roles(404, admin=204)),
    ("POST", "/notification/failed/unknown/retry", None, all_roles(404)),
    ("GET", "/notification/settings", None, all_roles(200)),
    ("PUT", "/notification/settings", {}, admin_only(200)),
]


class MatrixContext:
    """Creates the objects that the placeholders of a row name, new ones for each request."""

    def __init__(self, harness: ServerHarness) -> None:
        self.harness = harness
        self.anonymous = harness.anonymous_client()
        self._created = 0
        self._clients: dict[str, httpx.AsyncClient] = {}
        self._foreign_token = ""

    async def http_client(self, subject: str) -> httpx.AsyncClient:
        if subject not in self._clients:
            self._clients[subject] = await self.harness.http_client(subject, "one")
        return self._clients[subject]

    async def foreign_token(self) -> str:
        """Return a token of the administrator of the other tenant."""
        self._foreign_token = self._foreign_token or await self.harness.token(ADMIN, "two")
        return self._foreign_token

    def new_name(self) -> str:
        self._created += 1
        return f"fresh{self._created:04d}"

    async def resolve(self, placeholder: str, subject: str) -> str:
        engine = self.harness.engines["one"]
        admin = engine.client(ADMIN)
        match placeholder:
            case "fresh":
                return self.new_name()
            case "key":
                return base64.b64encode(bytes(16)).decode()
            case "waiting":
                return (await engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"m"))).id
            case "upload":
                return await self._upload(subject)
            case "devs_upload":
                return await self._upload(DEV)
            case "group" | "full_group":
                group = f"GROUP:{self.new_name()}"
                await admin.add_subject(group)
                if placeholder == "full_group":
                    await admin.add_member(group, DEV)
                return group
            case "rule":
                group = await self.resolve("group", subject)
                return (await admin.add_rule(group, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)).id
            case "token":
                return await self._token()
            case "hook":
                return (await admin.add_webhook(WebhookRequest(url="https://example.org/hook"))).webhook.id
            case "target":
                person = f"USER:{self.new_name()}"
                await admin.add_subject(person)
                request = NotificationTargetRequest(address="a@example.org", subject=person)
                return (await admin.add_notification_target(request)).id
        raise AssertionError(placeholder)

    async def _upload(self, subject: str) -> str:
        upload = f"{self.new_name()}-upload-0000"
        response = await (await self.http_client(subject)).put(
            f"/api/v1/upload/{upload}?name=f.bin", content=b"firmware"
        )
        assert response.is_success, response.text
        return upload

    async def _token(self) -> str:
        admin = self.harness.engines["one"].client(ADMIN)
        return (await admin.create_token(TokenRequest(name="second", subject="USER:second"))).token.id

    async def substitute(self, value: Any, subject: str) -> Any:
        if isinstance(value, dict):
            if value == {"device": "new"}:
                return self._device_request()
            return {name: await self.substitute(each, subject) for name, each in value.items()}
        if isinstance(value, list):
            return [await self.substitute(each, subject) for each in value]
        while isinstance(value, str) and "{" in value:
            prefix, _, remainder = value.partition("{")
            placeholder, _, suffix = remainder.partition("}")
            value = f"{prefix}{await self.resolve(placeholder, subject)}{suffix}"
        return value

    def _device_request(self) -> dict[str, Any]:
        return {
            "name": self.new_name(),
            "acl": {"USE": [DEV], "APPROVE": [OWNER]},
            "encryptionKeys": [{"algorithm": "AES128_CTR_NO_PAD"}],
            "signingKeys": [{"algorithm": "ED25519"}],
        }


@pytest.fixture(scope="module")
async def context(workspace_template: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MatrixContext]:
    root = tmp_path_factory.mktemp("tenants")
    one = copy_workspace(workspace_template, root / "one")
    await create_test_workspace(root / "two", "two")
    async with run_server({"one": one, "two": root / "two"}) as harness:
        yield MatrixContext(harness)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]} {row[2] or ''}")
async def test_each_role_gets_expected_status(context: MatrixContext, row: tuple[str, str, Any, Statuses]) -> None:
    method, path, body, expected = row
    statuses = {}
    for role, subject in ROLES.items():
        http = await context.http_client(subject)
        url = f"/api/v1{await context.substitute(path, subject)}"
        response = await http.request(
            method, url, json=await context.substitute(body, subject) if body is not None else None
        )
        statuses[role] = response.status_code
        assert not response.is_server_error, response.text
    assert statuses == expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]} {row[2] or ''}")
async def test_missing_or_foreign_token_is_rejected(
    context: MatrixContext, row: tuple[str, str, Any, Statuses]
) -> None:
    method, path, body, _ = row
    url = f"/api/v1{await context.substitute(path, ADMIN)}"
    content = await context.substitute(body, ADMIN) if body is not None else None
    foreign = await context.foreign_token()
    invalid = (
        {"X-SE-TENANT": "one"},
        {"X-SE-TENANT": "one", "Authorization": f"Bearer {foreign}"},
        {"X-SE-TENANT": "nowhere", "Authorization": f"Bearer {foreign}"},
        {"X-SE-TENANT": "one", "Authorization": "Basic YTpi"},
        {"X-SE-TENANT": "one", "X-SE-SUBJECT": ADMIN},
    )
    for headers in invalid:
        response = await context.anonymous.request(method, url, json=content, headers=headers)
        assert response.status_code == 401, (headers, response.text)


async def test_table_covers_every_documented_call(context: MatrixContext) -> None:
    paths = (await context.harness.anonymous_client().get("/openapi.json")).json()["paths"]
    endpoints = {
        (verb.upper(), path.removeprefix("/api/v1"))
        for path, item in paths.items()
        if path.startswith("/api/v1") and "/link/" not in path
        for verb in item
    }
    covered = {(method, _documented_path(path.partition("?")[0], endpoints)) for method, path, _, _ in TABLE}
    tested_elsewhere = {("GET", "/events"), ("POST", "/oneTimePassword/confirmation")} | {
        call for call in endpoints if call[1].startswith("/upload")
    }
    covered |= {(method, _any_kind(path)) for method, path in covered}
    aliases = {(method, path) for method, path in endpoints if (method, _any_kind(path)) in covered}
    assert endpoints - covered - tested_elsewhere - aliases == set()


def _any_kind(path: str) -> str:
    """Return `path` with the kind of its task replaced by ``task``: all kinds share these handlers."""
    return re.sub(r"^/\w+/{task_id}", "/task/{task_id}", path)


def _documented_path(path: str, endpoints: set[tuple[str, str]]) -> str:
    """Return the documented path that matches `path` of the table."""
    parts = path.split("?", maxsplit=1)[0].rstrip("/").split("/")

    def matches(pattern: str) -> bool:
        template = pattern.rstrip("/").split("/")
        return len(template) == len(parts) and all(
            each == segment or each.startswith("{") for each, segment in zip(template, parts, strict=True)
        )

    exact = [each for _, each in endpoints if each.rstrip("/") == path.rstrip("/")]
    return (exact or [each for _, each in endpoints if matches(each)] or [path])[0]


async def test_task_is_hidden_from_other_tenant(context: MatrixContext) -> None:
    task_id = await context.resolve("waiting", DEV)
    http = await context.harness.http_client(DEV, "two")
    assert (await http.get(f"/api/v1/task/{task_id}")).status_code == 404
    assert (await http.get("/api/v1/task")).json() == []
    assert task_id not in (await (await context.harness.http_client(ADMIN, "two")).get("/api/v1/auditlog")).text


async def test_machine_token_approves_as_machine(context: MatrixContext) -> None:
    task = await context.resolve("waiting", DEV)
    http = await context.harness.http_client(OWNER, "one", machine=True)
    body = {"decision": "APPROVED", "origin": "terminal"}
    response = await http.post(f"/api/v1/signingTask/{task}/approval", json=body)
    assert response.status_code == 202
    assert [each["origin"] for each in response.json()["approvals"]] == ["machine"]


async def test_machine_token_cannot_create_human_credentials(context: MatrixContext) -> None:
    http = await context.harness.http_client(OWNER, "one", machine=True)
    for path, body in (
        ("/token", {"name": "a person's"}),
        ("/oneTimePassword", {}),
        ("/oneTimePassword/confirmation", {"password": "000000"}),
    ):
        assert (await http.post(f"/api/v1{path}", json=body)).status_code == 403


async def test_approved_signing_task_returns_signature(context: MatrixContext) -> None:
    task = await context.resolve("waiting", DEV)
    owner, dev = await context.http_client(OWNER), await context.http_client(DEV)
    response = await owner.post(f"/api/v1/signingTask/{task}/approval", json={"decision": "APPROVED"})
    assert response.status_code == 202

    async def get_done() -> dict[str, Any] | None:
        signing_task: dict[str, Any] = (await dev.get(f"/api/v1/signingTask/{task}")).json()
        return signing_task if signing_task["status"] == TaskStatus.DONE else None

    finished = await wait_until(get_done, "the signature")
    assert finished["signingTaskId"] == task
    assert len(base64.b64decode(finished["outcome"])) == 64


async def test_unknown_tenant_and_invalid_token_look_identical(context: MatrixContext) -> None:
    foreign = await context.harness.token(ADMIN, "two")
    rejections = set()
    for tenant in ("one", "nowhere"):
        for bearer in (foreign, "sy_0000000000_" + 64 * "0", "nonsense"):
            headers = {"X-SE-TENANT": tenant, "Authorization": f"Bearer {bearer}"}
            rejections.add((await context.harness.anonymous_client(headers).get("/api/v1/workspace")).text)
    without_token = {
        (await context.harness.anonymous_client({"X-SE-TENANT": each}).get("/api/v1/workspace")).text
        for each in ("one", "no")
    }
    assert len(rejections) == len(without_token) == 1
