"""Tests of signed download links: access, ranges, rate limit, expiry and forgery."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.server.auth.rate_limit import TokenBucketLimiter
from tests.support.client_kinds import OffsetClock
from tests.support.multipart_builder import FORM_TYPE, Field, build_form
from tests.support.server_harness import ADMIN, DEV, GATEWAY, STRANGER, ServerHarness, run_server, wait_until

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 64
LINK_LIFETIME, RETENTION = timedelta(days=2), timedelta(days=400)


@pytest.fixture
def clock() -> OffsetClock:
    return OffsetClock()


@pytest.fixture
async def harness(folder: Path, clock: OffsetClock) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, clock=clock) as harness:
        yield harness


@pytest.fixture
async def done(harness: ServerHarness) -> httpx.Response:
    """The response for an encryption task of dev in the status DONE."""
    http = await harness.http_client(DEV)
    fields = [Field("deviceConfigId", GATEWAY.encode()), Field("inputFile", CONTENT, "firmware.bin")]
    created = await http.post("/api/v1/encryptionTask", headers={"Content-Type": FORM_TYPE}, content=build_form(fields))
    path = f"/api/v1/encryptionTask/{created.json()['id']}"

    async def get_done() -> httpx.Response | None:
        response = await http.get(path)
        return response if response.json()["status"] == "DONE" else None

    response: httpx.Response = await wait_until(get_done, "the task is done")
    return response


def problem_of(response: httpx.Response) -> tuple[int, str, object]:
    problem = response.json()
    assert response.headers["Content-Type"].startswith("application/problem+json")
    return response.status_code, problem["code"], problem.get("renewable")


async def test_link_download_without_token_is_audited(harness: ServerHarness, done: httpx.Response) -> None:
    response = await harness.anonymous_client().get(done.json()["downloadUrl"])
    assert response.status_code == 200
    result = done.json()["result"]
    assert hashlib.sha256(response.content).hexdigest() == result["sha256"]
    assert response.headers["ETag"] == f'"{result["sha256"]}"'
    assert response.headers["Content-Length"] == str(result["size"])
    match = AuditFilter(resource=f"TASK:{done.json()['id']}", change=AuditAction.DOWNLOADED)

    async def audit_authors() -> list[str]:
        return [each.author for each in (await harness.engine.client(ADMIN).audit(match)).entries]

    # The entry is written after the last byte was sent.
    assert await wait_until(audit_authors, "the audit entry") == ["SYSTEM:link"]


async def test_link_supports_ranges_and_etag(harness: ServerHarness, done: httpx.Response) -> None:
    link, http = done.json()["downloadUrl"], harness.anonymous_client()
    whole = await http.get(link)
    etag, size = whole.headers["ETag"], len(whole.content)
    part = await http.get(link, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{size}"
    tail = await http.get(link, headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, whole.content[-7:])
    mismatched = await http.get(link, headers={"Range": "bytes=100-199", "If-Range": '"another"'})
    assert (mismatched.status_code, mismatched.content) == (200, whole.content)
    unchanged = await http.get(link, headers={"If-None-Match": etag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert problem_of(await http.get(link, headers={"Range": f"bytes={size}-"}))[0] == 416


async def test_partial_download_is_audited_with_offset(harness: ServerHarness, done: httpx.Response) -> None:
    task_id, size, dev = done.json()["id"], done.json()["result"]["size"], await harness.http_client(DEV)
    last = {"Range": "bytes=-1"}
    assert len((await harness.anonymous_client().get(done.json()["downloadUrl"], headers=last)).content) == 1
    assert len((await dev.get(f"/api/v1/task/{task_id}/download", headers=last)).content) == 1
    match = AuditFilter(resource=f"TASK:{task_id}", change=AuditAction.DOWNLOADED)

    async def audit_entries() -> list[AuditEntry]:
        entries = (await harness.engine.client(ADMIN).audit(match)).entries
        return list(entries) if len(entries) == 2 else []

    for entry in await wait_until(audit_entries, "the audit entry"):
        assert f"from byte {size - 1} " in entry.message
        assert entry.new_value is not None
        assert entry.new_value["from"] == size - 1


async def test_link_rate_limit_applies_per_link(
    harness: ServerHarness, done: httpx.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    limiter = TokenBucketLimiter(6, lambda: 0.0)
    monkeypatch.setattr(harness.identity, "_limiter", limiter)
    link, http = done.json()["downloadUrl"], harness.anonymous_client()
    forged = [(await http.get(link[:-8] + "00000000")).status_code for _ in range(3)]
    first, second = await http.get(link), await harness.anonymous_client().get(link)
    assert forged == [403] * 3, "forged links do not count against the limit"
    assert (first.status_code, problem_of(second)) == (200, (429, "too-many-requests", None))
    assert second.headers["Retry-After"] == "10"
    assert (await (await harness.http_client(DEV)).get("/api/v1/task")).status_code == 200


async def test_link_works_with_unprivileged_token(harness: ServerHarness, done: httpx.Response) -> None:
    stranger = await harness.http_client(STRANGER)
    assert (await stranger.get(done.json()["downloadUrl"])).status_code == 200
    assert (await stranger.get(f"/api/v1/task/{done.json()['id']}/download")).status_code == 404


async def test_expired_link_can_be_renewed(harness: ServerHarness, clock: OffsetClock, done: httpx.Response) -> None:
    link, task_id, dev = done.json()["downloadUrl"], done.json()["id"], await harness.http_client(DEV)
    clock.added = LINK_LIFETIME
    assert problem_of(await harness.anonymous_client().get(link)) == (410, "result-expired", True)
    assert problem_of(await dev.get(f"/api/v1/task/{task_id}/download")) == (410, "result-expired", True)
    assert (await dev.get(f"/api/v1/task/{task_id}")).json()["result"]["state"] == "EXPIRED"
    renewed = (await dev.post(f"/api/v1/task/{task_id}/renewal")).json()["downloadUrl"]
    assert (await harness.anonymous_client().get(renewed)).status_code == 200
    assert problem_of(await harness.anonymous_client().get(link)) == (410, "result-expired", True)


async def test_removed_result_cannot_be_renewed(
    harness: ServerHarness, clock: OffsetClock, done: httpx.Response
) -> None:
    clock.added = RETENTION
    link, task_id, dev = done.json()["downloadUrl"], done.json()["id"], await harness.http_client(DEV)
    assert problem_of(await harness.anonymous_client().get(link)) == (410, "result-gone", False)
    assert problem_of(await dev.get(f"/api/v1/task/{task_id}/download")) == (410, "result-gone", False)
    assert problem_of(await dev.post(f"/api/v1/task/{task_id}/renewal")) == (410, "result-gone", False)


async def test_forged_links_get_identical_rejection(harness: ServerHarness, done: httpx.Response) -> None:
    link: str = done.json()["downloadUrl"]
    task_id, expires = done.json()["id"], link.partition("expires=")[2].partition("&")[0]
    workspace = link.rpartition("/link/")[2].partition("/")[0]
    forged = [
        link.replace(f"expires={expires}", f"expires={int(expires) + 1}"),
        link.replace(task_id, "anotherone"),
        link.replace(workspace, "anotherworkspace"),
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.replace("signature=", "signature=x"),
        link.replace(f"expires={expires}", "expires=0x7fffffff"),
    ]
    responses = [await harness.anonymous_client().get(each) for each in forged]
    assert {problem_of(each) for each in responses} == {(403, "not-allowed", None)}
    assert len({each.text for each in responses}) == 1
    assert (await harness.anonymous_client().get(link.partition("&signature")[0])).status_code == 400


async def test_unfinished_task_has_no_download(harness: ServerHarness) -> None:
    dev = await harness.http_client(DEV)
    body = {"deviceConfigId": GATEWAY, "inputBase64": "aGVsbG8="}
    waiting = (await dev.post("/api/v1/signingTask", json=body)).json()
    assert "downloadUrl" not in waiting
    assert problem_of(await dev.get(f"/api/v1/signingTask/{waiting['id']}/download")) == (409, "conflict", None)
