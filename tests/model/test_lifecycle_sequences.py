"""Stateful test of the task lifecycle: the invariants hold for triggers in any order."""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sealyard.model.approval import valid_approvers
from sealyard.model.errors import ConflictError, PermissionDeniedError
from sealyard.model.lifecycle import MAX_LEASE_LOSSES, advance
from sealyard.model.task_invariants import check_change
from sealyard.model.tasks import Result, ResultState, Task, TaskStatus
from sealyard.model.triggers import (
    ApprovalTimedOut,
    ApproversChanged,
    AttemptInterrupted,
    CancellationConfirmed,
    Cancelled,
    Completed,
    DecisionMade,
    EngineRestarted,
    ExecutionTimedOut,
    Failed,
    IntentRecorded,
    LeaseExpired,
    ObjectStoreLost,
    PermissionRevoked,
    SegmentRecorded,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
    WorkspaceRecovered,
)
from tests.support.extent import scale_examples
from tests.support.factories.tasks import LATER, NOW, SCHEDULED, SUBMITTED, approval, lease, package, rejection

S = TaskStatus
NEXT = {
    S.CREATED: {S.WAITING, S.SCHEDULED, S.CANCELLED},
    S.WAITING: {S.APPROVED, S.CANCELLED},
    S.APPROVED: {S.SCHEDULED, S.CANCELLED},
    S.SCHEDULED: {S.RUNNING, S.CANCELLED, S.FAILED},
    S.RUNNING: {S.DONE, S.FAILED, S.CANCELLED, S.SCHEDULED},
    S.DONE: set(),
    S.FAILED: set(),
    S.CANCELLED: set(),
}
"""The transition table of design section 2."""

SUBJECTS = ["USER:dev", "USER:one", "USER:two", "USER:three", "CLIENT:ci", "GROUP:owners"]
BYTES = ["cc" * 32, "dd" * 32]

subjects = st.sampled_from(SUBJECTS)
token_age = st.integers(0, 1)


