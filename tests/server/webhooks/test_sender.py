"""Telling those outside: in order, signed, and again until it is taken."""

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
from sealyard.server.webhooks.retry_policy import DELAYS, FEW_TRIES, MAX_TRIES
from tests.support.engine_harness import ADMIN, OWNER, EngineHarness
from tests.support.failing_disk import FailingDisk
from tests.support.webhook_harness import (
    add_webhook,
    first_pending,
    get_webhook,
    next_try,
    run_sender,
    wait_for_attempts,
    webhook_workspace,
)
from tests.support.webhook_receiver import Receiver, Reply, signature_is_valid

pytestmark = pytest.mark.anyio

WAITING = WebhookEvent.TASK_WAITING


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[EngineHarness]:
    async with webhook_workspace(tmp_path / "workspace") as house:
        yield house


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listen() as receiver:
        yield receiver


async def has(house: EngineHarness, receiver: Receiver, count: int) -> None:
    await house.wait_until(lambda: len(receiver.received) >= count)
    assert len(receiver.received) == count


async def all_told(house: EngineHarness) -> None:
    await house.wait_until(lambda: not any(each.pending_count for each in house.engine.webhooks.list_webhooks(ADMIN)))
    await house.wait_until_durable()


async def test_a_webhook_is_told_of_a_task_from_the_queue_to_its_end_and_each_message_is_genuine(
    house: EngineHarness, receiver: Receiver
) -> None:
    hook = await add_webhook(house, receiver.url())
    async with run_sender(house):
        task = await house.done_package()
        await has(house, receiver, 3)
        await all_told(house)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.approved", "task.done"]
    assert {each.value["data"]["taskId"] for each in receiver.received} == {task.id}
    assert all(signature_is_valid(each, hook.secret) for each in receiver.received)
    assert len({each.id for each in receiver.received}) == 3
    assert {each.path for each in receiver.received} == {"/hook?of=test"}
    assert {each.headers["content-type"] for each in receiver.received} == {"application/json"}
    assert receiver.received[1].value["data"]["quorumReached"] is True
    assert receiver.received[1].value["data"]["decision"]["by"] == OWNER
    assert (get_webhook(house, hook).last_error, get_webhook(house, hook).pending_count) == ("", 0)


async def test_what_leads_to_the_result_is_told_to_nobody(house: EngineHarness, receiver: Receiver) -> None:
    await add_webhook(house, receiver.url(), WebhookEvent.TASK_DONE)
    async with run_sender(house):
        task = await house.done_package()
        await has(house, receiver, 1)
    assert task.result is not None
    assert task.result.link is not None
    assert task.result.link.encode() not in receiver.received[0].body
    assert b"signature" not in receiver.received[0].body


async def test_what_failed_comes_again_later_with_the_same_id_and_body(
    house: EngineHarness, receiver: Receiver
) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(500, body=b"out of order")]
    async with run_sender(house):
        await house.package()
        await next_try(house, hook, 1)
        await next_try(house, hook, 2)
        await has(house, receiver, 3)
        await all_told(house)
    assert len({(each.id, each.body) for each in receiver.received}) == 1
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert 4 <= times[1] - times[0] <= 6
    assert 24 <= times[2] - times[1] <= 36
    assert all(signature_is_valid(each, hook.secret) for each in receiver.received)


async def test_while_it_fails_that_is_seen(house: EngineHarness, receiver: Receiver) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(500, body=b"out of \x1b[31morder"))
    async with run_sender(house):
        await house.package()
        await wait_for_attempts(house, hook, 1)
        assert get_webhook(house, hook).last_error == "The receiver answered 500: out of \\x1b[31morder."
        assert get_webhook(house, hook).pending_count == 1


async def test_nothing_comes_before_the_receiver_wants_it_again(house: EngineHarness, receiver: Receiver) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(429, {"retry-after": "300"}))
    async with run_sender(house):
        await house.package()
        notice = await wait_for_attempts(house, hook, 1)
        assert notice.retry_at == house.clock.now() + timedelta(seconds=300)
        house.clock.advance(seconds=299)
        await house.package()
        await house.wait_until_durable()
        assert len(receiver.received) == 1
        house.clock.advance(seconds=1)
        await has(house, receiver, 3)


