"""Test every pair of concurrent operations on one task, in every order of the engine's waits.

Acknowledged operations stay in effect, the audit trail is a path of the life cycle, and no key is used for a task
after its withdrawal, rejection or cancellation was acknowledged.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import combinations_with_replacement, product
from pathlib import Path

import pytest

from sealyard.model.access import device_resource
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError, StorageError
from sealyard.model.tasks import TaskStatus, Verdict
from tests.engine.explorer import schedules
from tests.engine.start_states import START_STATES
from tests.engine.stepped_harness import (
    OPERATIONS,
    Operation,
    Scenario,
    cancel_unfinished_tasks,
    open_stepped_harness,
    restore_permissions,
)
from tests.support.audit_trail import require_path
from tests.support.engine_harness import OWNER
from tests.support.extent import choose_count, choose_pairs

pytestmark = pytest.mark.anyio

LIMIT = choose_count(share=4, full=5000)
"""Schedules of one pair that are explored in order. If there are more, as many are chosen at random."""

SEED = 20261129

S = TaskStatus
PAIRS = list(combinations_with_replacement(OPERATIONS, 2))


def name_case(value: tuple[tuple[Operation, Operation], str] | int) -> str:
    """Return the part of a test's id for the operations and the start state, or for the number of failures."""
    if isinstance(value, int):
        return "one-failure" if value else "durable"
    operations, start = value
    return "+".join(operation.name.replace(" ", "-") for operation in operations) + f"-{start}"


@pytest.mark.parametrize(("case", "failures"), choose_pairs(list(product(PAIRS, START_STATES)), (0, 1)), ids=name_case)
async def test_concurrent_operations_keep_life_cycle(
    tmp_path: Path,
    case: tuple[tuple[Operation, Operation], str],
    failures: int,
    record_property: Callable[[str, object], None],
) -> None:
    operations, start = case
    explored = 0
    async with open_stepped_harness(tmp_path / "workspace") as harness:
        resource = device_resource(harness.engine.repository.device("gateway").id)
        async for schedule in schedules(LIMIT, SEED):
            explored += 1
            scenario = Scenario(harness, schedule, failures=failures)
            try:
                await scenario.run(START_STATES[start], operations)
                check_outcomes(scenario)
            except BaseException:
                sys.stdout.write(f"schedule {schedule}: {scenario.steps} {scenario.outcomes}\n")
                raise
            await restore_permissions(harness, resource)
            await cancel_unfinished_tasks(harness)
    record_property("schedules", explored)


def check_outcomes(scenario: Scenario) -> None:
    if not scenario.is_created:
        assert not scenario.entries()
        assert not any(scenario.acknowledged(operation) for operation in ("approve", "reject", "withdraw", "cancel"))
        return
    task = scenario.task
    for operation in ("withdraw", "reject", "cancel"):
        if scenario.acknowledged(operation):
            assert task.status is S.CANCELLED, f"{operation} was acknowledged, but the task is {task.status}"
            assert task.result is None
    if scenario.acknowledged("approve"):
        assert [decision.verdict for decision in task.approvals if decision.by == OWNER] == [Verdict.APPROVED]
    revoked = any(outcome.operation == "revoke" for outcome in scenario.outcomes)
    possible = (ConflictError, StorageError, *((PermissionDeniedError, NotFoundError) if revoked else ()))
    for outcome in scenario.outcomes:
        assert outcome.error is None or isinstance(outcome.error, possible), outcome
    assert task.status not in (S.CREATED, S.APPROVED, S.RUNNING), f"the task stays {task.status}"
    require_path(task, scenario.entries())
