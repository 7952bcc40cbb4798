"""Tests of approvals that require a one-time password."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, OneTimePasswordError, PermissionDeniedError
from sealyard.model.hints import HintCode
from sealyard.model.tasks import DecisionOrigin, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, OWNER, SECOND, EngineHarness
from tests.support.otp import approve, enroll

pytestmark = pytest.mark.anyio


@pytest.fixture
async def otp_harness(harness: EngineHarness) -> EngineHarness:
    """Return a workspace whose policy requires a one-time password for every approval."""
    await harness.set_policy(require_otp=True)
    return harness


async def test_approval_with_otp_records_origin(otp_harness: EngineHarness) -> None:
    authenticator = await enroll(otp_harness, OWNER)
    task = await otp_harness.package()
    password = authenticator.code(otp_harness.clock.now())
    approved_task = await approve(otp_harness, task, OWNER, password)
    assert approved_task.status is TaskStatus.SCHEDULED
    (decision,) = approved_task.approvals
    assert (decision.origin, decision.one_time_password) == (DecisionOrigin.TERMINAL, True)
    (entry,) = await otp_harness.audit_entries(AuditAction.APPROVED)
    assert entry.new_value is not None
    assert (entry.new_value["origin"], entry.new_value["oneTimePassword"]) == ("terminal", True)
    assert password not in str(entry)


async def test_otp_is_ignored_unless_policy_requires_it(harness: EngineHarness) -> None:
    approved_task = await approve(harness, await harness.package(), OWNER, "000000", DecisionOrigin.MACHINE)
    (decision,) = approved_task.approvals
    assert (decision.origin, decision.one_time_password) == (DecisionOrigin.MACHINE, False)
    (entry,) = await harness.audit_entries(AuditAction.APPROVED)
    assert entry.new_value is not None
    assert (entry.new_value["origin"], entry.new_value["oneTimePassword"]) == ("machine", False)


@pytest.mark.parametrize("given", [None, "wrong", "never"])
async def test_approval_without_valid_otp_is_rejected(otp_harness: EngineHarness, given: str | None) -> None:
    authenticator = await enroll(otp_harness, OWNER)
    task = await otp_harness.package()
    with pytest.raises(OneTimePasswordError):
        await approve(
            otp_harness, task, OWNER, authenticator.invalid_code(otp_harness.clock.now()) if given == "never" else given
        )
    assert otp_harness.task(task.id) == task
    (entry,) = await otp_harness.audit_entries(AuditAction.FAILED)
    assert (entry.author, entry.code) == (OWNER, OneTimePasswordError.code)


async def test_approval_without_enrollment_returns_hint(otp_harness: EngineHarness) -> None:
    with pytest.raises(OneTimePasswordError, match="not enrolled") as exc_info:
        await approve(otp_harness, await otp_harness.package(), OWNER, "123456")
    assert exc_info.value.structured_hint.code == HintCode.ENROLL_OTP


async def test_rejection_requires_no_otp(otp_harness: EngineHarness) -> None:
    task = await otp_harness.decide(await otp_harness.package(), OWNER, Verdict.REJECTED, "no")
    assert task.status is TaskStatus.CANCELLED
    assert not task.approvals[0].one_time_password


async def test_machine_client_with_otp_cannot_approve(otp_harness: EngineHarness) -> None:
    authenticator = await enroll(otp_harness, OWNER)
    task = await otp_harness.package()
    password = authenticator.code(otp_harness.clock.now())
    with pytest.raises(PermissionDeniedError, match="Machine clients"):
        await approve(otp_harness, task, OWNER, password, DecisionOrigin.MACHINE)
    assert (await approve(otp_harness, task, OWNER, password)).status is TaskStatus.SCHEDULED, (
        "the password was consumed"
    )


async def test_concurrent_approvals_with_same_otp_count_once(otp_harness: EngineHarness) -> None:
    authenticator = await enroll(otp_harness, OWNER)
    tasks = [await otp_harness.package(name=name) for name in ("one", "other")]
    password = authenticator.code(otp_harness.clock.now())
    outcomes = await asyncio.gather(
        *(approve(otp_harness, each, OWNER, password) for each in tasks), return_exceptions=True
    )
    assert sorted(isinstance(each, OneTimePasswordError) for each in outcomes) == [False, True]
    assert sum(otp_harness.task(each.id).status is TaskStatus.WAITING for each in tasks) == 1


async def test_rejected_approval_does_not_consume_otp(otp_harness: EngineHarness) -> None:
    authenticator = await enroll(otp_harness, OWNER)
    task = await otp_harness.package()
    password = authenticator.code(otp_harness.clock.now())
    decision = otp_harness.engine.decisions.decide(
        OWNER, task.id, Verdict.APPROVED, "", "00" * 32, DecisionOrigin.TERMINAL, password
    )
    with pytest.raises(ConflictError):
        await otp_harness.execute(OWNER, decision)
    await approve(otp_harness, task, OWNER, password)


async def test_permission_is_checked_before_otp(otp_harness: EngineHarness) -> None:
    await enroll(otp_harness, ADMIN)
    with pytest.raises(PermissionDeniedError):
        await approve(otp_harness, await otp_harness.package(), ADMIN, "000000")
    assert not [each for each in await otp_harness.audit_entries() if "one-time password that" in each.message]


async def test_each_approval_requires_own_otp(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    await empty_harness.set_policy(require_otp=True)
    owner_authenticator, second_authenticator = await enroll(empty_harness, OWNER), await enroll(empty_harness, SECOND)
    task = await empty_harness.package()
    await approve(empty_harness, task, OWNER, owner_authenticator.code(empty_harness.clock.now()))
    with pytest.raises(OneTimePasswordError):
        await approve(empty_harness, task, SECOND)
    assert empty_harness.task(task.id).status is TaskStatus.WAITING
    approved_task = await approve(empty_harness, task, SECOND, second_authenticator.code(empty_harness.clock.now()))
    assert [each.one_time_password for each in approved_task.approvals] == [True, True]


async def test_approvals_before_policy_change_still_count(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, SECOND)
    await empty_harness.set_policy(require_otp=True)
    authenticator = await enroll(empty_harness, OWNER)
    assert (
        await approve(empty_harness, task, OWNER, authenticator.code(empty_harness.clock.now()))
    ).status is TaskStatus.SCHEDULED
