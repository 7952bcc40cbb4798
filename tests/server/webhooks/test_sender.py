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
from tests.support.engine_harness import ADMIN, OWNER, House
from tests.support.failing_disk import Disk
from tests.support.webhook_harness import failed, first_waiting, hooked, next_try, seen, sending, settled_house
from tests.support.webhook_receiver import Receiver, Reply, genuine

pytestmark = pytest.mark.anyio

WAITING = WebhookEvent.TASK_WAITING


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with settled_house(tmp_path / "workspace") as house:
        yield house


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver().listening() as receiver:
        yield receiver


async def has(house: House, receiver: Receiver, count: int) -> None:
    await house.until(lambda: len(receiver.received) >= count)
    assert len(receiver.received) == count


async def all_told(house: House) -> None:
    await house.until(lambda: not any(each.pending_count for each in house.engine.webhooks.list_webhooks(ADMIN)))
    await house.durable()


async def test_a_webhook_is_told_of_a_task_from_the_queue_to_its_end_and_each_message_is_genuine(
    house: House, receiver: Receiver
) -> None:
    hook = await hooked(house, receiver.url())
    async with sending(house):
        task = await house.done_package()
        await has(house, receiver, 3)
        await all_told(house)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.approved", "task.done"]
    assert {each.value["data"]["taskId"] for each in receiver.received} == {task.id}
    assert all(genuine(each, hook.secret) for each in receiver.received)
    assert len({each.id for each in receiver.received}) == 3
    assert {each.path for each in receiver.received} == {"/hook?of=test"}
    assert {each.headers["content-type"] for each in receiver.received} == {"application/json"}
    assert receiver.received[1].value["data"]["quorumReached"] is True
    assert receiver.received[1].value["data"]["decision"]["by"] == OWNER
    assert (seen(house, hook).last_error, seen(house, hook).pending_count) == ("", 0)


async def test_what_leads_to_the_result_is_told_to_nobody(house: House, receiver: Receiver) -> None:
    await hooked(house, receiver.url(), WebhookEvent.TASK_DONE)
    async with sending(house):
        task = await house.done_package()
        await has(house, receiver, 1)
    assert task.result is not None
    assert task.result.link is not None
    assert task.result.link.encode() not in receiver.received[0].body
    assert b"signature" not in receiver.received[0].body


async def test_what_failed_comes_again_later_with_the_same_id_and_body(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(500, body=b"out of order")]
    async with sending(house):
        await house.package()
        await next_try(house, hook, 1)
        await next_try(house, hook, 2)
        await has(house, receiver, 3)
        await all_told(house)
    assert len({(each.id, each.body) for each in receiver.received}) == 1
    times = [int(each.headers["webhook-timestamp"]) for each in receiver.received]
    assert 4 <= times[1] - times[0] <= 6
    assert 24 <= times[2] - times[1] <= 36
    assert all(genuine(each, hook.secret) for each in receiver.received)


async def test_while_it_fails_that_is_seen(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(500, body=b"out of \x1b[31morder"))
    async with sending(house):
        await house.package()
        await failed(house, hook, 1)
        assert seen(house, hook).last_error == "The receiver answered 500: out of \\x1b[31morder."
        assert seen(house, hook).pending_count == 1


async def test_nothing_comes_before_the_receiver_wants_it_again(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(429, {"retry-after": "300"}))
    async with sending(house):
        await house.package()
        notice = await failed(house, hook, 1)
        assert notice.retry_at == house.clock.now() + timedelta(seconds=300)
        house.clock.move(seconds=299)
        await house.package()
        await house.durable()
        assert len(receiver.received) == 1
        house.clock.move(seconds=1)
        await has(house, receiver, 3)


async def test_order_is_kept_while_the_first_one_fails(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(503))
    async with sending(house):
        tasks = [await house.package() for _ in range(3)]
        await next_try(house, hook, 1)
        await has(house, receiver, 4)
    told = [each.value["data"]["taskId"] for each in receiver.received]
    assert told == [tasks[0].id, *(each.id for each in tasks)]


