"""Every pair of acts that can meet on one task, with every order of their waits.

What was acknowledged holds, the audit trail is a path of the life cycle, and no key is used for a task whose
withdrawal, rejection or cancellation was acknowledged before.
"""

from __future__ import annotations

import os
import sys
from itertools import combinations_with_replacement
from pathlib import Path

import pytest

from sealyard.model.access import device_resource
from sealyard.model.errors import ConflictError, NotFoundError, PermissionDeniedError, StorageError
from sealyard.model.tasks import TaskStatus, Verdict
from tests.engine.explorer import schedules
from tests.engine.stepped_harness import ACTS, STARTS, Act, Play, end_all, restore_permissions, stepped_house
from tests.support.audit_trail import require_path
from tests.support.engine_harness import OWNER

pytestmark = pytest.mark.anyio

FULL = os.environ.get("SEALYARD_FULL") == "1"
LIMIT = 5000 if FULL else 25
"""Schedules of one pair that are walked through in order; beyond, as many are drawn at random."""

SEED = 20261129

S = TaskStatus
PAIRS = list(combinations_with_replacement(ACTS, 2))


@pytest.mark.parametrize("failures", [0, 1], ids=["durable", "one-failure"])
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("acts", PAIRS, ids=lambda acts: "+".join(act.name.replace(" ", "-") for act in acts))
async def test_two_acts_in_any_order_keep_the_life_cycle(
    tmp_path: Path, acts: tuple[Act, Act], start: str, failures: int
) -> None:
    async with stepped_house(tmp_path / "workspace") as house:
        resource = device_resource(house.engine.repository.device("gateway").id)
        async for schedule in schedules(LIMIT, SEED):
            play = Play(house, schedule, failures=failures)
            try:
                await play.run(STARTS[start], acts)
                judge(play)
            except BaseException:
                sys.stdout.write(f"schedule {schedule}: {play.steps} {play.outcomes}\n")
                raise
            await restore_permissions(house, resource)
            await end_all(house)


def judge(play: Play) -> None:
    if not play.is_created:
        assert not play.entries()
        assert not any(play.acknowledged(act) for act in ("approve", "reject", "withdraw", "cancel"))
        return
    task = play.task
    for act in ("withdraw", "reject", "cancel"):
        if play.acknowledged(act):
            assert task.status is S.CANCELLED, f"{act} was acknowledged, and the task is {task.status}"
            assert task.result is None
    if play.acknowledged("approve"):
        assert [decision.verdict for decision in task.approvals if decision.by == OWNER] == [Verdict.APPROVED]
    revoked = any(outcome.act == "revoke" for outcome in play.outcomes)
    possible = (ConflictError, StorageError, *((PermissionDeniedError, NotFoundError) if revoked else ()))
    for outcome in play.outcomes:
        assert outcome.error is None or isinstance(outcome.error, possible), outcome
    assert task.status not in (S.CREATED, S.APPROVED, S.RUNNING), f"the task is left {task.status}"
    require_path(task, play.entries())
