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


async def test_nobody_approves_what_they_asked_for(house: EngineHarness) -> None:
    await house.add_rule(OWNER, f"DEVICE_CONFIG:{GATEWAY}", Action.USE)
    task = await house.package(OWNER)
    for verdict in Verdict:
        with pytest.raises(PermissionDeniedError, match="your own task"):
            await house.decide(task, OWNER, verdict, "because")
    assert house.task(task.id).status is S.WAITING
    assert (await house.audit_entries(AuditAction.REFUSED))[-1].author == OWNER
    assert (await house.approve(task, SECOND)).status is S.SCHEDULED


async def test_not_as_administrator_either(house: EngineHarness) -> None:
    for action in (Action.USE, Action.APPROVE):
        await house.add_rule(ADMIN, "RESOURCE_TYPE:DEVICE_CONFIG", action)
    task = await house.package(ADMIN)
    with pytest.raises(PermissionDeniedError):
        await house.approve(task, ADMIN)


async def test_not_through_a_group_either(house: EngineHarness) -> None:
    await house.add_subject("GROUP:owners")
    await house.add_member("GROUP:owners", DEV)
    await house.add_rule("GROUP:owners", f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    task = await house.package(DEV)
    with pytest.raises(PermissionDeniedError):
        await house.approve(task, DEV)


async def test_not_as_a_machine_client_either(house: EngineHarness) -> None:
    await house.add_rule(CLIENT, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    for asking in (CLIENT, DEV):
        task = await house.package(asking)
        with pytest.raises(PermissionDeniedError):
            await house.approve(task, CLIENT)
        assert house.task(task.id).status is S.WAITING


async def test_m_of_n_persons(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    task = await empty.package()
    assert (await empty.approve(task, OWNER)).status is S.WAITING
    assert (await empty.approve(task, SECOND)).status is S.SCHEDULED
    assert [each.by for each in empty.task(task.id).approvals] == [OWNER, SECOND]


async def test_two_approvals_at_once_count_once_each(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    task = await empty.package()
    both = await asyncio.gather(empty.approve(task, OWNER), empty.approve(task, SECOND))
    assert [each.status for each in both] == [S.WAITING, S.SCHEDULED]
    assert len(empty.task(task.id).approvals) == 2


async def test_the_same_person_twice_at_once_counts_once(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    task = await empty.package()
    both = await asyncio.gather(empty.approve(task, OWNER), empty.approve(task, OWNER), return_exceptions=True)
    assert [type(each) for each in both if isinstance(each, BaseException)] == [ConflictError]
    assert len(empty.task(task.id).approvals) == 1
    assert empty.task(task.id).status is S.WAITING


async def test_the_same_person_is_refused_the_second_time(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    task = await empty.package()
    await empty.approve(task, OWNER)
    with pytest.raises(ConflictError, match="already"):
        await empty.approve(task, OWNER)


async def test_a_rejection_needs_a_reason_and_cancels(house: EngineHarness) -> None:
    task = await house.package()
    for empty_reason in ("", "  \n"):
        with pytest.raises(UsageError):
            await house.decide(task, OWNER, Verdict.REJECTED, empty_reason)
    with pytest.raises(UsageError):
        await house.decide(task, OWNER, Verdict.REJECTED, "x" * 2001)
    rejected = await house.decide(task, OWNER, Verdict.REJECTED, "wrong branch")
    assert (rejected.status, rejected.reason_code) == (S.CANCELLED, "rejected")
    entry = (await house.audit_entries(AuditAction.REJECTED))[-1]
    assert (entry.author, entry.message) == (OWNER, "wrong branch")
    with pytest.raises(InvalidTransitionError):
        await house.approve(task, SECOND)


async def test_withdrawing_is_for_the_requester_and_needs_a_reason(house: EngineHarness) -> None:
    task = await house.package()
    decisions = house.engine.decisions
    with pytest.raises(PermissionDeniedError):
        await house.execute(OWNER, decisions.withdraw(OWNER, task.id, "mine now"))
    with pytest.raises(UsageError):
        await house.execute(DEV, decisions.withdraw(DEV, task.id, ""))
    withdrawn = await house.execute(DEV, decisions.withdraw(DEV, task.id, "wrong file"))
    assert (withdrawn.status, withdrawn.reason_code) == (S.CANCELLED, "withdrawn")
    assert (await house.audit_entries(AuditAction.WITHDRAWN))[-1].message == "wrong file"


async def test_a_decision_is_about_what_was_looked_at(house: EngineHarness) -> None:
    task = await house.package()
    deciding = house.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", "00" * 32)
    with pytest.raises(ConflictError):
        await house.execute(OWNER, deciding)
    await house.execute(
        OWNER, house.engine.decisions.decide(OWNER, task.id, Verdict.APPROVED, "", task.approval_digest)
    )


async def test_an_approval_is_audited_with_what_it_is_bound_to(house: EngineHarness) -> None:
    task = await house.approved_package()
    entry = (await house.audit_entries(AuditAction.APPROVED))[-1]
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
    house: EngineHarness, use: tuple[str, ...], approve: tuple[str, ...], required: int
) -> None:
    asked = len(house.bus.asked)
    with pytest.raises(UsageError, match="too few approvers"):
        await house.create_device("other", use=use, approve=approve, approvals_required=required)
    assert len(house.bus.asked) == asked  # no key was made for it


async def test_a_new_version_that_nobody_could_approve_for_is_refused(house: EngineHarness) -> None:
    with pytest.raises(UsageError, match="too few approvers"):
        await house.execute(
            ADMIN, house.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, approvals_required=3))
        )


async def test_breaking_a_quorum_needs_confirmation_and_marks_what_waits(house: EngineHarness) -> None:
    task = await house.package()
    await house.remove_rule(SECOND, Action.APPROVE, confirmed=False)
    assert house.task(task.id).warning == ""
    with pytest.raises(ConfirmationRequiredError, match=GATEWAY):
        await house.remove_rule(OWNER, Action.APPROVE, confirmed=False)
    assert house.task(task.id).warning == ""
    await house.remove_rule(OWNER, Action.APPROVE, confirmed=True)
    assert house.task(task.id).warning
    assert house.task(task.id).status is S.WAITING


async def test_breaking_a_quorum_through_a_group_needs_confirmation_too(empty: EngineHarness) -> None:
    await empty.add_subject("GROUP:owners")
    for each in (DEV, OWNER):
        await empty.add_subject(each)
    await empty.add_member("GROUP:owners", OWNER)
    await empty.create_device(use=(DEV,), approve=("GROUP:owners",))
    task = await empty.package()
    removing = empty.engine.access.remove_member
    with pytest.raises(ConfirmationRequiredError):
        await empty.execute(ADMIN, removing(ADMIN, "GROUP:owners", OWNER, confirmed=False))
    await empty.execute(ADMIN, removing(ADMIN, "GROUP:owners", OWNER, confirmed=True))
    assert empty.task(task.id).warning


async def test_making_the_only_approver_a_requester_needs_confirmation_too(empty: EngineHarness) -> None:
    for each in (DEV, OWNER):
        await empty.add_subject(each)
    device = await empty.create_device(use=(DEV,), approve=(OWNER,))
    task = await empty.package()
    adding = empty.engine.access.add_rule
    with pytest.raises(ConfirmationRequiredError):
        await empty.execute(ADMIN, adding(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE))
    assert not empty.task(task.id).warning
    await empty.execute(ADMIN, adding(ADMIN, OWNER, f"DEVICE_CONFIG:{device.id}", Action.USE, confirmed=True))
    assert empty.task(task.id).warning
    await empty.remove_rule(OWNER, Action.USE)
    assert not empty.task(task.id).warning


async def test_a_member_who_makes_the_only_approver_a_requester_needs_confirmation(empty: EngineHarness) -> None:
    for each in (DEV, OWNER, "GROUP:developers"):
        await empty.add_subject(each)
    await empty.create_device(use=("GROUP:developers",), approve=(OWNER,))
    adding = empty.engine.access.add_member
    with pytest.raises(ConfirmationRequiredError):
        await empty.execute(ADMIN, adding(ADMIN, "GROUP:developers", OWNER))
    await empty.execute(ADMIN, adding(ADMIN, "GROUP:developers", OWNER, confirmed=True))


# ---- rights lost after the approval


async def test_an_approvers_lost_right_cancels_before_a_worker_has_the_task(house: EngineHarness) -> None:
    await house.reopen(work=False)
    task = await house.approved_package()
    await house.remove_rule(OWNER, Action.APPROVE)
    await house.reopen()
    over = await house.wait_until_final(task)
    assert (over.status, over.reason_code) == (S.CANCELLED, "right-lost")
    assert task.id not in house.bus.jobs
    assert house.bus.places == {}


async def test_an_approvers_lost_right_stops_the_use_of_the_key(house: EngineHarness) -> None:
    worker = await house.wait_for_worker(await house.approved_package())
    await house.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await house.wait_until(lambda: worker.was_cancelled)
    assert not worker.permitted
    worker.stop()
    over = await house.wait_until_final(worker.id)
    assert (over.status, over.reason_code, over.intent) == (S.CANCELLED, "right-lost", None)
    assert await house.audit_entries(AuditAction.KEY_USED) == []


async def test_a_requesters_lost_right_stops_the_use_of_the_key(house: EngineHarness) -> None:
    worker = await house.wait_for_worker(await house.approved_package())
    await house.remove_rule(DEV, Action.USE)
    worker.request_signing()
    await house.wait_until(lambda: worker.was_cancelled)
    worker.stop()
    assert (await house.wait_until_final(worker.id)).reason_code == "right-lost"


async def test_a_requesters_lost_right_stops_an_encryption_before_it_begins(house: EngineHarness) -> None:
    await house.reopen(work=False)
    task = await house.encryption()
    await house.remove_rule(DEV, Action.USE)
    await house.reopen()
    assert (await house.wait_until_final(task)).reason_code == "right-lost"


async def test_a_worker_killed_while_it_was_to_stop_does_not_bring_the_task_back(house: EngineHarness) -> None:
    worker = await house.wait_for_worker(await house.approved_package())
    await house.remove_rule(OWNER, Action.APPROVE)
    worker.request_signing()
    await house.wait_until(lambda: worker.was_cancelled)
    worker.crash()
    assert (await house.wait_until_final(worker.id)).reason_code == "right-lost"


# ---- what an approver sees


async def test_an_approver_sees_that_there_is_a_newer_version(house: EngineHarness) -> None:
    task = await house.package()
    assert house.engine.decisions.review(OWNER, task.id).newer_version is None
    await house.execute(ADMIN, house.engine.devices.update(ADMIN, DeviceUpdate(config=GATEWAY, description="new")))
    seen = house.engine.decisions.review(OWNER, task.id)
    assert seen.newer_version == 2
    assert seen.configuration.version == task.config_version == 1
    assert seen.configuration.description == ""


async def test_an_approver_gets_metadata_as_it_is(house: EngineHarness) -> None:
    notes = await house.upload(b"\x1b[31mred\xff\nline 2", "notes.txt")
    task = await house.package(metadata=(notes,))
    assert house.engine.decisions.review(OWNER, task.id).metadata == (("notes.txt", b"\x1b[31mred\xff\nline 2"),)


async def test_an_approver_sees_the_last_package_of_the_configuration(house: EngineHarness) -> None:
    first = await house.done_package()
    await house.advance_clock(hours=1)
    task = await house.package()
    previous = house.engine.decisions.review(OWNER, task.id).previous
    assert previous is not None
    assert previous.id == first.id
    assert house.engine.decisions.review(OWNER, first.id).previous is None


@pytest.mark.parametrize(
    ("subject", "words"),
    [(OWNER, ""), (DEV, "your own task"), (ADMIN, "not have permission to approve"), (CLIENT, "Only users")],
)
async def test_the_hindrance_says_why_one_cannot_decide(house: EngineHarness, subject: str, words: str) -> None:
    task = await house.package()
    hindrance = house.engine.queries.blocked_reason(subject, task)
    assert words in hindrance
    assert bool(hindrance) is bool(words)
    waiting = await house.engine.queries.list_tasks(subject, TaskFilter(awaiting_my_approval=True), None, 10)
    assert [each.id for each in waiting.tasks] == ([] if words else [task.id])


async def test_the_queue_of_an_approver_holds_nothing_that_is_over(house: EngineHarness) -> None:
    await house.package()
    done = TaskFilter(awaiting_my_approval=True, status=TaskStatus.DONE)
    assert (await house.engine.queries.list_tasks(OWNER, done, None, 10)).tasks == ()


# ---- the trial switch


async def test_self_approval_can_be_tried_in_a_demo_workspace_only(house: EngineHarness) -> None:
    with pytest.raises(PermissionDeniedError, match="demo"):
        await house.set_policy(allow_self_approval=True)


async def test_self_approval_marks_the_result(demo: EngineHarness) -> None:
    before = await demo.package()
    await demo.add_rule(DEV, f"DEVICE_CONFIG:{GATEWAY}", Action.APPROVE)
    await demo.set_policy(allow_self_approval=True)
    with pytest.raises(PermissionDeniedError):
        await demo.approve(before, DEV)  # it was asked for under the old policy
    task = await demo.package()
    await demo.approve(task, DEV)
    worker = await demo.wait_for_worker(task)
    worker.request_signing()
    await demo.wait_until(lambda: worker.permitted)
    worker.finish()
    over = await demo.wait_until_final(task)
    assert over.self_approved
    assert over.result is not None
    assert over.result.self_approved


async def test_no_key_is_used_before_the_quorum(empty: EngineHarness) -> None:
    await empty.add_default_subjects(approvals=2)
    task = await empty.package()
    await empty.approve(task, OWNER)
    await empty.wait_until_durable()
    assert task.id not in empty.bus.places
    assert {each.status for each in empty.task(task.id).subtasks if each.kind is TaskKind.ENCRYPTION} == {S.CREATED}
