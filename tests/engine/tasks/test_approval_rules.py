"""Tests of dual control: approvers, quorum, review, and permissions revoked after an approval."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConfirmationRequiredError,
    ConflictError,
    InvalidTransitionError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.requests import DeviceUpdate, TaskFilter
from sealyard.model.tasks import TaskKind, TaskStatus, Verdict
from tests.support.engine_harness import ADMIN, CLIENT, DEV, GATEWAY, OWNER, SECOND, EngineHarness

pytestmark = pytest.mark.anyio

S = TaskStatus


async def test_requester_cannot_decide_own_task(harness: EngineHarness) -> None:
    await harness.add_rule(OWNER, f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
    task = await harness.package(OWNER)
    for verdict in Verdict:
        with pytest.raises(PermissionDeniedError, match="your own task"):
            await harness.decide(task, OWNER, verdict, "because")
    assert harness.task(task.id).status is S.WAITING
    assert (await harness.audit_entries(AuditAction.REFUSED))[-1].author == OWNER
    assert (await harness.approve(task, SECOND)).status is S.SCHEDULED


async def test_administrator_cannot_approve_own_task(harness: EngineHarness) -> None:
    for action in (Action.USE, Action.APPROVE):
        await harness.add_rule(ADMIN, "RESOURCE_TYPE:DEVICE_CONFIG", action)
    task = await harness.package(ADMIN)
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, ADMIN)


async def test_group_member_cannot_approve_own_task(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:owners")
    await harness.add_member("GROUP:owners", DEV)
    await harness.add_rule("GROUP:owners", f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    task = await harness.package(DEV)
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, DEV)


async def test_machine_client_cannot_approve(harness: EngineHarness) -> None:
    await harness.add_rule(CLIENT, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    for requester in (CLIENT, DEV):
        task = await harness.package(requester)
        with pytest.raises(PermissionDeniedError):
            await harness.approve(task, CLIENT)
        assert harness.task(task.id).status is S.WAITING


async def test_quorum_schedules_task(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    assert (await empty_harness.approve(task, OWNER)).status is S.WAITING
    assert (await empty_harness.approve(task, SECOND)).status is S.SCHEDULED
    assert [each.by for each in empty_harness.task(task.id).approvals] == [OWNER, SECOND]


async def test_concurrent_approvals_count_once_each(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    tasks = await asyncio.gather(empty_harness.approve(task, OWNER), empty_harness.approve(task, SECOND))
    assert [each.status for each in tasks] == [S.WAITING, S.SCHEDULED]
    assert len(empty_harness.task(task.id).approvals) == 2


async def test_concurrent_approvals_by_same_user_count_once(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    outcomes = await asyncio.gather(
        empty_harness.approve(task, OWNER), empty_harness.approve(task, OWNER), return_exceptions=True
    )
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [ConflictError]
    assert len(empty_harness.task(task.id).approvals) == 1
    assert empty_harness.task(task.id).status is S.WAITING


async def test_second_approval_by_same_user_conflicts(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    with pytest.raises(ConflictError, match="already"):
        await empty_harness.approve(task, OWNER)


async def test_rejection_with_reason_cancels_task(harness: EngineHarness) -> None:
    task = await harness.package()
    for empty_reason in ("", "  \n"):
        with pytest.raises(UsageError):
            await harness.decide(task, OWNER, Verdict.REJECTED, empty_reason)
    with pytest.raises(UsageError):
        await harness.decide(task, OWNER, Verdict.REJECTED, "x" * 2001)
    final_task = await harness.decide(task, OWNER, Verdict.REJECTED, "wrong branch")
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "rejected")
    entry = (await harness.audit_entries(AuditAction.REJECTED))[-1]
    assert (entry.author, entry.message) == (OWNER, "wrong branch")
    with pytest.raises(InvalidTransitionError):
        await harness.approve(task, SECOND)


async def test_withdrawal_requires_requester_and_reason(harness: EngineHarness) -> None:
    task = await harness.package()
    decisions = harness.engine.decisions
    with pytest.raises(PermissionDeniedError):
        await harness.execute(OWNER, decisions.withdraw(OWNER, task.id, "mine now"))
    with pytest.raises(UsageError):
        await harness.execute(DEV, decisions.withdraw(DEV, task.id, ""))
    final_task = await harness.execute(DEV, decisions.withdraw(DEV, task.id, "wrong file"))
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "withdrawn")
    assert (await harness.audit_entries(AuditAction.WITHDRAWN))[-1].message == "wrong file"


async def test_decision_with_other_digest_conflicts(harness: EngineHarness) -> None:
    task = await harness.package()
    decision = harness.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", "00" * 32)
    with pytest.raises(ConflictError):
        await harness.execute(OWNER, decision)
    await harness.execute(
        OWNER, harness.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", task.approval_digest)
    )


async def test_approval_audit_entry_contains_digest(harness: EngineHarness) -> None:
    task = await harness.approved_package()
    entry = (await harness.audit_entries(AuditAction.APPROVED))[-1]
    assert (entry.author, entry.resource) == (OWNER, f"TASK:{task.id}")
    assert entry.new_value == {
        "digest": task.approval_digest,
        "approvals": 1,
        "required": 1,
        "origin": "machine",
        "oneTimePassword": False,
    }


@pytest.mark.parametrize(
    ("use", "approve", "required"),
    [
        ((DEV,), (DEV,), 1),
        ((DEV, OWNER), (OWNER,), 1),
        ((DEV,), (OWNER,), 2),
        ((DEV,), (CLIENT, DEV), 1),
        ((DEV, OWNER), (OWNER, SECOND), 2),
        ((), (OWNER,), 2),
    ],
)
async def test_configuration_without_quorum_is_rejected(
    harness: EngineHarness, use: tuple[str, ...], approve: tuple[str, ...], required: int
) -> None:
    request_count = len(harness.bus.commands)
    with pytest.raises(UsageError, match="too few approvers"):
        await harness.create_device("other", use=use, approve=approve, approvals_required=required)
    assert len(harness.bus.commands) == request_count  # no key was created for it


async def test_update_without_quorum_is_rejected(harness: EngineHarness) -> None:
    with pytest.raises(UsageError, match="too few approvers"):
        await harness.execute(
            ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=3))
        )


async def test_breaking_quorum_requires_confirmation(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.remove_rule(SECOND, Action.APPROVE, confirmed=False)
    assert harness.task(task.id).warning == ""
    with pytest.raises(ConfirmationRequiredError, match=GATEWAY):
        await harness.remove_rule(OWNER, Action.APPROVE, confirmed=False)
    assert harness.task(task.id).warning == ""
    assert not await harness.audit_entries(AuditAction.FAILED)
    await harness.remove_rule(OWNER, Action.APPROVE, confirmed=True)
    assert harness.task(task.id).warning
    assert harness.task(task.id).status is S.WAITING


async def test_breaking_quorum_through_group_requires_confirmation(empty_harness: EngineHarness) -> None:
    await empty_harness.add_subject("GROUP:owners")
    for each in (DEV, OWNER):
        await empty_harness.add_subject(each)
    await empty_harness.add_member("GROUP:owners", OWNER)
    await empty_harness.create_device(use=(DEV,), approve=("GROUP:owners",))
    task = await empty_harness.package()
    remove_member = empty_harness.engine.access.remove_member
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, remove_member(ADMIN, "GROUP:owners", OWNER, confirmed=False))
    await empty_harness.execute(ADMIN, remove_member(ADMIN, "GROUP:owners", OWNER, confirmed=True))
    assert empty_harness.task(task.id).warning


async def test_use_rule_for_only_approver_requires_confirmation(empty_harness: EngineHarness) -> None:
    for each in (DEV, OWNER):
        await empty_harness.add_subject(each)
    device = await empty_harness.create_device(use=(DEV,), approve=(OWNER,))
    task = await empty_harness.package()
    add_rule = empty_harness.engine.access.add_rule
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, add_rule(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE))
    assert not empty_harness.task(task.id).warning
    await empty_harness.execute(ADMIN, add_rule(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE, confirmed=True))
    assert empty_harness.task(task.id).warning
    await empty_harness.remove_rule(OWNER, Action.USE)
    assert not empty_harness.task(task.id).warning


async def test_group_membership_of_only_approver_requires_confirmation(
    empty_harness: EngineHarness,
) -> None:
    for each in (DEV, OWNER, "GROUP:developers"):
        await empty_harness.add_subject(each)
    await empty_harness.create_device(use=("GROUP:developers",), approve=(OWNER,))
    add_member = empty_harness.engine.access.add_member
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, add_member(ADMIN, "GROUP:developers", OWNER))
    await empty_harness.execute(ADMIN, add_member(ADMIN, "GROUP:developers", OWNER, confirmed=True))


# ---- permissions revoked after the approval


async def test_revoked_approver_cancels_scheduled_task(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    await harness.remove_rule(OWNER, Action.APPROVE)
    await harness.reopen()
    final_task = await harness.wait_until_final(task)
    assert (final_task.status, final_task.reason_code) == (S.CANCELLED, "right-lost")
    assert task.id not in harness.bus.jobs
    assert harness.bus.places == {}


async def test_revoked_approver_prevents_signing(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    assert not worker.permitted
    worker.stop()
    final_task = await harness.wait_until_final(worker.id)
    assert (final_task.status, final_task.reason_code, final_task.intent) == (S.CANCELLED, "right-lost", None)
    assert await harness.audit_entries(AuditAction.KEY_USED) == []


async def test_revoked_requester_prevents_signing(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(DEV, Action.USE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await harness.wait_until_final(worker.id)).reason_code == "right-lost"


async def test_revoked_requester_cancels_scheduled_encryption(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.encryption()
    await harness.remove_rule(DEV, Action.USE)
    await harness.reopen()
    assert (await harness.wait_until_final(task)).reason_code == "right-lost"


async def test_worker_crash_after_revocation_cancels_task(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.crash()
    assert (await harness.wait_until_final(worker.id)).reason_code == "right-lost"


# ---- review


async def test_review_reports_newer_configuration_version(harness: EngineHarness) -> None:
    task = await harness.package()
    assert (await harness.engine.reviews.review(OWNER, task.id)).newer_version is None
    await harness.execute(ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, description="new")))
    review = await harness.engine.reviews.review(OWNER, task.id)
    assert review.newer_version == 2
    assert review.configuration.version == task.config_version == 1
    assert review.configuration.description == ""


async def test_review_returns_raw_metadata(harness: EngineHarness) -> None:
    notes = await harness.upload(b"\x1b[31mred\xff\nline 2", "notes.txt")
    task = await harness.package(metadata=(notes,))
    assert (await harness.engine.reviews.review(OWNER, task.id)).metadata == (
        ("notes.txt", b"\x1b[31mred\xff\nline 2"),
    )


async def test_review_includes_previous_package(harness: EngineHarness) -> None:
    first = await harness.done_package()
    await harness.advance_clock(hours=1)
    task = await harness.package()
    previous = (await harness.engine.reviews.review(OWNER, task.id)).previous
    assert previous is not None
    assert previous.id == first.id
    assert (await harness.engine.reviews.review(OWNER, first.id)).previous is None


@pytest.mark.parametrize(
    ("subject", "message"),
    [(OWNER, ""), (DEV, "your own task"), (ADMIN, "not have permission to approve"), (CLIENT, "Only users")],
)
async def test_blocked_reason_explains_missing_permission(harness: EngineHarness, subject: str, message: str) -> None:
    task = await harness.package()
    blocked_reason = harness.engine.queries.blocked_reason(subject, task)
    assert message in blocked_reason
    assert bool(blocked_reason) is bool(message)
    page = await harness.engine.queries.list_tasks(subject, TaskFilter(awaiting_my_approval=True), None, 10)
    assert [each.id for each in page.tasks] == ([] if message else [task.id])


async def test_approval_queue_excludes_done_filter(harness: EngineHarness) -> None:
    await harness.package()
    done_filter = TaskFilter(awaiting_my_approval=True, status=TaskStatus.DONE)
    assert (await harness.engine.queries.list_tasks(OWNER, done_filter, None, 10)).tasks == ()


# ---- self-approval


async def test_self_approval_requires_demo_workspace(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError, match="demo"):
        await harness.set_policy(allow_self_approval=True)


async def test_self_approval_is_marked_in_result(demo_harness: EngineHarness) -> None:
    earlier_task = await demo_harness.package()
    await demo_harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    await demo_harness.set_policy(allow_self_approval=True)
    with pytest.raises(PermissionDeniedError):
        await demo_harness.approve(earlier_task, DEV)  # it was created under the old policy
    task = await demo_harness.package()
    await demo_harness.approve(task, DEV)
    worker = await demo_harness.wait_for_worker(task)
    worker.request_signing()
    await demo_harness.wait_until(lambda: worker.permitted)
    worker.finish()
    final_task = await demo_harness.wait_until_final(task)
    assert final_task.self_approved
    assert final_task.result is not None
    assert final_task.result.self_approved


async def test_incomplete_quorum_starts_no_worker(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    await empty_harness.wait_until_durable()
    assert task.id not in empty_harness.bus.places
    assert {each.status for each in empty_harness.task(task.id).subtasks if each.kind is TaskKind.ENCRYPTION} == {
        S.CREATED
    }
