"""Tests of the event stream: order, cursors, catching up after an absence, and gaps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sealyard.engine.open_engine import open_reader
from sealyard.engine.state.events import HISTORY_SIZE, QUEUE_SIZE, EventBroadcaster
from sealyard.model.errors import StorageError, StoreCorruptedError
from sealyard.model.events import DurableEvent, Event, EventsMissed, TaskChanged, TaskProgressed, WorkspaceChanged
from tests.support.clock import START
from tests.support.engine_harness import DEV, OWNER, EngineHarness, listen
from tests.support.failing_disk import FailingDisk
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio


def make_event(cursor: int) -> DurableEvent:
    return WorkspaceChanged(cursor=cursor, at=START, resource="POLICY:workspace")


async def take(events: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(TIMEOUT):
        return [await anext(events) for _ in range(count)]


async def start_listener(
    broadcaster: EventBroadcaster, after: int | None
) -> tuple[AsyncIterator[Event], asyncio.Future[Event]]:
    """Start a listener. Return its events and the future of the first one."""
    events = listen(broadcaster, after)
    first = asyncio.ensure_future(anext(events))
    await asyncio.sleep(0)
    return events, first


async def test_events_are_ordered_by_cursor(harness: EngineHarness) -> None:
    before = harness.engine.events.cursor
    events, first = await start_listener(harness.engine.events, before)
    task = await harness.package()
    await harness.approve(task)
    received_events = [await first, *await take(events, 4)]
    assert [each.cursor for each in received_events] == list(range(before + 1, before + 6))
    assert [(each.task_id, each.status) for each in received_events if isinstance(each, TaskChanged)] == [
        (task.id, status) for status in ("CREATED", "WAITING", "APPROVED", "SCHEDULED", "RUNNING")
    ]


async def test_event_is_published_after_commit(harness: EngineHarness, disk: FailingDisk) -> None:
    _, first = await start_listener(harness.engine.events, None)
    disk.block()
    request = asyncio.create_task(harness.package())
    await harness.wait_until(lambda: harness.engine.store.count("tasks") == 1)
    assert not first.done()
    disk.unblock()
    await request
    assert (await first).status == "CREATED"  # type: ignore[union-attr]


async def test_listener_catches_up_from_cursor(harness: EngineHarness) -> None:
    cursor = harness.engine.events.cursor
    await harness.package()
    received_events = await take(listen(harness.engine.events, cursor), 2)
    assert [each.cursor for each in received_events] == [cursor + 1, cursor + 2]


async def test_listener_catches_up_after_restart(harness: EngineHarness) -> None:
    cursor = harness.engine.events.cursor
    task = await harness.package()
    after = harness.engine.events.cursor
    await harness.reopen()
    assert harness.engine.events.cursor == after
    received_events = await take(listen(harness.engine.events, cursor), 2)
    assert {each.task_id for each in received_events} == {task.id}  # type: ignore[union-attr]
    await harness.approve(task)
    assert [each.cursor for each in await take(listen(harness.engine.events, after), 2)] == [after + 1, after + 2]


@pytest.mark.file_store
async def test_reader_resumes_after_store_error(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reader = await open_reader(harness.paths, clock=harness.clock)
    try:
        refresh = reader.store.refresh
        errors = iter([StorageError("The disk is missing."), StoreCorruptedError("Torn.")])
        recovered = asyncio.Event()

        def fail_then_refresh() -> bool:
            if (error := next(errors, None)) is not None:
                raise error
            loop.call_soon_threadsafe(recovered.set)
            return refresh()

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(reader.store, "refresh", fail_then_refresh)
        events, first = await start_listener(reader.events, reader.events.cursor)
        reader.tail()
        async with asyncio.timeout(TIMEOUT):
            await recovered.wait()
            task = await harness.package()
            assert getattr(await first, "task_id", "") == task.id
        await events.aclose()  # type: ignore[attr-defined]
        assert ["The disk is missing." in each.getMessage() for each in caplog.records] == [True]
    finally:
        await reader.close()


@pytest.mark.file_store
async def test_unexpected_error_of_reader_is_logged(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> bool:
        raise ZeroDivisionError

    reader = await open_reader(harness.paths, clock=harness.clock)
    try:
        monkeypatch.setattr(reader.store, "refresh", fail)
        reader.tail()
        await harness.wait_until(lambda: "a background task of the engine stopped unexpectedly" in caplog.text)
    finally:
        await reader.close()


async def test_failed_commit_leaves_no_cursor_gap(harness: EngineHarness, disk: FailingDisk) -> None:
    cursor = harness.engine.events.cursor
    disk.fail(2)
    with pytest.raises(StorageError):
        await harness.package()
    await harness.package()
    received_events = await take(listen(harness.engine.events, cursor), 2)
    assert not [each for each in received_events if isinstance(each, EventsMissed)]
    assert [each.cursor for each in received_events] == [cursor + 1, cursor + 2]


async def test_listener_without_cursor_receives_new_events() -> None:
    broadcaster = EventBroadcaster([make_event(1), make_event(2)])
    events, first = await start_listener(broadcaster, None)
    broadcaster.publish_durable(make_event(3))
    assert (await first).cursor == 3
    await events.aclose()  # type: ignore[attr-defined]


async def test_slow_listener_receives_gap_and_continues() -> None:
    broadcaster = EventBroadcaster([make_event(1)])
    events, first = await start_listener(broadcaster, 1)
    broadcaster.publish_durable(make_event(2))
    assert await first == make_event(2)
    for cursor in range(3, QUEUE_SIZE + 4):
        broadcaster.publish_durable(make_event(cursor))
    gap, next_event = await take(events, 2)
    assert gap == EventsMissed(cursor=QUEUE_SIZE + 3)
    assert next_event == make_event(QUEUE_SIZE + 3)
    broadcaster.publish_durable(make_event(QUEUE_SIZE + 4))
    assert await anext(events) == make_event(QUEUE_SIZE + 4)


async def test_batch_contains_all_pending_events() -> None:
    broadcaster = EventBroadcaster([make_event(1)])
    batches = broadcaster.batches(0)
    assert await anext(batches) == (make_event(1),)
    for cursor in (2, 3, 4):
        broadcaster.publish_durable(make_event(cursor))
    assert await anext(batches) == (make_event(2), make_event(3), make_event(4))
    for cursor in range(5, 5 + 2 * QUEUE_SIZE):
        broadcaster.publish_durable(make_event(cursor))
    batch = await anext(batches)
    assert len(batch) <= QUEUE_SIZE + 1
    assert isinstance(batch[0], EventsMissed)
    assert batch[-1] == make_event(4 + 2 * QUEUE_SIZE)


@pytest.mark.parametrize(("after", "gap"), [(0, True), (8, True), (9, False), (10, False)])
async def test_cursor_before_history_receives_gap(after: int, gap: bool) -> None:
    broadcaster = EventBroadcaster([make_event(cursor) for cursor in range(10, 20)])
    events, first = await start_listener(broadcaster, after)
    broadcaster.publish_durable(make_event(20))
    assert (await first) == (EventsMissed(cursor=19) if gap else make_event(after + 1))
    await events.aclose()  # type: ignore[attr-defined]


async def test_backlog_above_queue_size_receives_gap() -> None:
    broadcaster = EventBroadcaster([make_event(cursor) for cursor in range(1, QUEUE_SIZE + 2)])
    assert await anext(listen(broadcaster, 1)) == make_event(2)
    assert await anext(listen(broadcaster, 0)) == EventsMissed(cursor=QUEUE_SIZE + 1)


def test_history_size_is_limited() -> None:
    broadcaster = EventBroadcaster([make_event(cursor) for cursor in range(1, HISTORY_SIZE + 5)])
    assert broadcaster.cursor == HISTORY_SIZE + 4
    assert broadcaster._events_since(3) == [EventsMissed(cursor=HISTORY_SIZE + 4)]


async def test_progress_event_is_not_kept() -> None:
    broadcaster = EventBroadcaster([make_event(1)])
    events, first = await start_listener(broadcaster, None)
    progress = TaskProgressed(cursor=1, task_id="t1", bytes_done=1, bytes_total=2)
    broadcaster.publish(progress)
    assert await first == progress
    broadcaster.publish_durable(make_event(2))
    assert await take(listen(broadcaster, 1), 1) == [make_event(2)]
    await events.aclose()  # type: ignore[attr-defined]


async def test_close_ends_listeners(harness: EngineHarness) -> None:
    _, first = await start_listener(harness.engine.events, None)
    await harness.close()
    with pytest.raises(StopAsyncIteration):
        await first


async def test_slow_listener_does_not_delay_others(harness: EngineHarness) -> None:
    slow_listener, first_slow_event = await start_listener(harness.engine.events, None)
    fast_listener, first_fast_event = await start_listener(harness.engine.events, None)
    task = await harness.package(DEV)
    assert (await first_fast_event).cursor < (await anext(fast_listener)).cursor
    await harness.approve(task, OWNER)
    assert (await first_slow_event).task_id == task.id  # type: ignore[union-attr]
    await slow_listener.aclose()  # type: ignore[attr-defined]
