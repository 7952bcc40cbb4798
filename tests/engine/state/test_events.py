"""Events: in order, with a cursor, caught up with after an absence, and a gap where they cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sealyard.engine.engine import open_reader
from sealyard.engine.state.events import HISTORY_SIZE, QUEUE_SIZE, EventBroadcaster
from sealyard.model.errors import StorageError, StoreCorruptedError
from sealyard.model.events import DurableEvent, Event, EventsMissed, TaskChanged, TaskProgressed, WorkspaceChanged
from tests.support.clock import START
from tests.support.engine_harness import DEV, OWNER, WAIT_SECONDS, EngineHarness, listen
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio


def event(cursor: int) -> DurableEvent:
    return WorkspaceChanged(cursor=cursor, at=START, resource="POLICY:workspace")


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(WAIT_SECONDS):
        return [await anext(events) for _ in range(count)]


async def listening(
    broadcaster: EventBroadcaster, after: int | None
) -> tuple[AsyncIterator[Event], asyncio.Future[Event]]:
    """A listener that waits for its first event already."""
    events = listen(broadcaster, after)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    return events, first


async def test_events_come_in_the_order_of_their_cursors(harness: EngineHarness) -> None:
    before = harness.engine.events.cursor
    events, first = await listening(harness.engine.events, before)
    task = await harness.package()
    await harness.approve(task)
    seen = [await first, *await take(events, 4)]
    assert [each.cursor for each in seen] == list(range(before + 1, before + 6))
    assert [(each.task_id, each.status) for each in seen if isinstance(each, TaskChanged)] == [
        (task.id, status) for status in ("CREATED", "WAITING", "APPROVED", "SCHEDULED", "RUNNING")
    ]


async def test_an_event_is_told_when_it_is_durable_and_not_before(harness: EngineHarness, disk: FailingDisk) -> None:
    _, first = await listening(harness.engine.events, None)
    disk.block()
    asking = asyncio.create_task(harness.package())
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1)
    assert not first.done()
    disk.unblock()
    await asking
    assert (await first).status == "CREATED"  # type: ignore[union-attr]


async def test_who_was_away_catches_up(harness: EngineHarness) -> None:
    cursor = harness.engine.events.cursor
    await harness.package()
    seen = await take(listen(harness.engine.events, cursor), 2)
    assert [each.cursor for each in seen] == [cursor + 1, cursor + 2]


async def test_who_was_away_over_a_restart_catches_up(harness: EngineHarness) -> None:
    cursor = harness.engine.events.cursor
    task = await harness.package()
    after = harness.engine.events.cursor
    await harness.reopen()
    assert harness.engine.events.cursor == after
    seen = await take(listen(harness.engine.events, cursor), 2)
    assert {each.task_id for each in seen} == {task.id}  # type: ignore[union-attr]
    await harness.approve(task)
    assert [each.cursor for each in await take(listen(harness.engine.events, after), 2)] == [after + 1, after + 2]


async def test_who_only_reads_follows_on_when_the_store_can_be_read_again(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = await open_reader(harness.paths, clock=harness.clock)
    try:
        refresh, failing = reader.store.refresh, iter([StorageError("The disk is away."), StoreCorruptedError("Torn.")])
        recovered = asyncio.Event()

        def troubled() -> bool:
            if (error := next(failing, None)) is not None:
                raise error
            loop.call_soon_threadsafe(recovered.set)
            return refresh()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(reader.store, "refresh", troubled)
        events, first = await listening(reader.events, reader.events.cursor)
        reader.tail()
        async with asyncio.timeout(WAIT_SECONDS):
            await recovered.wait()
            task = await harness.package()
            assert getattr(await first, "task_id", "") == task.id
        await events.aclose()  # type: ignore[attr-defined]
        assert ["The disk is away." in each.getMessage() for each in caplog.records] == [True]
    finally:
        await reader.close()


async def test_a_fault_that_ends_the_following_is_logged(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fault() -> bool:
        raise ZeroDivisionError

    reader = await open_reader(harness.paths, clock=harness.clock)
    try:
        monkeypatch.setattr(reader.store, "refresh", fault)
        reader.tail()
        await harness.wait_until(lambda: "a background task of the engine stopped unexpectedly" in caplog.text)
    finally:
        await reader.close()


async def test_a_failed_commit_leaves_no_gap_for_those_who_catch_up(harness: EngineHarness, disk: FailingDisk) -> None:
    cursor = harness.engine.events.cursor
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.package()
    await harness.package()
    seen = await take(listen(harness.engine.events, cursor), 2)
    assert not [each for each in seen if isinstance(each, EventsMissed)]
    assert [each.cursor for each in seen] == [cursor + 1, cursor + 2]


async def test_who_listens_from_now_on_hears_nothing_old() -> None:
    broadcaster = EventBroadcaster([event(1), event(2)])
    events, first = await listening(broadcaster, None)
    broadcaster.publish_durable(event(3))
    assert (await first).cursor == 3
    await events.aclose()  # type: ignore[attr-defined]


async def test_who_is_too_slow_is_told_of_the_gap_and_goes_on() -> None:
    broadcaster = EventBroadcaster([event(1)])
    events, first = await listening(broadcaster, 1)
    broadcaster.publish_durable(event(2))
    assert await first == event(2)
    for cursor in range(3, QUEUE_SIZE + 4):
        broadcaster.publish_durable(event(cursor))
    gap, following = await take(events, 2)
    assert gap == EventsMissed(cursor=QUEUE_SIZE + 3)
    assert following == event(QUEUE_SIZE + 3)
    broadcaster.publish_durable(event(QUEUE_SIZE + 4))
    assert await anext(events) == event(QUEUE_SIZE + 4)


async def test_all_that_has_come_is_taken_at_once() -> None:
    broadcaster = EventBroadcaster([event(1)])
    batches = broadcaster.batches(0)
    assert await anext(batches) == (event(1),)
    for cursor in (2, 3, 4):
        broadcaster.publish_durable(event(cursor))
    assert await anext(batches) == (event(2), event(3), event(4))
    for cursor in range(5, 5 + 2 * QUEUE_SIZE):
        broadcaster.publish_durable(event(cursor))
    batch = await anext(batches)
    assert len(batch) <= QUEUE_SIZE + 1
    assert isinstance(batch[0], EventsMissed)
    assert batch[-1] == event(4 + 2 * QUEUE_SIZE)


@pytest.mark.parametrize(("after", "gap"), [(0, True), (8, True), (9, False), (10, False)])
async def test_who_asks_for_what_is_no_longer_kept_is_told(after: int, gap: bool) -> None:
    broadcaster = EventBroadcaster([event(cursor) for cursor in range(10, 20)])
    events, first = await listening(broadcaster, after)
    broadcaster.publish_durable(event(20))
    assert (await first) == (EventsMissed(cursor=19) if gap else event(after + 1))
    await events.aclose()  # type: ignore[attr-defined]


async def test_who_missed_more_than_may_wait_is_told_of_a_gap() -> None:
    broadcaster = EventBroadcaster([event(cursor) for cursor in range(1, QUEUE_SIZE + 2)])
    assert await anext(listen(broadcaster, 1)) == event(2)
    assert await anext(listen(broadcaster, 0)) == EventsMissed(cursor=QUEUE_SIZE + 1)


def test_only_so_many_events_are_kept() -> None:
    broadcaster = EventBroadcaster([event(cursor) for cursor in range(1, HISTORY_SIZE + 5)])
    assert broadcaster.cursor == HISTORY_SIZE + 4
    assert broadcaster._events_since(3) == [EventsMissed(cursor=HISTORY_SIZE + 4)]


async def test_progress_repeats_the_cursor_and_is_not_kept() -> None:
    broadcaster = EventBroadcaster([event(1)])
    events, first = await listening(broadcaster, None)
    progress = TaskProgressed(cursor=1, task_id="t1", bytes_done=1, bytes_total=2)
    broadcaster.publish(progress)
    assert await first == progress
    broadcaster.publish_durable(event(2))
    assert await take(listen(broadcaster, 1), 1) == [event(2)]
    await events.aclose()  # type: ignore[attr-defined]


async def test_listeners_come_to_an_end_when_the_engine_closes(harness: EngineHarness) -> None:
    _, waiting = await listening(harness.engine.events, None)
    await harness.close()
    with pytest.raises(StopAsyncIteration):
        await waiting


async def test_one_slow_listener_does_not_keep_the_others(harness: EngineHarness) -> None:
    slow, first_of_slow = await listening(harness.engine.events, None)
    quick, first = await listening(harness.engine.events, None)
    task = await harness.package(DEV)
    assert (await first).cursor < (await anext(quick)).cursor
    await harness.approve(task, OWNER)
    assert (await first_of_slow).task_id == task.id  # type: ignore[union-attr]
    await slow.aclose()  # type: ignore[attr-defined]
