"""Four eyes: who counts, when a quorum is there, and what is lost when a right is."""

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


async def test_nobody_approves_what_they_asked_for(harness: EngineHarness) -> None:
    await harness.add_rule(OWNER, f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
    task = await harness.package(OWNER)
    for verdict in Verdict:
        with pytest.raises(PermissionDeniedError, match="your own task"):
            await harness.decide(task, OWNER, verdict, "because")
    assert harness.task(task.id).status is S.WAITING
    assert (await harness.audit_entries(AuditAction.REFUSED))[-1].author == OWNER
    assert (await harness.approve(task, SECOND)).status is S.SCHEDULED


async def test_not_as_administrator_either(harness: EngineHarness) -> None:
    for action in (Action.USE, Action.APPROVE):
        await harness.add_rule(ADMIN, "RESOURCE_TYPE:DEVICE_CONFIG", action)
    task = await harness.package(ADMIN)
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, ADMIN)


async def test_not_through_a_group_either(harness: EngineHarness) -> None:
    await harness.add_subject("GROUP:owners")
    await harness.add_member("GROUP:owners", DEV)
    await harness.add_rule("GROUP:owners", f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    task = await harness.package(DEV)
    with pytest.raises(PermissionDeniedError):
        await harness.approve(task, DEV)


async def test_not_as_a_machine_client_either(harness: EngineHarness) -> None:
    await harness.add_rule(CLIENT, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    for asking in (CLIENT, DEV):
        task = await harness.package(asking)
        with pytest.raises(PermissionDeniedError):
            await harness.approve(task, CLIENT)
        assert harness.task(task.id).status is S.WAITING


async def test_m_of_n_persons(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    assert (await empty_harness.approve(task, OWNER)).status is S.WAITING
    assert (await empty_harness.approve(task, SECOND)).status is S.SCHEDULED
    assert [each.by for each in empty_harness.task(task.id).approvals] == [OWNER, SECOND]


async def test_two_approvals_at_once_count_once_each(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    both = await asyncio.gather(empty_harness.approve(task, OWNER), empty_harness.approve(task, SECOND))
    assert [each.status for each in both] == [S.WAITING, S.SCHEDULED]
    assert len(empty_harness.task(task.id).approvals) == 2


async def test_the_same_person_twice_at_once_counts_once(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    both = await asyncio.gather(
        empty_harness.approve(task, OWNER), empty_harness.approve(task, OWNER), return_exceptions=True
    )
    assert [type(each) for each in both if isinstance(each, BaseException)] == [ConflictError]
    assert len(empty_harness.task(task.id).approvals) == 1
    assert empty_harness.task(task.id).status is S.WAITING


async def test_the_same_person_is_refused_the_second_time(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    with pytest.raises(ConflictError, match="already"):
        await empty_harness.approve(task, OWNER)


async def test_a_rejection_needs_a_reason_and_cancels(harness: EngineHarness) -> None:
    task = await harness.package()
    for empty_reason in ("", "  \n"):
        with pytest.raises(UsageError):
            await harness.decide(task, OWNER, Verdict.REJECTED, empty_reason)
    with pytest.raises(UsageError):
        await harness.decide(task, OWNER, Verdict.REJECTED, "x" * 2001)
    rejected = await harness.decide(task, OWNER, Verdict.REJECTED, "wrong branch")
    assert (rejected.status, rejected.reason_code) == (S.CANCELLED, "rejected")
    entry = (await harness.audit_entries(AuditAction.REJECTED))[-1]
    assert (entry.author, entry.message) == (OWNER, "wrong branch")
    with pytest.raises(InvalidTransitionError):
        await harness.approve(task, SECOND)


async def test_withdrawing_is_for_the_requester_and_needs_a_reason(harness: EngineHarness) -> None:
    task = await harness.package()
    decisions = harness.engine.decisions
    with pytest.raises(PermissionDeniedError):
        await harness.execute(OWNER, decisions.withdraw(OWNER, task.id, "mine now"))
    with pytest.raises(UsageError):
        await harness.execute(DEV, decisions.withdraw(DEV, task.id, ""))
    withdrawn = await harness.execute(DEV, decisions.withdraw(DEV, task.id, "wrong file"))
    assert (withdrawn.status, withdrawn.reason_code) == (S.CANCELLED, "withdrawn")
    assert (await harness.audit_entries(AuditAction.WITHDRAWN))[-1].message == "wrong file"


async def test_a_decision_is_about_what_was_looked_at(harness: EngineHarness) -> None:
    task = await harness.package()
    deciding = harness.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", "00" * 32)
    with pytest.raises(ConflictError):
        await harness.execute(OWNER, deciding)
    await harness.execute(
        OWNER, harness.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", task.approval_digest)
    )


async def test_an_approval_is_audited_with_what_it_is_bound_to(harness: EngineHarness) -> None:
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
async def test_a_configuration_that_nobody_could_approve_for_is_refused(
    harness: EngineHarness, use: tuple[str, ...], approve: tuple[str, ...], required: int
) -> None:
    asked = len(harness.bus.asked)
    with pytest.raises(UsageError, match="too few approvers"):
        await harness.create_device("other", use=use, approve=approve, approvals_required=required)
    assert len(harness.bus.asked) == asked  # no key was made for it


async def test_a_new_version_that_nobody_could_approve_for_is_refused(harness: EngineHarness) -> None:
    with pytest.raises(UsageError, match="too few approvers"):
        await harness.execute(
            ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=3))
        )


async def test_breaking_a_quorum_needs_confirmation_and_marks_what_waits(harness: EngineHarness) -> None:
    task = await harness.package()
    await harness.remove_rule(SECOND, Action.APPROVE, confirmed=False)
    assert harness.task(task.id).warning == ""
    with pytest.raises(ConfirmationRequiredError, match=GATEWAY):
        await harness.remove_rule(OWNER, Action.APPROVE, confirmed=False)
    assert harness.task(task.id).warning == ""
    await harness.remove_rule(OWNER, Action.APPROVE, confirmed=True)
    assert harness.task(task.id).warning
    assert harness.task(task.id).status is S.WAITING


async def test_breaking_a_quorum_through_a_group_needs_confirmation_too(empty_harness: EngineHarness) -> None:
    await empty_harness.add_subject("GROUP:owners")
    for each in (DEV, OWNER):
        await empty_harness.add_subject(each)
    await empty_harness.add_member("GROUP:owners", OWNER)
    await empty_harness.create_device(use=(DEV,), approve=("GROUP:owners",))
    task = await empty_harness.package()
    removing = empty_harness.engine.access.remove_member
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, removing(ADMIN, "GROUP:owners", OWNER, confirmed=False))
    await empty_harness.execute(ADMIN, removing(ADMIN, "GROUP:owners", OWNER, confirmed=True))
    assert empty_harness.task(task.id).warning


async def test_making_the_only_approver_a_requester_needs_confirmation_too(empty_harness: EngineHarness) -> None:
    for each in (DEV, OWNER):
        await empty_harness.add_subject(each)
    device = await empty_harness.create_device(use=(DEV,), approve=(OWNER,))
    task = await empty_harness.package()
    adding = empty_harness.engine.access.add_rule
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, adding(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE))
    assert not empty_harness.task(task.id).warning
    await empty_harness.execute(ADMIN, adding(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE, confirmed=True))
    assert empty_harness.task(task.id).warning
    await empty_harness.remove_rule(OWNER, Action.USE)
    assert not empty_harness.task(task.id).warning


async def test_a_member_who_makes_the_only_approver_a_requester_needs_confirmation(
    empty_harness: EngineHarness,
) -> None:
    for each in (DEV, OWNER, "GROUP:developers"):
        await empty_harness.add_subject(each)
    await empty_harness.create_device(use=("GROUP:developers",), approve=(OWNER,))
    adding = empty_harness.engine.access.add_member
    with pytest.raises(ConfirmationRequiredError):
        await empty_harness.execute(ADMIN, adding(ADMIN, "GROUP:developers", OWNER))
    await empty_harness.execute(ADMIN, adding(ADMIN, "GROUP:developers", OWNER, confirmed=True))


# ---- rights lost after the approval


async def test_an_approvers_lost_right_cancels_before_a_worker_has_the_task(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.approved_package()
    await harness.remove_rule(OWNER, Action.APPROVE)
    await harness.reopen()
    over = await harness.wait_until_final(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "right-lost")
    assert task.id not in harness.bus.jobs
    assert harness.bus.places == {}


async def test_an_approvers_lost_right_stops_the_use_of_the_key(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    assert not worker.permitted
    worker.stop()
    over = await harness.wait_until_final(worker.id)
    assert (over.status, over.reason_code, over.intent) == (S.CANCELLED, "right-lost", None)
    assert await harness.audit_entries(AuditAction.KEY_USED) == []


async def test_a_requesters_lost_right_stops_the_use_of_the_key(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(DEV, Action.USE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await harness.wait_until_final(worker.id)).reason_code == "right-lost"


async def test_a_requesters_lost_right_stops_an_encryption_before_it_begins(harness: EngineHarness) -> None:
    await harness.reopen(work=False)
    task = await harness.encryption()
    await harness.remove_rule(DEV, Action.USE)
    await harness.reopen()
    assert (await harness.wait_until_final(task)).reason_code == "right-lost"


async def test_a_worker_killed_while_it_was_to_stop_does_not_bring_the_task_back(harness: EngineHarness) -> None:
    worker = await harness.wait_for_worker(await harness.approved_package())
    await harness.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await harness.wait_until(lambda: worker.was_cancelled)
    worker.crash()
    assert (await harness.wait_until_final(worker.id)).reason_code == "right-lost"


# ---- what an approver sees


async def test_an_approver_sees_that_there_is_a_newer_version(harness: EngineHarness) -> None:
    task = await harness.package()
    assert harness.engine.decisions.review(OWNER, task.id).newer_version is None
    await harness.execute(ADMIN, harness.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, description="new")))
    seen = harness.engine.decisions.review(OWNER, task.id)
    assert seen.newer_version == 2
    assert seen.configuration.version == task.config_version == 1
    assert seen.configuration.description == ""


async def test_an_approver_gets_metadata_as_it_is(harness: EngineHarness) -> None:
    notes = await harness.upload(b"\x1b[31mred\xff\nline 2", "notes.txt")
    task = await harness.package(metadata=(notes,))
    assert harness.engine.decisions.review(OWNER, task.id).metadata == (("notes.txt", b"\x1b[31mred\xff\nline 2"),)


async def test_an_approver_sees_the_last_package_of_the_configuration(harness: EngineHarness) -> None:
    first = await harness.done_package()
    await harness.advance_clock(hours=1)
    task = await harness.package()
    previous = harness.engine.decisions.review(OWNER, task.id).previous
    assert previous is not None
    assert previous.id == first.id
    assert harness.engine.decisions.review(OWNER, first.id).previous is None


@pytest.mark.parametrize(
    ("subject", "words"),
    [(OWNER, ""), (DEV, "your own task"), (ADMIN, "not have permission to approve"), (CLIENT, "Only users")],
)
async def test_the_hindrance_says_why_one_cannot_decide(harness: EngineHarness, subject: str, words: str) -> None:
    task = await harness.package()
    hindrance = harness.engine.queries.blocked_reason(subject, task)
    assert words in hindrance
    assert bool(hindrance) is bool(words)
    waiting = await harness.engine.queries.list_tasks(subject, TaskFilter(awaiting_my_approval=True), None, 10)
    assert [each.id for each in waiting.tasks] == ([] if words else [task.id])


async def test_the_queue_of_an_approver_holds_nothing_that_is_over(harness: EngineHarness) -> None:
    await harness.package()
    done = TaskFilter(awaiting_my_approval=True, status=TaskStatus.DONE)
    assert (await harness.engine.queries.list_tasks(OWNER, done, None, 10)).tasks == ()


# ---- the trial switch


async def test_self_approval_can_be_tried_in_a_demo_workspace_only(harness: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError, match="demo"):
        await harness.set_policy(allow_self_approval=True)


async def test_self_approval_marks_the_result(demo_harness: EngineHarness) -> None:
    before = await demo_harness.package()
    await demo_harness.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    await demo_harness.set_policy(allow_self_approval=True)
    with pytest.raises(PermissionDeniedError):
        await demo_harness.approve(before, DEV)  # it was asked for under the old policy
    task = await demo_harness.package()
    await demo_harness.approve(task, DEV)
    worker = await demo_harness.wait_for_worker(task)
    worker.request_signing()
    await demo_harness.wait_until(lambda: worker.permitted)
    worker.finish()
    over = await demo_harness.wait_until_final(task)
    assert over.self_approved
    assert over.result is not None
    assert over.result.self_approved


async def test_no_key_is_used_before_the_quorum(empty_harness: EngineHarness) -> None:
    await empty_harness.add_default_subjects(approvals=2)
    task = await empty_harness.package()
    await empty_harness.approve(task, OWNER)
    await empty_harness.wait_until_durable()
    assert task.id not in empty_harness.bus.places
    assert {each.status for each in empty_harness.task(task.id).subtasks if each.kind is TaskKind.ENCRYPTION} == {
        S.CREATED
    }
