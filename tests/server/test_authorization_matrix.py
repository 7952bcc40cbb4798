"""Every call for every role: exactly what each may do, in one table. Nothing crosses from one tenant to another.

A status stands for what is answered: 2xx done, 401 nobody who is known, 403 not allowed, 404 not there or not to be
seen.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from sealyard.model.access import Action
from sealyard.model.credentials import TokenRequest
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
    copy_workspace,
    create_test_workspace,
    run_server,
    wait_until,
)

pytestmark = pytest.mark.anyio

ROLES = {"admin": ADMIN, "dev": DEV, "owner": OWNER, "auditor": AUDITOR, "ci": CI, "stranger": STRANGER}
MESSAGE = base64.b64encode(b"hello").decode()

Answers = dict[str, int]


def everybody(status: int, **others: int) -> Answers:
    return {**dict.fromkeys(ROLES, status), **others}


def seeing(status: int, **others: int) -> Answers:
    """Those who may see the configuration get ``status``; to the others nothing is there."""
    return {**everybody(status, auditor=404, stranger=404), **others}


def admin_only(status: int) -> Answers:
    return everybody(403, admin=status)


TABLE: list[tuple[str, str, Any, Answers]] = [
    # ---- the tasks: {waiting} asked for by dev, {done} by dev
    ("GET", "/workspace", None, everybody(200)),
    ("GET", "/task", None, everybody(200)),
    ("GET", "/task?deviceConfigId=gateway", None, seeing(200)),
    ("GET", "/task?deviceConfigId=unknown", None, everybody(404)),
    ("GET", "/task/counts", None, everybody(200)),
    ("GET", "/signingTask", None, everybody(200)),
    ("GET", "/packagingTask", None, everybody(200)),
    ("GET", "/encryptionTask", None, everybody(200)),
    ("GET", "/signingTask/{waiting}", None, seeing(200)),
    ("GET", "/task/{waiting}", None, seeing(200)),
    ("GET", "/packagingTask/{waiting}", None, everybody(404)),
    ("GET", "/task/{waiting}/review", None, seeing(200)),
    ("GET", "/task/{waiting}/certificate", None, seeing(200)),
    ("GET", "/task/{waiting}/download", None, seeing(409)),
    ("GET", "/task/unknown/download", None, everybody(404)),
    ("POST", "/task/{waiting}/receipt", None, seeing(409)),
    ("POST", "/task/{waiting}/renewal", None, seeing(409)),
    ("POST", "/signingTask/{waiting}/approval", {"decision": "APPROVED"}, seeing(403, owner=202)),
    ("POST", "/signingTask/{waiting}/approval", {"decision": "REJECTED"}, seeing(403, owner=202)),
    ("POST", "/task/{waiting}/withdrawal", {"reason": "wrong file"}, seeing(403, dev=200)),
    ("POST", "/task/{waiting}/cancellation", None, seeing(403, dev=202, owner=202)),
    (
        "POST",
        "/signingTask",
        {"deviceConfigId": GATEWAY, "inputBase64": MESSAGE},
        seeing(403, dev=201, ci=201),
    ),
    ("POST", "/packagingTask", {"deviceConfigId": GATEWAY, "inputIds": ["{upload}"]}, seeing(403, dev=201, ci=201)),
    ("POST", "/encryptionTask", {"deviceConfigId": GATEWAY, "inputId": "{upload}"}, seeing(403, dev=201, ci=201)),
    # ---- uploads are the subject's own
    ("GET", "/upload/{upload}", None, everybody(200)),
    ("GET", "/upload/{devs_upload}", None, everybody(404, dev=200)),
    ("DELETE", "/upload/{devs_upload}", None, everybody(404, dev=204)),
    # ---- device configurations
    ("GET", "/deviceConfig", None, everybody(200)),
    ("GET", "/deviceConfig/gateway", None, seeing(200)),
    ("GET", "/deviceConfig/unknown", None, everybody(404)),
    ("GET", "/deviceConfig/gateway/certificates", None, seeing(200)),
    ("PATCH", "/deviceConfig/gateway", {"description": "front door"}, seeing(403, admin=200)),
    ("POST", "/deviceConfig/gateway/keyExport", {"confirmed": True}, seeing(403, admin=200)),
    ("POST", "/deviceConfig", {"device": "new"}, admin_only(201)),
    ("GET", "/algorithms", None, everybody(200)),
    ("GET", "/key", None, admin_only(200)),
    ("POST", "/key", {"uri": "local:{fresh}", "kind": "AES_128", "content": "{key}"}, admin_only(201)),
    ("POST", "/key/rotation", {"uri": "local:gateway-signing"}, admin_only(200)),
    # ---- access control and policy
    ("GET", "/acl", None, admin_only(200)),
    ("GET", "/acl/all", None, admin_only(200)),
    ("GET", "/acl/subjects", None, everybody(200)),
    ("GET", "/acl/subjects/rules", None, everybody(200)),
    ("POST", "/acl/subjects", {"subject": "USER:{fresh}"}, admin_only(201)),
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
    ("GET", "/policy", None, everybody(200)),
    ("PUT", "/policy", {}, admin_only(200)),
    # ---- the audit log
    ("GET", "/auditlog", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/acl/auditlog", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/auditlog/0", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/auditlog/deviceconfigs/x", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/auditlog/resources/TASK", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/auditlog/resources/TASK/x", None, everybody(403, admin=200, auditor=200)),
    ("GET", "/auditlog/export", None, everybody(403, admin=200, auditor=200)),
    ("POST", "/auditlog/verification", {}, everybody(403, admin=200, auditor=200)),
    # ---- credentials: one's own; those of others for who adds people
    ("GET", "/token", None, everybody(200)),
    ("POST", "/token", {"name": "mine"}, everybody(201, ci=403)),
    ("POST", "/token", {"name": "theirs", "subject": "USER:second"}, admin_only(201)),
    ("DELETE", "/token/{token}", None, everybody(404, admin=204)),
    ("GET", "/oneTimePassword", None, everybody(200)),
    ("POST", "/oneTimePassword", {}, everybody(201, ci=403)),
    ("DELETE", "/oneTimePassword/USER:second", None, admin_only(404)),
    # ---- webhooks
    ("GET", "/webhook", None, admin_only(200)),
    ("POST", "/webhook", {"url": "https://example.org/hook"}, admin_only(201)),
    ("GET", "/webhook/{hook}/deadLetter", None, admin_only(200)),
    ("DELETE", "/webhook/{hook}", None, admin_only(204)),
    ("POST", "/deadLetter/unknown/redelivery", None, admin_only(404)),
]


class Scene:
    """What a row names, made afresh for each call that names it."""

    def __init__(self, yard: ServerHarness) -> None:
        self.yard = yard
        self._made = 0
        self._calls: dict[str, httpx.AsyncClient] = {}

    async def calls(self, subject: str) -> httpx.AsyncClient:
        if subject not in self._calls:
            self._calls[subject] = await self.yard.http_client(subject, "one")
        return self._calls[subject]

    def fresh(self) -> str:
        self._made += 1
        return f"fresh{self._made:04d}"

    async def name(self, what: str, subject: str) -> str:
        engine = self.yard.engines["one"]
        admin = engine.client(ADMIN)
        match what:
            case "fresh":
                return self.fresh()
            case "key":
                return base64.b64encode(bytes(16)).decode()
            case "waiting":
                return (await engine.client(DEV).create_signing(SigningRequest(config=GATEWAY, message=b"m"))).id
            case "upload":
                return await self._upload(subject)
            case "devs_upload":
                return await self._upload(DEV)
            case "group" | "full_group":
                group = f"GROUP:{self.fresh()}"
                await admin.add_subject(group)
                if what == "full_group":
                    await admin.add_member(group, DEV)
                return group
            case "rule":
                group = await self.name("group", subject)
                return (await admin.add_rule(group, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)).id
            case "token":
                return await self._token()
            case "hook":
                return (await admin.add_webhook(WebhookRequest(url="https://example.org/hook"))).webhook.id
        raise AssertionError(what)

    async def _upload(self, subject: str) -> str:
        upload = f"{self.fresh()}-upload-0000"
        answer = await (await self.calls(subject)).put(f"/api/v1/upload/{upload}?name=f.bin", content=b"firmware")
        assert answer.is_success, answer.text
        return upload

    async def _token(self) -> str:
        admin = self.yard.engines["one"].client(ADMIN)
        return (await admin.create_token(TokenRequest(name="second", subject="USER:second"))).token.id

    async def filled(self, value: Any, subject: str) -> Any:
        if isinstance(value, dict):
            if value == {"device": "new"}:
                return self._device()
            return {name: await self.filled(each, subject) for name, each in value.items()}
        if isinstance(value, list):
            return [await self.filled(each, subject) for each in value]
        while isinstance(value, str) and "{" in value:
            before, _, rest = value.partition("{")
            what, _, after = rest.partition("}")
            value = f"{before}{await self.name(what, subject)}{after}"
        return value

    def _device(self) -> dict[str, Any]:
        return {
            "name": self.fresh(),
            "acl": {"USE": [DEV], "APPROVE": [OWNER]},
            "encryptionKeys": [{"algorithm": "AES128_CTR_NO_PAD"}],
            "signingKeys": [{"algorithm": "ED25519"}],
        }


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def scene(founded: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    root = tmp_path_factory.mktemp("tenants")
    one = copy_workspace(founded, root / "one")
    await create_test_workspace(root / "two", "two")
    async with run_server({"one": one, "two": root / "two"}) as yard:
        yield Scene(yard)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]} {row[2] or ''}")
async def test_each_role_may_do_exactly_this(scene: Scene, row: tuple[str, str, Any, Answers]) -> None:
    method, path, body, expected = row
    answered = {}
    for role, subject in ROLES.items():
        calls = await scene.calls(subject)
        url = f"/api/v1{await scene.filled(path, subject)}"
        answer = await calls.request(method, url, json=await scene.filled(body, subject) if body is not None else None)
        answered[role] = answer.status_code
        assert not answer.is_server_error, answer.text
    assert answered == expected


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]} {row[2] or ''}")
async def test_without_a_token_or_with_one_of_another_tenant_nothing_is_told(
    scene: Scene, row: tuple[str, str, Any, Answers]
) -> None:
    method, path, body, _ = row
    url = f"/api/v1{await scene.filled(path, ADMIN)}"
    sent = await scene.filled(body, ADMIN) if body is not None else None
    others = await scene.yard.token(ADMIN, "two")
    wrong = (
        {"X-SE-TENANT": "one"},
        {"X-SE-TENANT": "one", "Authorization": f"Bearer {others}"},
        {"X-SE-TENANT": "nowhere", "Authorization": f"Bearer {others}"},
        {"X-SE-TENANT": "one", "Authorization": "Basic YTpi"},
        {"X-SE-TENANT": "one", "X-SE-SUBJECT": ADMIN},
    )
    for headers in wrong:
        answer = await scene.yard.anonymous_client(headers).request(method, url, json=sent)
        assert answer.status_code == 401, (headers, answer.text)


async def test_the_table_has_every_call_of_the_document(scene: Scene) -> None:
    described = (await scene.yard.anonymous_client().get("/openapi.json")).json()["paths"]
    calls = {
        (verb.upper(), path.removeprefix("/api/v1"))
        for path, item in described.items()
        if path.startswith("/api/v1") and "/link/" not in path
        for verb in item
    }
    covered = {(method, _pattern(path, calls)) for method, path, _, _ in TABLE}
    apart = {("GET", "/events"), ("POST", "/oneTimePassword/confirmation")} | {
        call for call in calls if call[1].startswith("/upload")
    }
    same = {(verb, path) for verb, path in calls if path.split("/")[1] in ("packagingTask", "encryptionTask")}
    same |= {(verb, path) for verb, path in calls if path.split("/")[1] in ("task", "signingTask")}
    assert calls - covered - apart - same == set()


def _pattern(path: str, calls: set[tuple[str, str]]) -> str:
    """The path of the document that a path of the table stands for."""
    parts = path.split("?", maxsplit=1)[0].rstrip("/").split("/")

    def fits(pattern: str) -> bool:
        wanted = pattern.rstrip("/").split("/")
        return len(wanted) == len(parts) and all(
            each == own or each.startswith("{") for each, own in zip(wanted, parts, strict=True)
        )

    exact = [each for _, each in calls if each.rstrip("/") == path.rstrip("/")]
    return (exact or [each for _, each in calls if fits(each)] or [path])[0]


async def test_two_tenants_have_nothing_in_common(scene: Scene) -> None:
    mine = await scene.name("waiting", DEV)
    calls = await scene.yard.http_client(DEV, "two")
    assert (await calls.get(f"/api/v1/task/{mine}")).status_code == 404
    assert (await calls.get("/api/v1/task")).json() == []
    assert mine not in (await (await scene.yard.http_client(ADMIN, "two")).get("/api/v1/auditlog")).text


async def test_a_machine_token_of_a_person_approves_as_a_machine(scene: Scene) -> None:
    task = await scene.name("waiting", DEV)
    calls = await scene.yard.http_client(OWNER, "one", machine=True)
    body = {"decision": "APPROVED", "origin": "terminal"}
    answer = await calls.post(f"/api/v1/signingTask/{task}/approval", json=body)
    assert answer.status_code == 202
    assert [each["origin"] for each in answer.json()["approvals"]] == ["machine"]


async def test_a_machine_token_makes_no_credentials_that_a_person_is_known_by(scene: Scene) -> None:
    calls = await scene.yard.http_client(OWNER, "one", machine=True)
    for path, body in (
        ("/token", {"name": "a person's"}),
        ("/oneTimePassword", {}),
        ("/oneTimePassword/confirmation", {"password": "000000"}),
    ):
        assert (await calls.post(f"/api/v1{path}", json=body)).status_code == 403


async def test_an_approved_signing_task_ends_with_its_outcome(scene: Scene) -> None:
    task = await scene.name("waiting", DEV)
    owner, dev = await scene.calls(OWNER), await scene.calls(DEV)
    answer = await owner.post(f"/api/v1/signingTask/{task}/approval", json={"decision": "APPROVED"})
    assert answer.status_code == 202

    async def done() -> dict[str, Any] | None:
        found: dict[str, Any] = (await dev.get(f"/api/v1/signingTask/{task}")).json()
        return found if found["status"] == TaskStatus.DONE else None

    ended = await wait_until(done, "the signature")
    assert ended["signingTaskId"] == task
    assert len(base64.b64decode(ended["outcome"])) == 64


async def test_an_unknown_tenant_and_a_wrong_token_are_refused_in_the_same_words(scene: Scene) -> None:
    own = await scene.yard.token(ADMIN, "two")
    refused = set()
    for tenant in ("one", "nowhere"):
        for bearer in (own, "sy_0000000000_" + 64 * "0", "nonsense"):
            headers = {"X-SE-TENANT": tenant, "Authorization": f"Bearer {bearer}"}
            refused.add((await scene.yard.anonymous_client(headers).get("/api/v1/workspace")).text)
    without = {
        (await scene.yard.anonymous_client({"X-SE-TENANT": each}).get("/api/v1/workspace")).text
        for each in ("one", "no")
    }
    assert len(refused) == len(without) == 1
