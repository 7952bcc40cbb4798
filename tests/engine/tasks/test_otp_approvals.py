"""Approvals that want a one-time password: who can give them, what is recorded, and that each password counts once."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, OneTimePasswordError, PermissionDeniedError
from sealyard.model.tasks import DecisionOrigin, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, OWNER, SECOND, EngineHarness
from tests.support.otp import approve, enroll

pytestmark = pytest.mark.anyio


@pytest.fixture
async def strict(harness: EngineHarness) -> EngineHarness:
    """Its policy wants one for each approval."""
    await harness.set_policy(require_otp=True)
    return harness


async def test_an_approval_with_a_right_one_records_that_and_where_it_was_made(strict: EngineHarness) -> None:
    app = await enroll(strict, OWNER)
    task = await strict.package()
    password = app.code(strict.clock.now())
    approved = await approve(strict, task, OWNER, password)
    assert approved.status is TaskStatus.SCHEDULED
    (decision,) = approved.approvals
    assert (decision.origin, decision.one_time_password) == (DecisionOrigin.TERMINAL, True)
    (entry,) = await strict.audit_entries(AuditAction.APPROVED)
    assert entry.new_value is not None
    assert (entry.new_value["origin"], entry.new_value["oneTimePassword"]) == ("terminal", True)
    assert password not in str(entry)


async def test_where_the_policy_wants_none_none_is_checked(harness: EngineHarness) -> None:
    approved = await approve(harness, await harness.package(), OWNER, "000000", DecisionOrigin.MACHINE)
    (decision,) = approved.approvals
    assert (decision.origin, decision.one_time_password) == (DecisionOrigin.MACHINE, False)
    (entry,) = await harness.audit_entries(AuditAction.APPROVED)
    assert entry.new_value is not None
    assert (entry.new_value["origin"], entry.new_value["oneTimePassword"]) == ("machine", False)


@pytest.mark.parametrize("given", [None, "wrong", "never"])
async def test_without_a_right_one_the_task_stays_as_it_is(strict: EngineHarness, given: str | None) -> None:
    app = await enroll(strict, OWNER)
    task = await strict.package()
    with pytest.raises(OneTimePasswordError):
        await approve(strict, task, OWNER, app.invalid_code(strict.clock.now()) if given == "never" else given)
    assert strict.task(task.id) == task
    (refusal,) = await strict.audit_entries(AuditAction.FAILED)
    assert (refusal.author, refusal.code) == (OWNER, OneTimePasswordError.code)


async def test_who_has_not_enrolled_is_told_how_to(strict: EngineHarness) -> None:
    with pytest.raises(OneTimePasswordError, match="not enrolled") as refused:
        await approve(strict, await strict.package(), OWNER, "123456")
    assert "sealyard otp enroll" in refused.value.hint


async def test_a_rejection_wants_none_not_even_of_a_machine(strict: EngineHarness) -> None:
    rejected = await strict.decide(await strict.package(), OWNER, Verdict.REJECTED, "no")
    assert rejected.status is TaskStatus.CANCELLED
    assert not rejected.approvals[0].one_time_password


async def test_a_machine_client_cannot_approve_even_with_a_right_one(strict: EngineHarness) -> None:
    app = await enroll(strict, OWNER)
    task = await strict.package()
    password = app.code(strict.clock.now())
    with pytest.raises(PermissionDeniedError, match="Machine clients"):
        await approve(strict, task, OWNER, password, DecisionOrigin.MACHINE)
    assert (await approve(strict, task, OWNER, password)).status is TaskStatus.SCHEDULED, "it was not used up"


async def test_one_password_approves_one_task_also_when_two_are_approved_at_once(strict: EngineHarness) -> None:
    app = await enroll(strict, OWNER)
    tasks = [await strict.package(name=name) for name in ("one", "other")]
    password = app.code(strict.clock.now())
    outcomes = await asyncio.gather(*(approve(strict, each, OWNER, password) for each in tasks), return_exceptions=True)
    assert sorted(isinstance(each, OneTimePasswordError) for each in outcomes) == [False, True]
    assert sum(strict.task(each.id).status is TaskStatus.WAITING for each in tasks) == 1


async def test_an_approval_refused_for_another_reason_uses_none_up(strict: EngineHarness) -> None:
    app = await enroll(strict, OWNER)
    task = await strict.package()
    password = app.code(strict.clock.now())
    deciding = strict.engine.decisions.decide(
        OWNER, task.id, Verdict.APPROVED, "", "00" * 32, DecisionOrigin.TERMINAL, password
    )
    with pytest.raises(ConflictError):
        await strict.execute(OWNER, deciding)
    await approve(strict, task, OWNER, password)


async def test_a_wrong_password_tells_nothing_to_who_may_not_approve(strict: EngineHarness) -> None:
    await enroll(strict, ADMIN)
    with pytest.raises(PermissionDeniedError):
        await approve(strict, await strict.package(), ADMIN, "000000")
    assert not [each for each in await strict.audit_entries() if "one-time password that" in each.message]


async def test_every_approval_of_a_quorum_wants_one(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    await empty_harness.set_policy(require_otp=True)
    owners, seconds = await enroll(empty_harness, OWNER), await enroll(empty_harness, SECOND)
    task = await empty_harness.package()
    await approve(empty_harness, task, OWNER, owners.code(empty_harness.clock.now()))
    with pytest.raises(OneTimePasswordError):
        await approve(empty_harness, task, SECOND)
    assert empty_harness.task(task.id).status is TaskStatus.WAITING
    done = await approve(empty_harness, task, SECOND, seconds.code(empty_harness.clock.now()))
    assert [each.one_time_password for each in done.approvals] == [True, True]


async def test_approvals_given_before_the_policy_wanted_one_still_count(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, SECOND)
    await empty_harness.set_policy(require_otp=True)
    app = await enroll(empty_harness, OWNER)
    assert (
        await approve(empty_harness, task, OWNER, app.code(empty_harness.clock.now()))
    ).status is TaskStatus.SCHEDULED
