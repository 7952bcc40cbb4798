"""Approval decisions, withdrawals and cancellations."""

from __future__ import annotations

from collections.abc import Sequence

from sealyard.engine.access.otp import OtpService
from sealyard.engine.devices.certificates import add_task_warnings
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.reasons import validate_reason
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.contents import TaskContents
from sealyard.engine.tasks.query import TaskQueries
from sealyard.model.access import Action
from sealyard.model.approval import valid_approvers
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, IntegrityError, PermissionDeniedError
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Decision, DecisionOrigin, Task, TaskStatus, Verdict
from sealyard.model.triggers import Cancelled, DecisionMade, Withdrawn


class TaskDecisions:
    """Decides on, withdraws and cancels tasks.

    Permissions are checked here, when the decision is made, and again by the scheduler, when the key is used.
    """

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        queries: TaskQueries,
        scheduler: Scheduler,
        auto_transitions: AutoTransitions,
        contents: TaskContents,
        otp_service: OtpService,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._queries = queries
        self._scheduler = scheduler
        self._auto_transitions = auto_transitions
        self._contents = contents
        self._otp_service = otp_service

    async def decide(
        self,
        subject: str,
        task_id: str,
        verdict: Verdict,
        reason: str,
        digest: str | None,
        origin: DecisionOrigin = DecisionOrigin.MACHINE,
        one_time_password: str | None = None,
    ) -> Task:
        """Decide on a task, see :meth:`sealyard.client.protocol.TaskClient.decide`.

        The policy can require a one-time password for approvals; a rejection needs none.
        """
        task = self._queries.get(subject, task_id)
        self._permissions.require_device(subject, Action.APPROVE, task.config_id)
        reason = validate_reason(reason, required=verdict is Verdict.REJECTED)
        if digest is not None and digest != task.approval_digest:
            raise ConflictError("The task changed since you reviewed it.", "Review the task again, then decide.")
        stored_task = self._repository.task(task.id)
        now = self._repository.clock.now()
        requires_otp = verdict is Verdict.APPROVED and self._repository.policy().require_otp
        decision = Decision(
            by=subject,
            verdict=verdict,
            at=now,
            digest=stored_task.approval_digest,
            reason=reason,
            origin=origin,
            one_time_password=requires_otp,
        )
        if verdict is Verdict.APPROVED and (changed_names := self._contents.find_changed_names(stored_task)):
            raise changed_files_error(changed_names)
        unit_of_work = self._repository.begin()
        decided_task = unit_of_work.advance(task.id, DecisionMade(decision=decision))
        if requires_otp:
            _require_human(origin)
            await self._otp_service.verify_and_consume(unit_of_work, subject, one_time_password)
        unit_of_work.audit(
            subject,
            AuditAction(verdict.value),
            f"TASK:{task.id}",
            reason or f"{verdict.value.lower()} by {subject}",
            {
                "digest": decision.digest,
                "approvals": len(valid_approvers(decided_task, decided_task.approvals)),
                "required": decided_task.approvals_required,
                "origin": origin.value,
                "oneTimePassword": requires_otp,
            },
        )
        await unit_of_work.commit()
        if decided_task.status is TaskStatus.APPROVED:
            decided_task = await self._auto_transitions.advance_or_defer(task.id)
        return add_task_warnings(self._repository, decided_task)

    async def withdraw(self, subject: str, task_id: str, reason: str) -> Task:
        """Withdraw a task that no worker has started, on behalf of its requester. ``reason`` must not be empty."""
        task = self._queries.get(subject, task_id)
        self._require_requester(subject, task)
        reason = validate_reason(reason, required=True)
        unit_of_work = self._repository.begin()
        withdrawn_task = unit_of_work.advance(task.id, Withdrawn(by=subject, reason=reason))
        unit_of_work.audit(subject, AuditAction.WITHDRAWN, f"TASK:{task.id}", reason)
        await unit_of_work.commit()
        return withdrawn_task

    async def cancel(self, subject: str, task_id: str) -> Task:
        """Cancel a task on behalf of its requester or an approver.

        For a running task, waits until its worker has stopped. Raises :class:`InvalidTransitionError` if the task ends
        in another way before that.
        """
        task = self._queries.get(subject, task_id)
        if subject != task.created_by:
            self._permissions.require_device(subject, Action.APPROVE, task.config_id)
        if task.status is TaskStatus.RUNNING:
            return await self._scheduler.cancel(task.id, subject)
        unit_of_work = self._repository.begin()
        cancelled_task = unit_of_work.advance(task.id, Cancelled(by=subject))
        unit_of_work.audit(subject, AuditAction.CANCELLED, f"TASK:{task.id}", f"cancelled by {subject}")
        await unit_of_work.commit()
        return cancelled_task

    def _require_requester(self, subject: str, task: Task) -> None:
        if subject != task.created_by:
            raise PermissionDeniedError(
                f"Only {task.created_by} can withdraw this task.", "An approver can reject it with a reason."
            )


def _require_human(origin: DecisionOrigin) -> None:
    """Raise :class:`PermissionDeniedError` unless a person made the decision at a terminal."""
    if origin is not DecisionOrigin.TERMINAL:
        raise PermissionDeniedError(
            "Machine clients cannot approve when a one-time password is required.",
            "Approve as a user, at a terminal or in the application.",
        )


def changed_files_error(names: Sequence[str]) -> IntegrityError:
    """Return the error for approving a task whose files with the given names have changed on disk."""
    joined_names = ", ".join(escape_text(name, 100) for name in names)
    return IntegrityError(
        f"Cannot approve the task: changed on disk since the upload: {joined_names}.",
        "Reject the task, check which programs can write to the workspace, and upload the files again.",
    )
