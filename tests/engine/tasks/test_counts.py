"""Tests of task counts and totals: they match the task lists of the same subject."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from sealyard.engine.open_engine import open_reader
from sealyard.model.access import Action, device_resource
from sealyard.model.requests import TaskFilter
from sealyard.model.tasks import ResultState, TaskKind, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

OTHER = "other"


@pytest.fixture
async def busy_harness(harness: EngineHarness) -> EngineHarness:
    """Return a workspace with two configurations, and tasks of two users in several states.

    dev may view `other` only through its own tasks.
    """
    other = await harness.create_device(OTHER, use=(SECOND, DEV), approve=(OWNER, ADMIN))
    await harness.done_package()
    await harness.decide(await harness.package(name="rejected"), OWNER, Verdict.REJECTED, "no")
    await harness.package(name="waits at the gate")
    await harness.package(SECOND, config=OTHER, name="waits elsewhere")
    await harness.package(DEV, config=OTHER, name="mine elsewhere")
    await harness.remove_rule(DEV, Action.USE)
    await harness.add_rule(DEV, device_resource((harness.engine.repository.device(GATEWAY)).id), Action.USE)
    assert not harness.engine.permissions.is_allowed(DEV, Action.VIEW, device_resource(other.id))
    return harness


async def test_list_total_matches_number_of_tasks(busy_harness: EngineHarness) -> None:
    filters = [
        TaskFilter(status=status, config=config, created_by=creator, kind=kind, result_state=state)
        for status, config, creator, kind, state in product(
            (None, TaskStatus.WAITING, TaskStatus.DONE),
            (None, GATEWAY, OTHER),
            (None, DEV, SECOND),
            (None, TaskKind.PACKAGING),
            (None, ResultState.AVAILABLE, ResultState.GONE),
        )
    ]
    for subject, each in product((ADMIN, DEV, OWNER, SECOND), filters):
        listed_count, after = 0, None
        while True:
            page = await busy_harness.engine.queries.list_tasks(subject, each, after, 2)
            assert all(each.matches(task) for task in page.tasks)
            listed_count += len(page.tasks)
            after = page.next
            if after is None:
                break
        assert page.total == listed_count, (subject, each)


async def test_counts_match_task_lists(busy_harness: EngineHarness) -> None:
    for subject in (ADMIN, DEV, OWNER, SECOND):
        counts = busy_harness.engine.queries.counts(subject)
        tasks = (await busy_harness.engine.queries.list_tasks(subject, TaskFilter(), None, 100)).tasks
        waiting = (
            await busy_harness.engine.queries.list_tasks(subject, TaskFilter(awaiting_my_approval=True), None, 100)
        ).tasks
        assert counts.total == len(tasks)
        assert counts.by_status == {
            each: sum(task.status is each for task in tasks) for each in {task.status for task in tasks}
        }
        assert sum(counts.results.values()) == sum(task.result is not None for task in tasks)
        assert counts.mine == sum(task.created_by == subject for task in tasks)
        assert counts.awaiting_my_approval == len(waiting)


async def test_awaiting_approval_is_counted_per_subject(busy_harness: EngineHarness) -> None:
    counts = {
        each: busy_harness.engine.queries.counts(each).awaiting_my_approval for each in (ADMIN, DEV, OWNER, SECOND)
    }
    assert counts == {ADMIN: 2, DEV: 0, OWNER: 3, SECOND: 1}


def has_only_results(busy_harness: EngineHarness, state: ResultState) -> Callable[[], bool]:
    return lambda: busy_harness.engine.queries.counts(OWNER).results == {state: 1}


async def test_result_state_filter_follows_expiry(busy_harness: EngineHarness) -> None:
    for duration, state in (
        ({}, ResultState.AVAILABLE),
        ({"days": 2}, ResultState.EXPIRED),
        ({"days": 40}, ResultState.GONE),
    ):
        await busy_harness.advance_clock(**duration)
        await busy_harness.wait_until(has_only_results(busy_harness, state))
        for each in ResultState:
            page = await busy_harness.engine.queries.list_tasks(OWNER, TaskFilter(result_state=each), None, 10)
            assert (len(page.tasks), page.total) == ((1, 1) if each is state else (0, 0))


@pytest.mark.file_store
async def test_reader_lists_results_expired_while_closed(busy_harness: EngineHarness) -> None:
    await busy_harness.close()
    busy_harness.clock.advance(days=2)
    reader = await open_reader(busy_harness.paths, clock=busy_harness.clock)
    try:
        for each in ResultState:
            page = await reader.queries.list_tasks(OWNER, TaskFilter(result_state=each), None, 10)
            assert [task.result.state for task in page.tasks if task.result] == [each] * (each is ResultState.EXPIRED)
            assert page.total is None
    finally:
        await reader.close()
