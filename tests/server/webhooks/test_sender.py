"""Tests of webhook delivery: order, signatures, retries, dead letters and restarts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from sealyard.client.http.pinned import PinnedResponse, post_pinned
from sealyard.model.tasks import Verdict
from sealyard.model.webhooks import WebhookEvent
from sealyard.server.delivery.retry_policy import DELAYS, FEW_TRIES, MAX_TRIES
from tests.support.engine_harness import ADMIN, OWNER, EngineHarness
from tests.support.failing_disk import FailingDisk
from tests.support.webhook_harness import (
    add_webhook,
    advance_to_retry,
    first_pending,
    get_webhook,
    run_sender,
    wait_for_attempts,
    webhook_workspace,
)
from tests.support.webhook_receiver import Receiver, Reply, signature_is_valid

pytestmark = pytest.mark.anyio

WAITING = WebhookEvent.TASK_WAITING


@pytest.fixture
async def harness(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as harness:
        yield harness


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listen() as receiver:
        yield receiver


async def wait_for_messages(harness: EngineHarness, receiver: Receiver, count: int) -> None:
    await harness.wait_until(lambda: len(receiver.received) >= count)
    assert len(receiver.received) == count


async def wait_until_delivered(harness: EngineHarness) -> None:
    await harness.wait_until(
        lambda: not any(each.pending_count for each in harness.engine.webhooks.list_webhooks(ADMIN))
    )
    await harness.wait_until_durable()


async def test_task_events_are_signed_and_delivered(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url())
    async with run_sender(harness):
        task = await harness.done_package()
        await wait_for_messages(harness, receiver, 3)
        await wait_until_delivered(harness)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.approved", "task.done"]
    assert {each.value["data"]["taskId"] for each in receiver.received} == {task.id}
    assert all(signature_is_valid(each, issued.secret) for each in receiver.received)
    assert len({each.id for each in receiver.received}) == 3
    assert {each.path for each in receiver.received} == {"/hook?of=test"}
    assert {each.headers["content-type"] for each in receiver.received} == {"application/json"}
    assert receiver.received[1].value["data"]["quorumReached"] is True
    assert receiver.received[1].value["data"]["decision"]["by"] == OWNER
    assert (get_webhook(harness, issued).last_error, get_webhook(harness, issued).pending_count) == ("", 0)


async def test_message_contains_no_download_link(harness: EngineHarness, receiver: Receiver) -> None:
    await add_webhook(harness, receiver.url(), WebhookEvent.TASK_DONE)
    async with run_sender(harness):
        task = await harness.done_package()
        await wait_for_messages(harness, receiver, 1)
    assert task.result is not None
    assert task.result.link is not None
    assert task.result.link.encode() not in receiver.received[0].body
    assert b"signature" not in receiver.received[0].body


async def test_failed_delivery_is_retried_with_same_id(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(500, body=b"out of order")]
    async with run_sender(harness):
        await harness.package()
        await advance_to_retry(harness, issued, 1)
        await advance_to_retry(harness, issued, 2)
        await wait_for_messages(harness, receiver, 3)
        await wait_until_delivered(harness)
    assert len({(each.id, each.body) for each in receiver.received}) == 1
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert 4 <= times[1] - times[0] <= 6
    assert 24 <= times[2] - times[1] <= 36
    assert all(signature_is_valid(each, issued.secret) for each in receiver.received)


async def test_failed_delivery_sets_last_error(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies.append(Reply(500, body=b"out of \x1b[31morder"))
    async with run_sender(harness):
        await harness.package()
        await wait_for_attempts(harness, issued, 1)
        assert get_webhook(harness, issued).last_error == "The receiver answered 500: out of \\x1b[31morder."
        assert get_webhook(harness, issued).pending_count == 1


async def test_retry_waits_for_retry_after(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies.append(Reply(429, {"retry-after": "300"}))
    async with run_sender(harness):
        await harness.package()
        message = await wait_for_attempts(harness, issued, 1)
        assert message.retry_at == harness.clock.now() + timedelta(seconds=300)
        harness.clock.advance(seconds=299)
        await harness.package()
        await harness.wait_until_durable()
        assert len(receiver.received) == 1
        harness.clock.advance(seconds=1)
        await wait_for_messages(harness, receiver, 3)


async def test_failed_delivery_keeps_message_order(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies.append(Reply(503))
    async with run_sender(harness):
        tasks = [await harness.package() for _ in range(3)]
        await advance_to_retry(harness, issued, 1)
        await wait_for_messages(harness, receiver, 4)
    task_ids = [each.value["data"]["taskId"] for each in receiver.received]
    assert task_ids == [tasks[0].id, *(each.id for each in tasks)]


async def test_slow_response_is_retried(harness: EngineHarness, receiver: Receiver) -> None:
    async def post_with_short_timeout(
        url: str, address: str, headers: Mapping[str, str], body: bytes
    ) -> PinnedResponse:
        return await post_pinned(url, address, headers, body, answer_seconds=0.2)

    issued = await add_webhook(harness, receiver.url(), WAITING)
    release = asyncio.Event()
    receiver.replies.append(Reply(gate=release))
    async with run_sender(harness, post_with_short_timeout):
        await harness.package()
        await advance_to_retry(harness, issued, 1)
        await wait_for_messages(harness, receiver, 2)
        await wait_until_delivered(harness)
    release.set()
    assert receiver.received[0].id == receiver.received[1].id


async def test_unreachable_receiver_is_retried(harness: EngineHarness) -> None:
    receiver = Receiver()
    async with receiver.listen():
        url = receiver.url()
    issued = await add_webhook(harness, url, WAITING)
    async with run_sender(harness):
        await harness.package()
        await wait_for_attempts(harness, issued, 1)
        assert "Cannot reach the server" in get_webhook(harness, issued).last_error
        async with receiver.listen():
            await advance_to_retry(harness, issued, 1)
            await wait_for_messages(harness, receiver, 1)


async def test_redirect_is_not_followed(harness: EngineHarness, receiver: Receiver) -> None:
    async with Receiver().listen() as internal:
        issued = await add_webhook(harness, receiver.url(), WAITING)
        receiver.replies += [Reply(each, {"location": internal.url()}) for each in (302, 307, 308)]
        async with run_sender(harness):
            await harness.package()
            for attempts in range(1, FEW_TRIES):
                await advance_to_retry(harness, issued, attempts)
            await harness.wait_until(lambda: get_webhook(harness, issued).dead_letters == 1)
        assert internal.received == []
        assert len(receiver.received) == FEW_TRIES
        (dead_letter,) = harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id)
        assert "redirect" in dead_letter.error


async def test_gone_response_creates_dead_letter_immediately(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with run_sender(harness):
        first = await harness.package()
        second = await harness.package()
        await wait_for_messages(harness, receiver, 2)
        await wait_until_delivered(harness)
    (dead_letter,) = harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id)
    assert (dead_letter.task_id, dead_letter.attempts) == (first.id, 1)
    assert receiver.received[1].value["data"]["taskId"] == second.id


async def test_exhausted_retries_create_redeliverable_dead_letter(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies += [Reply(500)] * MAX_TRIES
    start = harness.clock.now()
    async with run_sender(harness):
        await harness.package()
        for attempts in range(1, MAX_TRIES):
            await advance_to_retry(harness, issued, attempts)
        await harness.wait_until(lambda: get_webhook(harness, issued).dead_letters == 1)
        await harness.wait_until_durable()
        assert timedelta(hours=5) < harness.clock.now() - start < timedelta(hours=10)
        (dead_letter,) = harness.engine.webhooks.dead_letters(ADMIN, issued.webhook.id)
        assert dead_letter.attempts == MAX_TRIES == len(DELAYS.seconds) + 1
        await harness.execute(ADMIN, harness.engine.webhooks.redeliver(ADMIN, dead_letter.id))
        await wait_for_messages(harness, receiver, MAX_TRIES + 1)
        await wait_until_delivered(harness)
    assert len({each.id for each in receiver.received}) == 1
    assert signature_is_valid(receiver.received[-1], issued.secret)
    assert get_webhook(harness, issued).dead_letters == 0


async def test_hanging_webhook_does_not_block_others(harness: EngineHarness, receiver: Receiver) -> None:
    async with Receiver().listen() as hanging:
        release = asyncio.Event()
        hanging.replies.append(Reply(gate=release))
        hanging_webhook, working_webhook = (
            await add_webhook(harness, hanging.url(), WAITING),
            await add_webhook(harness, receiver.url(), WAITING),
        )
        async with run_sender(harness):
            tasks = [await harness.package() for _ in range(3)]
            await wait_for_messages(harness, receiver, 3)
            await wait_for_messages(harness, hanging, 1)
            assert [each.value["data"]["taskId"] for each in receiver.received] == [each.id for each in tasks]
            assert signature_is_valid(receiver.received[0], working_webhook.secret)
            assert not signature_is_valid(receiver.received[0], hanging_webhook.secret)
            assert get_webhook(harness, hanging_webhook).pending_count == 3
        release.set()


async def test_internal_error_does_not_stop_other_webhooks(
    harness: EngineHarness, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async def post_or_fail(url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        if "faulty" in url:
            raise RuntimeError("internal error")
        return await post_pinned(url, address, headers, body)

    await add_webhook(harness, "http://127.0.0.1:1/faulty", WAITING)
    await add_webhook(harness, receiver.url(), WAITING)
    async with run_sender(harness, post_or_fail):
        await harness.package()
        await harness.package()
        await wait_for_messages(harness, receiver, 2)
        await harness.wait_until(lambda: "delivery failed unexpectedly" in caplog.text)


# ---- restarts


async def test_reopened_engine_resumes_pending_deliveries(harness: EngineHarness, receiver: Receiver) -> None:
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(503)]
    async with run_sender(harness):
        await harness.package()
        await advance_to_retry(harness, issued, 1)
        pending_before = await wait_for_attempts(harness, issued, 2)
    await harness.reopen()
    async with run_sender(harness):
        assert first_pending(harness, issued) == pending_before
        await harness.package()
        await harness.wait_until_durable()
        assert len(receiver.received) == 2
        await advance_to_retry(harness, issued, 2)
        await wait_for_messages(harness, receiver, 4)
        await wait_until_delivered(harness)
    assert len({each.id for each in receiver.received[:3]}) == 1
    assert signature_is_valid(receiver.received[2], issued.secret)


async def test_events_without_sender_are_delivered_later(harness: EngineHarness, receiver: Receiver) -> None:
    await add_webhook(harness, receiver.url())
    task = await harness.package()
    await harness.decide(task, OWNER, Verdict.REJECTED, "no")
    await harness.reopen()
    async with run_sender(harness):
        await wait_for_messages(harness, receiver, 2)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.rejected"]


async def test_killed_engine_redelivers_with_same_id(harness: EngineHarness, receiver: Receiver) -> None:
    await add_webhook(harness, receiver.url(), WAITING)
    release = asyncio.Event()
    receiver.replies.append(Reply(gate=release))
    async with run_sender(harness):
        await harness.package()
        await wait_for_messages(harness, receiver, 1)
        other = await harness.copy_as_if_killed()
    release.set()
    await other.open()
    async with run_sender(other):
        await wait_for_messages(other, receiver, 2)
        await wait_until_delivered(other)
    await other.close()
    assert receiver.received[0].id == receiver.received[1].id
    assert receiver.received[0].body == receiver.received[1].body


async def test_unrecorded_delivery_is_redelivered_with_same_id(
    harness: EngineHarness, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_webhook(harness, receiver.url(), WAITING)
    release = asyncio.Event()
    receiver.replies.append(Reply(gate=release))
    disk = FailingDisk(monkeypatch)
    async with run_sender(harness):
        await harness.package()
        await wait_for_messages(harness, receiver, 1)
        disk.fail()
        release.set()
        await harness.wait_until(lambda: disk.failed_all)
        await harness.wait_until(lambda: harness.clock.has_sleeper(10))
        harness.clock.advance(seconds=10)
        await wait_for_messages(harness, receiver, 2)
        await wait_until_delivered(harness)
    assert receiver.received[0].id == receiver.received[1].id


# ---- adding and removing webhooks


async def test_webhook_added_while_running_is_served(harness: EngineHarness, receiver: Receiver) -> None:
    async with run_sender(harness):
        await harness.package()
        issued = await add_webhook(harness, receiver.url(), WAITING)
        await harness.package()
        await wait_for_messages(harness, receiver, 1)
        await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, issued.webhook.id))
        await harness.package()
        second = await add_webhook(harness, receiver.url(), WAITING)
        await harness.package()
        await wait_for_messages(harness, receiver, 2)
    assert signature_is_valid(receiver.received[0], issued.secret)
    assert signature_is_valid(receiver.received[1], second.secret)


async def test_log_contains_no_path_or_secret(
    harness: EngineHarness, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    issued = await add_webhook(harness, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with run_sender(harness):
        await harness.package()
        await harness.wait_until(lambda: "undeliverable" in caplog.text)
        await harness.package()
        await wait_for_messages(harness, receiver, 2)
        await wait_until_delivered(harness)
    assert "/hook" not in caplog.text
    assert issued.secret.removeprefix("whsec_") not in caplog.text
