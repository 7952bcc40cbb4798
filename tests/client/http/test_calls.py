"""Test calls to a server: retries, lost responses, errors and lists."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from email.utils import format_datetime

import msgspec
import pytest

from sealyard.client.http.client import HttpClient
from sealyard.model.access import AclRule, Action
from sealyard.model.errors import (
    AuthenticationError,
    ConflictError,
    DeliveryCertainty,
    NotFoundError,
    PermissionDeniedError,
    ResultExpiredError,
    SealyardError,
    ServerUnreachableError,
    TooManyRequestsError,
)
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import Decision, Task, TaskStatus, Verdict
from tests.support.fake_client import START, FakeClock
from tests.support.ports import ReservedPort
from tests.support.scripted_server import INFO, ME, Exchange, ScriptedServer, client_of, serving, task

RULE = AclRule(
    id="r1", subject=ME, resource="RESOURCE_TYPE:KEY", action=Action.VIEW, created_by=ME, created_at=datetime.now(UTC)
)
RULE_BODY = {**msgspec.to_builtins(RULE), "subject": {"id": "dev", "type": "USER", "subject": RULE.subject}}


def test_lost_response_creates_one_task() -> None:
    tasks: dict[str, Task] = {}

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        token = exchange.headers["idempotency-key"]
        first = token not in tasks
        created = tasks.setdefault(token, task(f"t{len(tasks)}"))
        if first:
            exchange.cut()
        else:
            await exchange.answer(created, 201)

    async def run() -> None:
        async with serving(handler) as (server, client):
            assert (await client.create_signing(SigningRequest(config="gateway", message=b"m"))).id == "t0"
            assert server.calls == ["POST /signingTask"] * 2
            await client.create_signing(SigningRequest(config="gateway", message=b"m"))
            assert len(tasks) == 2
            await client.create_signing(SigningRequest(config="gateway", message=b"m", client_token="mine"))
            assert list(tasks)[2] == "mine"

    asyncio.run(run())


def test_read_is_retried_until_answered() -> None:
    async def handler(exchange: Exchange) -> None:
        if len(server.calls) < 4:
            exchange.cut()
        else:
            await exchange.answer(INFO)

    server = ScriptedServer(handler)

    async def run() -> None:
        await server.start()
        clock = FakeClock()
        client = client_of(server.url, clock=clock)
        assert await client.workspace() == INFO
        assert len(clock.slept) == 3
        assert all(0 < earlier < later * 2.1 for earlier, later in zip(clock.slept, clock.slept[1:], strict=False))

    asyncio.run(run())


def test_possibly_applied_change_is_not_retried() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        exchange.cut()

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(ServerUnreachableError) as caught:
                await client.add_rule(ME, "RESOURCE_TYPE:KEY", Action.VIEW)
            assert server.calls == ["POST /acl"]
            assert caught.value.reach is DeliveryCertainty.UNKNOWN
            assert "may have succeeded" in caught.value.hint

    asyncio.run(run())


def test_unsent_change_is_retried() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(RULE_BODY, 201)

    server = ScriptedServer(handler)

    class StartingClock(FakeClock):
        async def sleep(self, seconds: float) -> None:
            await super().sleep(seconds)
            if len(self.slept) == 3:
                await server.start(port=port.number)

    async def run() -> None:
        client = client_of(f"http://127.0.0.1:{port.number}", clock=StartingClock())
        assert await client.add_rule(ME, "RESOURCE_TYPE:KEY", Action.VIEW) == RULE
        assert server.calls == ["POST /acl"]

    with ReservedPort() as port:
        asyncio.run(run())


def test_retries_end_at_timeout() -> None:
    async def run() -> None:
        clock = FakeClock()
        client = client_of("http://127.0.0.1:1", clock=clock, retry_timeout=20.0)
        with pytest.raises(ServerUnreachableError) as caught:
            await client.workspace()
        assert caught.value.reach is DeliveryCertainty.NOT_SENT
        assert 10.0 < (clock.now() - START).total_seconds() <= 20.0

    asyncio.run(run())


@pytest.mark.parametrize("retry_after", ["7", format_datetime(START.replace(second=7), usegmt=True)])
@pytest.mark.parametrize(
    ("status", "code"),
    [(429, "too-many-requests"), (503, "workspace-held"), (503, "issuer-unreachable"), (503, "taking-over")],
)
def test_retry_after_delays_next_attempt(retry_after: str, status: int, code: str) -> None:
    clock = FakeClock()

    async def handler(exchange: Exchange) -> None:
        if clock.slept:
            await exchange.answer(RULE_BODY, 201)
        else:
            await exchange.refuse(status, code, headers={"Retry-After": retry_after})

    async def run() -> None:
        async with serving(handler, clock=clock) as (server, client):
            assert await client.add_rule(ME, "RESOURCE_TYPE:KEY", Action.VIEW) == RULE
            assert len(server.calls) == 2
            assert 7.0 <= clock.slept[0] < 8.0

    asyncio.run(run())


def test_change_with_unknown_outcome_is_repeated_only_with_client_token() -> None:
    """One of several servers was lost during the request."""

    calls: list[str] = []

    async def handler(exchange: Exchange) -> None:
        await exchange.body()
        calls.append(exchange.call)
        if calls.count(exchange.call) > 1:
            await exchange.answer(task("t0"), 201)
        else:
            await exchange.refuse(502, "outcome-unknown")

    async def run() -> None:
        async with serving(handler) as (_, client):
            assert (await client.create_signing(SigningRequest(config="gateway", message=b"m"))).id == "t0"
            with pytest.raises(ServerUnreachableError, match="request may have") as caught:
                await client.add_rule(ME, "RESOURCE_TYPE:KEY", Action.VIEW)
            assert caught.value.reach is DeliveryCertainty.UNKNOWN
            assert calls == ["POST /signingTask"] * 2 + ["POST /acl"]

    asyncio.run(run())


def test_retry_after_beyond_timeout_raises() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(429, "too-many-requests", headers={"Retry-After": "3600"})

    async def run() -> None:
        async with serving(handler) as (_, client):
            with pytest.raises(TooManyRequestsError) as caught:
                await client.workspace()
            assert caught.value.retry_after == 3600.0

    asyncio.run(run())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "unauthenticated", AuthenticationError),
        (403, "not-allowed", PermissionDeniedError),
        (404, "not-found", NotFoundError),
        (409, "conflict", ConflictError),
        (410, "result-expired", ResultExpiredError),
        (500, "from-a-later-version", SealyardError),
    ],
)
def test_error_response_raises_without_retry(status: int, code: str, kind: type[SealyardError]) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(status, code, "It is \x1b[31mred.")

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(SealyardError) as caught:
                await client.task("t1")
            assert type(caught.value) is kind
            assert (caught.value.message, caught.value.hint) == ("It is \\x1b[31mred.", "Do this.")
            assert len(server.calls) == 1

    asyncio.run(run())


@pytest.mark.parametrize("status", [200, 302, 404])
def test_incompatible_server_is_rejected_without_retry(status: int) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(b"<html>Welcome</html>", status, {"Location": "http://elsewhere.example/"})

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(ServerUnreachableError, match="not a compatible Sealyard server"):
                await client.workspace()
            assert len(server.calls) == 1

    asyncio.run(run())


def test_bad_gateway_is_retried() -> None:
    async def handler(exchange: Exchange) -> None:
        if len(server.calls) == 1:
            await exchange.answer(b"<html>Bad Gateway</html>", 502)
        else:
            await exchange.answer(INFO)

    server = ScriptedServer(handler)

    async def run() -> None:
        await server.start()
        assert await client_of(server.url).workspace() == INFO

    asyncio.run(run())


# ---- decisions


class DecisionServer:
    """Serves one task. The first ``lost_responses`` decisions get no response, and are only stored if ``recording``."""

    def __init__(self, *, lost_responses: int, recording: bool) -> None:
        self.task = task()
        self.decided = 0
        self.lost_responses = lost_responses
        self.recording = recording

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.call == "GET /workspace":
            await exchange.answer(INFO)
        elif exchange.method == "GET":
            await exchange.answer(self.task)
        else:
            await self._decide(exchange)

    async def _decide(self, exchange: Exchange) -> None:
        await exchange.body()
        self.lost_responses -= 1
        if self.lost_responses >= 0 and not self.recording:
            exchange.cut()
            return
        if self.task.approvals:
            await exchange.refuse(409, "conflict", "You decided already.")
            return
        self.decided += 1
        decision = Decision(by=ME, verdict=Verdict.APPROVED, at=datetime.now(UTC), digest="d1")
        self.task = task(status=TaskStatus.SCHEDULED, approvals=(decision,))
        if self.lost_responses >= 0:
            exchange.cut()
        else:
            await exchange.answer(self.task, 202)


@pytest.mark.parametrize("recording", [True, False])
def test_decision_with_lost_response_counts_once(recording: bool) -> None:
    decision_server = DecisionServer(lost_responses=1, recording=recording)

    async def run() -> None:
        async with serving(decision_server) as (server, client):
            decided = await client.decide("t1", Verdict.APPROVED, digest="d1")
            assert decided.status is TaskStatus.SCHEDULED
            assert decision_server.decided == 1
            assert server.calls.count("POST /task/t1/approval") == (1 if recording else 2)

    asyncio.run(run())


def test_conflicting_decision_is_rejected_after_retry() -> None:
    decision_server = DecisionServer(lost_responses=1, recording=False)
    other = Decision(by="USER:other", verdict=Verdict.APPROVED, at=datetime.now(UTC), digest="d1")
    decision_server.task = task(approvals=(other,))

    async def run() -> None:
        async with serving(decision_server) as (_, client):
            with pytest.raises(ConflictError):
                await client.decide("t1", Verdict.APPROVED, digest="d1")

    asyncio.run(run())


def test_cancellation_with_lost_response_is_verified() -> None:
    cancelled = False

    async def handler(exchange: Exchange) -> None:
        nonlocal cancelled
        if exchange.method == "POST":
            cancelled = True
            exchange.cut()
        elif exchange.path == "/workspace":
            await exchange.answer(INFO)
        else:
            await exchange.answer(task(status=TaskStatus.CANCELLED if cancelled else TaskStatus.RUNNING))

    async def run() -> None:
        async with serving(handler) as (server, client):
            assert (await client.cancel("t1")).status is TaskStatus.CANCELLED
            assert server.calls.count("POST /task/t1/cancellation") == 1

    asyncio.run(run())


# ---- lists, names and the connection status


def test_task_page_has_cursor_and_total() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer([task("a"), task("b")], headers={"X-SE-CURSOR": "next one", "X-SE-TOTAL": "7"})

    async def run() -> None:
        async with serving(handler) as (server, client):
            filters = TaskFilter(status=TaskStatus.WAITING, text="ä&b", awaiting_my_approval=True)
            page = await client.tasks(filters, after="this one", limit=5000)
            assert ([each.id for each in page.tasks], page.next, page.total) == (["a", "b"], "next one", 7)
            assert server.exchanges[0].query == {
                "status": "WAITING",
                "text": "ä&b",
                "awaitingMyApproval": "true",
                "cursor": "this one",
                "size": "1000",
            }

    asyncio.run(run())


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a?b", "ä b", "%2e"])
def test_task_id_cannot_change_path(name: str) -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.refuse(404, "not-found")

    async def run() -> None:
        async with serving(handler) as (server, client):
            with pytest.raises(NotFoundError):
                await client.task(name)
            assert all(each.startswith("GET /task/") and each.count("/") == 2 for each in server.calls)

    asyncio.run(run())


def test_connection_status_change_is_reported() -> None:
    async def handler(exchange: Exchange) -> None:
        if len(server.calls) in (2, 3):
            exchange.cut()
        else:
            await exchange.answer(INFO)

    server = ScriptedServer(handler)

    async def run() -> None:
        await server.start()
        client = client_of(server.url)
        statuses: list[bool] = []
        client.monitor.on_change = lambda link: statuses.append(link.is_connected)
        await client.workspace()
        await client.workspace()
        await client.workspace()
        assert statuses == [True, False, True]
        assert client.monitor.status.last_answer_at is not None

    asyncio.run(run())


def test_client_works_in_successive_event_loops() -> None:
    async def handler(exchange: Exchange) -> None:
        await exchange.answer(INFO)

    async def run(client: HttpClient, port: int) -> None:
        server = ScriptedServer(handler)
        await server.start(port=port)
        assert await client.workspace() == INFO
        server.stop()

    with ReservedPort() as port:
        client = client_of(f"http://127.0.0.1:{port.number}")
        asyncio.run(run(client, port.number))
        asyncio.run(run(client, port.number))