async def test_order_is_kept_while_the_first_one_fails(house: EngineHarness, receiver: Receiver) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(503))
    async with run_sender(house):
        tasks = [await house.package() for _ in range(3)]
        await next_try(house, hook, 1)
        await has(house, receiver, 4)
    told = [each.value["data"]["taskId"] for each in receiver.received]
    assert told == [tasks[0].id, *(each.id for each in tasks)]


async def test_who_answers_too_slowly_is_told_again(house: EngineHarness, receiver: Receiver) -> None:
    async def hasty(url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        return await post_pinned(url, address, headers, body, answer_seconds=0.2)

    hook = await add_webhook(house, receiver.url(), WAITING)
    never = asyncio.Event()
    receiver.replies.append(Reply(gate=never))
    async with run_sender(house, hasty):
        await house.package()
        await next_try(house, hook, 1)
        await has(house, receiver, 2)
        await all_told(house)
    never.set()
    assert receiver.received[0].id == receiver.received[1].id


async def test_nobody_there_is_no_end(house: EngineHarness) -> None:
    receiver = Receiver()
    async with receiver.listen():
        url = receiver.url()
    hook = await add_webhook(house, url, WAITING)
    async with run_sender(house):
        await house.package()
        await wait_for_attempts(house, hook, 1)
        assert "Cannot reach the server" in get_webhook(house, hook).last_error
        async with receiver.listen():
            await next_try(house, hook, 1)
            await has(house, receiver, 1)


async def test_a_redirect_to_an_inner_address_is_not_followed(house: EngineHarness, receiver: Receiver) -> None:
    async with Receiver().listen() as inner:
        hook = await add_webhook(house, receiver.url(), WAITING)
        receiver.replies += [Reply(each, {"location": inner.url()}) for each in (302, 307, 308)]
        async with run_sender(house):
            await house.package()
            for tried in range(1, FEW_TRIES):
                await next_try(house, hook, tried)
            await house.wait_until(lambda: get_webhook(house, hook).dead_letters == 1)
        assert inner.received == []
        assert len(receiver.received) == FEW_TRIES
        (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
        assert "redirect" in letter.error


async def test_gone_is_given_up_at_once_and_what_follows_goes_on(house: EngineHarness, receiver: Receiver) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with run_sender(house):
        first = await house.package()
        second = await house.package()
        await has(house, receiver, 2)
        await all_told(house)
    (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
    assert (letter.task_id, letter.attempts) == (first.id, 1)
    assert receiver.received[1].value["data"]["taskId"] == second.id


async def test_after_the_last_try_there_is_a_dead_letter_and_it_can_be_sent_again(
    house: EngineHarness, receiver: Receiver
) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies += [Reply(500)] * MAX_TRIES
    begun = house.clock.now()
    async with run_sender(house):
        await house.package()
        for tried in range(1, MAX_TRIES):
            await next_try(house, hook, tried)
        await house.wait_until(lambda: get_webhook(house, hook).dead_letters == 1)
        await house.wait_until_durable()
        assert timedelta(hours=5) < house.clock.now() - begun < timedelta(hours=10)
        (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
        assert letter.attempts == MAX_TRIES == len(DELAYS.seconds) + 1
        await house.execute(ADMIN, house.engine.webhooks.redeliver(ADMIN, letter.id))
        await has(house, receiver, MAX_TRIES + 1)
        await all_told(house)
    assert len({each.id for each in receiver.received}) == 1
    assert signature_is_valid(receiver.received[-1], hook.secret)
    assert get_webhook(house, hook).dead_letters == 0


async def test_a_broken_webhook_holds_up_no_other(house: EngineHarness, receiver: Receiver) -> None:
    async with Receiver().listen() as broken:
        never = asyncio.Event()
        broken.replies.append(Reply(gate=never))
        bad, good = await add_webhook(house, broken.url(), WAITING), await add_webhook(house, receiver.url(), WAITING)
        async with run_sender(house):
            tasks = [await house.package() for _ in range(3)]
            await has(house, receiver, 3)
            await has(house, broken, 1)
            assert [each.value["data"]["taskId"] for each in receiver.received] == [each.id for each in tasks]
            assert signature_is_valid(receiver.received[0], good.secret)
            assert not signature_is_valid(receiver.received[0], bad.secret)
            assert get_webhook(house, bad).pending_count == 3
        never.set()


async def test_a_fault_of_ours_in_one_lane_ends_no_other(
    house: EngineHarness, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async def faulty(url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        if "faulty" in url:
            raise RuntimeError("a fault of ours")
        return await post_pinned(url, address, headers, body)

    await add_webhook(house, "http://127.0.0.1:1/faulty", WAITING)
    await add_webhook(house, receiver.url(), WAITING)
    async with run_sender(house, faulty):
        await house.package()
        await house.package()
        await has(house, receiver, 2)
        await house.wait_until(lambda: "delivery failed unexpectedly" in caplog.text)


# ---- restarts


async def test_a_new_engine_goes_on_where_the_last_one_was(house: EngineHarness, receiver: Receiver) -> None:
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(503)]
    async with run_sender(house):
        await house.package()
        await next_try(house, hook, 1)
        before = await wait_for_attempts(house, hook, 2)
    await house.reopen()
    async with run_sender(house):
        assert first_pending(house, hook) == before
        await house.package()
        await house.wait_until_durable()
        assert len(receiver.received) == 2
        await next_try(house, hook, 2)
        await has(house, receiver, 4)
        await all_told(house)
    assert len({each.id for each in receiver.received[:3]}) == 1
    assert signature_is_valid(receiver.received[2], hook.secret)


async def test_what_happens_while_nobody_sends_is_told_later(house: EngineHarness, receiver: Receiver) -> None:
    await add_webhook(house, receiver.url())
    task = await house.package()
    await house.decide(task, OWNER, Verdict.REJECTED, "no")
    await house.reopen()
    async with run_sender(house):
        await has(house, receiver, 2)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.rejected"]


async def test_what_arrived_as_the_engine_was_killed_comes_again_and_is_recognised(
    house: EngineHarness, receiver: Receiver
) -> None:
    await add_webhook(house, receiver.url(), WAITING)
    answering = asyncio.Event()
    receiver.replies.append(Reply(gate=answering))
    async with run_sender(house):
        await house.package()
        await has(house, receiver, 1)
        other = await house.copy_as_if_killed()
    answering.set()
    await other.open()
    async with run_sender(other):
        await has(other, receiver, 2)
        await all_told(other)
    await other.close()
    assert receiver.received[0].id == receiver.received[1].id
    assert receiver.received[0].body == receiver.received[1].body


async def test_what_could_not_be_recorded_as_told_is_told_again(
    house: EngineHarness, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await add_webhook(house, receiver.url(), WAITING)
    answering = asyncio.Event()
    receiver.replies.append(Reply(gate=answering))
    disk = FailingDisk(monkeypatch)
    async with run_sender(house):
        await house.package()
        await has(house, receiver, 1)
        disk.fail()
        answering.set()
        await house.wait_until(lambda: disk.failed_all)
        await house.wait_until(lambda: house.clock.has_sleeper(10))
        house.clock.advance(seconds=10)
        await has(house, receiver, 2)
        await all_told(house)
    assert receiver.received[0].id == receiver.received[1].id


# ---- coming and going


async def test_a_webhook_that_comes_while_others_are_served_is_served_too(
    house: EngineHarness, receiver: Receiver
) -> None:
    async with run_sender(house):
        await house.package()
        hook = await add_webhook(house, receiver.url(), WAITING)
        await house.package()
        await has(house, receiver, 1)
        await house.execute(ADMIN, house.engine.webhooks.remove(ADMIN, hook.webhook.id))
        await house.package()
        again = await add_webhook(house, receiver.url(), WAITING)
        await house.package()
        await has(house, receiver, 2)
    assert signature_is_valid(receiver.received[0], hook.secret)
    assert signature_is_valid(receiver.received[1], again.secret)


async def test_the_log_tells_neither_path_nor_secret(
    house: EngineHarness, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook = await add_webhook(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with run_sender(house):
        await house.package()
        await house.wait_until(lambda: "undeliverable" in caplog.text)
        await house.package()
        await has(house, receiver, 2)
        await all_told(house)
    assert "/hook" not in caplog.text
    assert hook.secret.removeprefix("whsec_") not in caplog.text