async def test_who_answers_too_slowly_is_told_again(house: House, receiver: Receiver) -> None:
    async def hasty(url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        return await post_pinned(url, address, headers, body, answer_seconds=0.2)

    hook = await hooked(house, receiver.url(), WAITING)
    never = asyncio.Event()
    receiver.replies.append(Reply(gate=never))
    async with sending(house, hasty):
        await house.package()
        await next_try(house, hook, 1)
        await has(house, receiver, 2)
        await all_told(house)
    never.set()
    assert receiver.received[0].id == receiver.received[1].id


async def test_nobody_there_is_no_end(house: House) -> None:
    receiver = Receiver()
    async with receiver.listening():
        url = receiver.url()
    hook = await hooked(house, url, WAITING)
    async with sending(house):
        await house.package()
        await failed(house, hook, 1)
        assert "Cannot reach the server" in seen(house, hook).last_error
        async with receiver.listening():
            await next_try(house, hook, 1)
            await has(house, receiver, 1)


async def test_a_redirect_to_an_inner_address_is_not_followed(house: House, receiver: Receiver) -> None:
    async with Receiver().listening() as inner:
        hook = await hooked(house, receiver.url(), WAITING)
        receiver.replies += [Reply(each, {"location": inner.url()}) for each in (302, 307, 308)]
        async with sending(house):
            await house.package()
            for tried in range(1, FEW_TRIES):
                await next_try(house, hook, tried)
            await house.until(lambda: seen(house, hook).dead_letters == 1)
        assert inner.received == []
        assert len(receiver.received) == FEW_TRIES
        (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
        assert "redirect" in letter.error


async def test_gone_is_given_up_at_once_and_what_follows_goes_on(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with sending(house):
        first = await house.package()
        second = await house.package()
        await has(house, receiver, 2)
        await all_told(house)
    (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
    assert (letter.task_id, letter.attempts) == (first.id, 1)
    assert receiver.received[1].value["data"]["taskId"] == second.id


async def test_after_the_last_try_there_is_a_dead_letter_and_it_can_be_sent_again(
    house: House, receiver: Receiver
) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies += [Reply(500)] * MAX_TRIES
    begun = house.clock.now()
    async with sending(house):
        await house.package()
        for tried in range(1, MAX_TRIES):
            await next_try(house, hook, tried)
        await house.until(lambda: seen(house, hook).dead_letters == 1)
        await house.durable()
        assert timedelta(hours=5) < house.clock.now() - begun < timedelta(hours=10)
        (letter,) = house.engine.webhooks.dead_letters(ADMIN, hook.webhook.id)
        assert letter.attempts == MAX_TRIES == len(DELAYS.seconds) + 1
        await house.do(ADMIN, house.engine.webhooks.redeliver(ADMIN, letter.id))
        await has(house, receiver, MAX_TRIES + 1)
        await all_told(house)
    assert len({each.id for each in receiver.received}) == 1
    assert genuine(receiver.received[-1], hook.secret)
    assert seen(house, hook).dead_letters == 0


async def test_a_broken_webhook_holds_up_no_other(house: House, receiver: Receiver) -> None:
    async with Receiver().listening() as broken:
        never = asyncio.Event()
        broken.replies.append(Reply(gate=never))
        bad, good = await hooked(house, broken.url(), WAITING), await hooked(house, receiver.url(), WAITING)
        async with sending(house):
            tasks = [await house.package() for _ in range(3)]
            await has(house, receiver, 3)
            await has(house, broken, 1)
            assert [each.value["data"]["taskId"] for each in receiver.received] == [each.id for each in tasks]
            assert genuine(receiver.received[0], good.secret)
            assert not genuine(receiver.received[0], bad.secret)
            assert seen(house, bad).pending_count == 3
        never.set()


async def test_a_fault_of_ours_in_one_lane_ends_no_other(
    house: House, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    async def faulty(url: str, address: str, headers: Mapping[str, str], body: bytes) -> PinnedResponse:
        if "faulty" in url:
            raise RuntimeError("a fault of ours")
        return await post_pinned(url, address, headers, body)

    await hooked(house, "http://127.0.0.1:1/faulty", WAITING)
    await hooked(house, receiver.url(), WAITING)
    async with sending(house, faulty):
        await house.package()
        await house.package()
        await has(house, receiver, 2)
        await house.until(lambda: "delivery failed unexpectedly" in caplog.text)


# ---- restarts


async def test_a_new_engine_goes_on_where_the_last_one_was(house: House, receiver: Receiver) -> None:
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies += [Reply(503), Reply(503)]
    async with sending(house):
        await house.package()
        await next_try(house, hook, 1)
        before = await failed(house, hook, 2)
    await house.reopen()
    async with sending(house):
        assert first_waiting(house, hook) == before
        await house.package()
        await house.durable()
        assert len(receiver.received) == 2
        await next_try(house, hook, 2)
        await has(house, receiver, 4)
        await all_told(house)
    assert len({each.id for each in receiver.received[:3]}) == 1
    assert genuine(receiver.received[2], hook.secret)


async def test_what_happens_while_nobody_sends_is_told_later(house: House, receiver: Receiver) -> None:
    await hooked(house, receiver.url())
    task = await house.package()
    await house.decide(task, OWNER, Verdict.REJECTED, "no")
    await house.reopen()
    async with sending(house):
        await has(house, receiver, 2)
    assert [each.type for each in receiver.received] == ["task.waiting", "task.rejected"]


async def test_what_arrived_as_the_engine_was_killed_comes_again_and_is_recognised(
    house: House, receiver: Receiver
) -> None:
    await hooked(house, receiver.url(), WAITING)
    answering = asyncio.Event()
    receiver.replies.append(Reply(gate=answering))
    async with sending(house):
        await house.package()
        await has(house, receiver, 1)
        other = await house.killed()
    answering.set()
    await other.open()
    async with sending(other):
        await has(other, receiver, 2)
        await all_told(other)
    await other.close()
    assert receiver.received[0].id == receiver.received[1].id
    assert receiver.received[0].body == receiver.received[1].body


async def test_what_could_not_be_recorded_as_told_is_told_again(
    house: House, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await hooked(house, receiver.url(), WAITING)
    answering = asyncio.Event()
    receiver.replies.append(Reply(gate=answering))
    disk = Disk(monkeypatch)
    async with sending(house):
        await house.package()
        await has(house, receiver, 1)
        disk.fail()
        answering.set()
        await house.until(lambda: disk.failed_all)
        await house.until(lambda: house.clock.sleeping(10))
        house.clock.move(seconds=10)
        await has(house, receiver, 2)
        await all_told(house)
    assert receiver.received[0].id == receiver.received[1].id


# ---- coming and going


async def test_a_webhook_that_comes_while_others_are_served_is_served_too(house: House, receiver: Receiver) -> None:
    async with sending(house):
        await house.package()
        hook = await hooked(house, receiver.url(), WAITING)
        await house.package()
        await has(house, receiver, 1)
        await house.do(ADMIN, house.engine.webhooks.remove(ADMIN, hook.webhook.id))
        await house.package()
        again = await hooked(house, receiver.url(), WAITING)
        await house.package()
        await has(house, receiver, 2)
    assert genuine(receiver.received[0], hook.secret)
    assert genuine(receiver.received[1], again.secret)


async def test_the_log_tells_neither_path_nor_secret(
    house: House, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hook = await hooked(house, receiver.url(), WAITING)
    receiver.replies.append(Reply(410))
    async with sending(house):
        await house.package()
        await house.until(lambda: "undeliverable" in caplog.text)
        await house.package()
        await has(house, receiver, 2)
        await all_told(house)
    assert "/hook" not in caplog.text
    assert hook.secret.removeprefix("whsec_") not in caplog.text
