"""A result by its link: whoever has the link gets it, whole or a part, until the link ends."""

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
LINK_ENDS, KEPT = timedelta(days=2), timedelta(days=400)


@pytest.fixture
def clock() -> OffsetClock:
    return OffsetClock()


@pytest.fixture
async def yard(folder: Path, clock: OffsetClock) -> AsyncIterator[ServerHarness]:
    async with run_server({"one": folder}, clock=clock) as yard:
        yield yard


@pytest.fixture
async def done(yard: ServerHarness) -> httpx.Response:
    """An encryption task of dev's that is DONE."""
    calls = await yard.http_client(DEV)
    fields = [Field("deviceConfigId", GATEWAY.encode()), Field("inputFile", CONTENT, "firmware.bin")]
    made = await calls.post("/api/v1/encryptionTask", headers={"Content-Type": FORM_TYPE}, content=build_form(fields))
    path = f"/api/v1/encryptionTask/{made.json()['id']}"

    async def found() -> httpx.Response | None:
        answer = await calls.get(path)
        return answer if answer.json()["status"] == "DONE" else None

    answer: httpx.Response = await wait_until(found, "the task is done")
    return answer


def refusal(answer: httpx.Response) -> tuple[int, str, object]:
    problem = answer.json()
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    return answer.status_code, problem["code"], problem.get("renewable")


async def test_a_link_needs_no_token_and_is_audited(yard: ServerHarness, done: httpx.Response) -> None:
    answer = await yard.anonymous_client().get(done.json()["downloadUrl"])
    assert answer.status_code == 200
    result = done.json()["result"]
    assert hashlib.sha256(answer.content).hexdigest() == result["sha256"]
    assert answer.headers["ETag"] == f'"{result["sha256"]}"'
    assert answer.headers["Content-Length"] == str(result["size"])
    match = AuditFilter(resource=f"TASK:{done.json()['id']}", change=AuditAction.DOWNLOADED)

    async def audited() -> list[str]:
        return [each.author for each in (await yard.engine.client(ADMIN).audit(match)).entries]

    # Once the last byte has gone out.
    assert await wait_until(audited, "the audit log knows") == ["SYSTEM:link"]


async def test_a_link_gives_ranges_and_minds_the_etag(yard: ServerHarness, done: httpx.Response) -> None:
    link, calls = done.json()["downloadUrl"], yard.anonymous_client()
    whole = await calls.get(link)
    etag, size = whole.headers["ETag"], len(whole.content)
    part = await calls.get(link, headers={"Range": "bytes=100-199", "If-Range": etag})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{size}"
    tail = await calls.get(link, headers={"Range": "bytes=-7"})
    assert (tail.status_code, tail.content) == (206, whole.content[-7:])
    other = await calls.get(link, headers={"Range": "bytes=100-199", "If-Range": '"another"'})
    assert (other.status_code, other.content) == (200, whole.content)
    known = await calls.get(link, headers={"If-None-Match": etag})
    assert (known.status_code, known.content) == (304, b"")
    assert refusal(await calls.get(link, headers={"Range": f"bytes={size}-"}))[0] == 416


async def test_what_was_sent_in_part_is_not_recorded_as_the_whole(yard: ServerHarness, done: httpx.Response) -> None:
    task_id, size, dev = done.json()["id"], done.json()["result"]["size"], await yard.http_client(DEV)
    last = {"Range": "bytes=-1"}
    assert len((await yard.anonymous_client().get(done.json()["downloadUrl"], headers=last)).content) == 1
    assert len((await dev.get(f"/api/v1/task/{task_id}/download", headers=last)).content) == 1
    match = AuditFilter(resource=f"TASK:{task_id}", change=AuditAction.DOWNLOADED)

    async def audited() -> list[AuditEntry]:
        found = (await yard.engine.client(ADMIN).audit(match)).entries
        return list(found) if len(found) == 2 else []

    for entry in await wait_until(audited, "the audit log knows"):
        assert f"from byte {size - 1} " in entry.message
        assert entry.new_value is not None
        assert entry.new_value["from"] == size - 1


