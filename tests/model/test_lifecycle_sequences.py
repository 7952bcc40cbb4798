"""Whatever happens, in whatever order: no task leaves the table, signs two things or counts its requester."""

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
    CancellationConfirmed,
    Cancelled,
    Completed,
    DecisionMade,
    EngineRestarted,
    ExecutionTimedOut,
    Failed,
    IntentRecorded,
    LeaseExpired,
    PermissionRevoked,
    SegmentRecorded,
    TimeLimitExceeded,
    Trigger,
    Withdrawn,
)
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
"""The table of design section 2."""

PEOPLE = ["USER:dev", "USER:one", "USER:two", "USER:three", "CLIENT:ci", "GROUP:owners"]
BYTES = ["cc" * 32, "dd" * 32]

people = st.sampled_from(PEOPLE)
stale = st.integers(0, 1)


class Life(RuleBasedStateMachine):
    """One task, to which anything may happen at any time."""

    task: Task

    @initialize(
        approvals=st.integers(0, 3),
        trial=st.booleans(),
        by=st.sampled_from(["USER:dev", "CLIENT:ci"]),
        files=st.integers(1, 3),
    )
    def make(self, approvals: int, trial: bool, by: str, files: int) -> None:
        self.task = package(approvals=approvals, trial=trial, by=by, files=files)
        self.now = NOW
        self.signed: set[str] = set()

    def happens(self, happening: Trigger) -> None:
        before = self.task
        self.now += timedelta(seconds=1)
        try:
            self.task = advance(before, happening, self.now)
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
        self.happens(SUBMITTED)

    @rule(by=people)
    def approve(self, by: str) -> None:
        self.happens(approval(self.task, by))

    @rule(by=people)
    def reject(self, by: str) -> None:
        self.happens(rejection(self.task, by))

    @rule(by=people)
    def approve_something_else(self, by: str) -> None:
        other = approval(self.task, by).decision
        self.happens(DecisionMade(decision=type(other)(by=by, verdict=other.verdict, at=NOW, digest="00")))

    @rule()
    def schedule(self) -> None:
        self.happens(SCHEDULED)

    @rule()
    def take(self) -> None:
        self.happens(lease(self.task))

    @rule(index=st.integers(0, 4), late=stale)
    def seal(self, index: int, late: int) -> None:
        self.happens(SegmentRecorded(fencing_token=self.task.fencing_token - late, index=index))

    @rule(sha256=st.sampled_from(BYTES), late=stale)
    def intend(self, sha256: str, late: int) -> None:
        self.happens(IntentRecorded(fencing_token=self.task.fencing_token - late, sha256=sha256))

    @rule(late=stale)
    def lose(self, late: int) -> None:
        self.happens(LeaseExpired(fencing_token=self.task.fencing_token - late))

    @rule()
    def restart(self) -> None:
        self.happens(EngineRestarted(time_limit_at=LATER))

    @rule(late=stale)
    def complete(self, late: int) -> None:
        self.happens(
            Completed(fencing_token=self.task.fencing_token - late, result=Result(state=ResultState.AVAILABLE))
        )

    @rule(late=stale)
    def fail(self, late: int) -> None:
        self.happens(Failed(fencing_token=self.task.fencing_token - late, reason="no", code="worker"))

    @rule(
        happening=st.sampled_from(
            [
                Withdrawn(by="USER:dev", reason="mistake"),
                Cancelled(by="USER:dev"),
                CancellationConfirmed(by="USER:dev"),
                ApprovalTimedOut(),
                ExecutionTimedOut(),
                PermissionRevoked(reason="gone"),
                TimeLimitExceeded(),
            ]
        )
    )
    def end(self, happening: Trigger) -> None:
        self.happens(happening)

    @invariant()
    def work_begins_with_a_quorum_that_leaves_the_requester_out(self) -> None:
        counting = valid_approvers(self.task, self.task.approvals)
        assert all(each.startswith("USER:") for each in counting)
        assert self.task.self_approved or self.task.created_by not in counting
        if {S.APPROVED, S.SCHEDULED, S.RUNNING} & {each.status for each in self.task.history}:
            assert len(counting) >= self.task.approvals_required

    @invariant()
    def each_person_decided_once(self) -> None:
        deciders = [each.by for each in self.task.approvals]
        assert len(deciders) == len(set(deciders))

    @invariant()
    def one_thing_is_signed(self) -> None:
        if self.task.intent is not None:
            self.signed.add(self.task.intent.sha256)
        assert len(self.signed) <= 1

    @invariant()
    def sub_tasks_follow(self) -> None:
        begun = {S.SCHEDULED, S.RUNNING} & {each.status for each in self.task.history}
        for each in self.task.subtasks:
            if self.task.status.is_final:
                assert each.status in (S.DONE, self.task.status)
            elif not begun:
                assert each.status in (S.CREATED, S.WAITING)
            else:
                assert each.status in (S.SCHEDULED, S.RUNNING, S.DONE)
        if self.task.status is S.DONE:
            assert {each.status for each in self.task.subtasks} == {S.DONE}
        elif self.task.subtasks:
            assert self.task.subtasks[-1].status is not S.DONE

    @invariant()
    def an_ended_task_says_why(self) -> None:
        if self.task.status in (S.FAILED, S.CANCELLED):
            assert self.task.reason
            assert self.task.reason_code
        assert self.task.lease_losses <= MAX_LEASE_LOSSES
        assert self.task.status is self.task.history[-1].status


Life.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestLife = Life.TestCase