class TaskLifecycle(RuleBasedStateMachine):
    """One task that receives triggers in any order."""

    task: Task

    @initialize(
        approvals=st.integers(0, 3),
        self_approved=st.booleans(),
        by=st.sampled_from(["USER:dev", "CLIENT:ci"]),
        files=st.integers(1, 3),
    )
    def create(self, approvals: int, self_approved: bool, by: str, files: int) -> None:
        self.task = package(approvals=approvals, self_approved=self_approved, by=by, files=files)
        self.now = NOW
        self.signed: set[str] = set()

    def apply(self, trigger: Trigger) -> None:
        before = self.task
        self.now += timedelta(seconds=1)
        try:
            self.task = advance(before, trigger, self.now)
        except (ConflictError, PermissionDeniedError):
            assert self.task is before
            return
        check_change(before, self.task)
        assert not before.status.is_final
        assert self.task.status is before.status or self.task.status in NEXT[before.status]
        assert self.task.history[: len(before.history)] == before.history
        assert self.task.fencing_token in (before.fencing_token, before.fencing_token + 1)

    @rule()
    def submit(self) -> None:
        self.apply(SUBMITTED)

    @rule(by=subjects)
    def approve(self, by: str) -> None:
        self.apply(approval(self.task, by))

    @rule(by=subjects)
    def reject(self, by: str) -> None:
        self.apply(rejection(self.task, by))

    @rule(by=subjects)
    def approve_other_contents(self, by: str) -> None:
        other = approval(self.task, by).decision
        self.apply(DecisionMade(decision=type(other)(by=by, verdict=other.verdict, at=NOW, digest="00")))

    @rule(by=subjects)
    def revoke_approvals(self, by: str) -> None:
        positions = [index for index, each in enumerate(self.task.approvals) if each.by == by]
        counted = tuple(index for index in positions if self.task.revocation_of(index) is None)
        self.apply(ApproversChanged(revoked=counted, reason="left"))
        if self.task.status is S.WAITING:
            assert by not in valid_approvers(self.task, self.task.approvals)

    @rule()
    def schedule(self) -> None:
        self.apply(SCHEDULED)

    @rule()
    def start(self) -> None:
        self.apply(lease(self.task))

    @rule(index=st.integers(0, 4), age=token_age)
    def record_segment(self, index: int, age: int) -> None:
        self.apply(SegmentRecorded(fencing_token=self.task.fencing_token - age, index=index))

    @rule(sha256=st.sampled_from(BYTES), age=token_age)
    def record_intent(self, sha256: str, age: int) -> None:
        self.apply(IntentRecorded(fencing_token=self.task.fencing_token - age, sha256=sha256))

    @rule(age=token_age)
    def expire_lease(self, age: int) -> None:
        self.apply(LeaseExpired(fencing_token=self.task.fencing_token - age))

    @rule(age=token_age)
    def interrupt(self, age: int) -> None:
        self.apply(AttemptInterrupted(fencing_token=self.task.fencing_token - age))

    @rule(age=token_age)
    def lose_object_store(self, age: int) -> None:
        self.apply(ObjectStoreLost(fencing_token=self.task.fencing_token - age, reason="no answer"))

    @rule()
    def restart(self) -> None:
        self.apply(EngineRestarted(time_limit_at=LATER))

    @rule(age=token_age)
    def complete(self, age: int) -> None:
        self.apply(Completed(fencing_token=self.task.fencing_token - age, result=Result(state=ResultState.AVAILABLE)))

    @rule(age=token_age)
    def fail(self, age: int) -> None:
        self.apply(Failed(fencing_token=self.task.fencing_token - age, reason="no", code="worker"))

    @rule(
        trigger=st.sampled_from(
            [
                Withdrawn(by="USER:dev", reason="mistake"),
                Cancelled(by="USER:dev"),
                CancellationConfirmed(by="USER:dev"),
                ApprovalTimedOut(),
                ExecutionTimedOut(),
                PermissionRevoked(reason="revoked"),
                TimeLimitExceeded(),
                WorkspaceRecovered(),
            ]
        )
    )
    def end(self, trigger: Trigger) -> None:
        self.apply(trigger)

    @invariant()
    def execution_requires_quorum_without_requester(self) -> None:
        approvers = valid_approvers(self.task, self.task.approvals)
        assert all(each.startswith("USER:") for each in approvers)
        assert self.task.self_approved or self.task.created_by not in approvers
        if {S.APPROVED, S.SCHEDULED, S.RUNNING} & {each.status for each in self.task.history}:
            assert len(approvers) >= self.task.approvals_required

    @invariant()
    def users_decide_once(self) -> None:
        decisions = enumerate(self.task.approvals)
        deciders = [each.by for index, each in decisions if self.task.revocation_of(index) is None]
        assert len(deciders) == len(set(deciders))

    @invariant()
    def only_one_digest_is_signed(self) -> None:
        if self.task.intent is not None:
            self.signed.add(self.task.intent.sha256)
        assert len(self.signed) <= 1

    @invariant()
    def subtasks_follow_the_task(self) -> None:
        is_scheduled = {S.SCHEDULED, S.RUNNING} & {each.status for each in self.task.history}
        for each in self.task.subtasks:
            if self.task.status.is_final:
                assert each.status in (S.DONE, self.task.status)
            elif not is_scheduled:
                assert each.status in (S.CREATED, S.WAITING)
            else:
                assert each.status in (S.SCHEDULED, S.RUNNING, S.DONE)
        if self.task.status is S.DONE:
            assert {each.status for each in self.task.subtasks} == {S.DONE}
        elif self.task.subtasks:
            assert self.task.subtasks[-1].status is not S.DONE

    @invariant()
    def final_status_has_a_reason(self) -> None:
        if self.task.status in (S.FAILED, S.CANCELLED):
            assert self.task.reason
            assert self.task.reason_code
        assert self.task.lease_losses <= MAX_LEASE_LOSSES
        assert self.task.status is self.task.history[-1].status


TaskLifecycle.TestCase.settings = settings(max_examples=scale_examples(150), stateful_step_count=40, deadline=None)
TestTaskLifecycle = TaskLifecycle.TestCase