async def test_a_link_is_followed_only_so_often_whoever_does_and_others_do_not_pay(
    yard: ServerHarness, done: httpx.Response, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = TokenBucketLimiter(6, lambda: 0.0)
    monkeypatch.setattr(yard.identity, "_limiter", limits)
    link, calls = done.json()["downloadUrl"], yard.anonymous_client()
    forged = [(await calls.get(link[:-8] + "00000000")).status_code for _ in range(3)]
    first, again = await calls.get(link), await yard.anonymous_client().get(link)
    assert forged == [403] * 3, "who has no link uses nothing up"
    assert (first.status_code, refusal(again)) == (200, (429, "too-many-requests", None))
    assert again.headers["Retry-After"] == "10"
    assert (await (await yard.http_client(DEV)).get("/api/v1/task")).status_code == 200


async def test_the_token_of_who_may_not_see_the_task_adds_nothing_to_a_link(
    yard: ServerHarness, done: httpx.Response
) -> None:
    stranger = await yard.http_client(STRANGER)
    assert (await stranger.get(done.json()["downloadUrl"])).status_code == 200
    assert (await stranger.get(f"/api/v1/task/{done.json()['id']}/download")).status_code == 404


async def test_an_expired_link_says_that_it_can_be_renewed_and_then_it_can(
    yard: ServerHarness, clock: OffsetClock, done: httpx.Response
) -> None:
    link, task_id, dev = done.json()["downloadUrl"], done.json()["id"], await yard.http_client(DEV)
    clock.added = LINK_ENDS
    assert refusal(await yard.anonymous_client().get(link)) == (410, "result-expired", True)
    assert refusal(await dev.get(f"/api/v1/task/{task_id}/download")) == (410, "result-expired", True)
    assert (await dev.get(f"/api/v1/task/{task_id}")).json()["result"]["state"] == "EXPIRED"
    renewed = (await dev.post(f"/api/v1/task/{task_id}/renewal")).json()["downloadUrl"]
    assert (await yard.anonymous_client().get(renewed)).status_code == 200
    assert refusal(await yard.anonymous_client().get(link)) == (410, "result-expired", True)


async def test_a_result_that_was_removed_is_gone_and_cannot_be_renewed(
    yard: ServerHarness, clock: OffsetClock, done: httpx.Response
) -> None:
    clock.added = KEPT
    link, task_id, dev = done.json()["downloadUrl"], done.json()["id"], await yard.http_client(DEV)
    assert refusal(await yard.anonymous_client().get(link)) == (410, "result-gone", False)
    assert refusal(await dev.get(f"/api/v1/task/{task_id}/download")) == (410, "result-gone", False)
    assert refusal(await dev.post(f"/api/v1/task/{task_id}/renewal")) == (410, "result-gone", False)


async def test_a_forged_link_is_refused_and_tells_nothing(yard: ServerHarness, done: httpx.Response) -> None:
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
    answers = [await yard.anonymous_client().get(each) for each in forged]
    assert {refusal(each) for each in answers} == {(403, "not-allowed", None)}
    assert len({each.text for each in answers}) == 1
    assert (await yard.anonymous_client().get(link.partition("&signature")[0])).status_code == 400


async def test_what_is_not_done_has_no_result_yet(yard: ServerHarness) -> None:
    dev = await yard.http_client(DEV)
    body = {"deviceConfigId": GATEWAY, "inputBase64": "aGVsbG8="}
    waiting = (await dev.post("/api/v1/signingTask", json=body)).json()
    assert "downloadUrl" not in waiting
    assert refusal(await dev.get(f"/api/v1/signingTask/{waiting['id']}/download")) == (409, "conflict", None)
