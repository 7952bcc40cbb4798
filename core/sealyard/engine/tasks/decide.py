"""Review data for approvers, approval decisions, withdrawals and cancellations."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from sealyard.engine.access.otp import OtpService
from sealyard.engine.devices.certificates import add_task_warnings
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.query import TaskQueries
from sealyard.fs.hashing import file_sha256
from sealyard.model.access import Action
from sealyard.model.approval import valid_approvers
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, IntegrityError, PermissionDeniedError, UsageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Decision, DecisionOrigin, InputFile, Task, TaskKind, TaskStatus, Verdict
from sealyard.model.triggers import Cancelled, DecisionMade, Withdrawn
from sealyard.storage.artifacts import ArtifactStore

MAX_REASON_LENGTH = 2000
PREVIEW_BYTES = 65536
"""Number of bytes of each metadata file that approvers see; also the maximum size of one in an se-1 container."""


class ReviewedContents(NamedTuple):
    """The name and first bytes of each metadata file, and the names of files that have changed since their upload."""

    previews: tuple[tuple[str, bytes], ...]
    changed_names: tuple[str, ...]


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
        artifacts: ArtifactStore,
        otp_service: OtpService,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._queries = queries
        self._scheduler = scheduler
        self._auto_transitions = auto_transitions
        self._artifacts = artifacts
        self._otp_service = otp_service

    def review(self, subject: str, task_id: str) -> ApprovalReview:
        """Return everything that an approver must see before deciding on the task."""
        task = self._queries.get(subject, task_id)
        newest_config = self._repository.device(task.config_id)
        contents = self._read_contents(task)
        blocked_reason = self._queries.blocked_reason(subject, task)
        if not blocked_reason and (changed_names := contents.changed_names):
            blocked_reason = str(_changed_files_error(changed_names))
        return ApprovalReview(
            task=task,
            configuration=self._repository.device(task.config_id, task.config_version),
            blocked_reason=blocked_reason,
            metadata=contents.previews,
            previous=self._find_previous_package(task),
            newer_version=newest_config.version if newest_config.version > task.config_version else None,
            resubmission_of=self._queries.get_resubmitted(subject, task),
        )

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
        reason = _validate_reason(reason, required=verdict is Verdict.REJECTED)
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
        if verdict is Verdict.APPROVED and (changed_names := self._read_contents(stored_task).changed_names):
            raise _changed_files_error(changed_names)
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
        reason = _validate_reason(reason, required=True)
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

    def _read_contents(self, task: Task) -> ReviewedContents:
        """Read the beginning of each metadata file, and find the files that have changed since their upload."""
        previews: list[tuple[str, bytes]] = []
        changed_names: list[str] = []
        for file in task.metadata:
            preview = b"" if task.status.is_final else self._read_preview(file)
            if preview is None:
                changed_names.append(file.name)
            previews.append((file.name, preview or b""))
        changed_names += [file.name for file in task.inputs if file.inline is not None and not _is_inline_intact(file)]
        return ReviewedContents(tuple(previews), tuple(changed_names))

    def _read_preview(self, file: InputFile) -> bytes | None:
        """Return the first bytes of a metadata file, or None if the stored file is not the one that was uploaded."""
        try:
            with self._artifacts.open_input(file.sha256) as content:
                preview = content.read(PREVIEW_BYTES)
                content.seek(0)
                return preview if file_sha256(content) == file.sha256 else None
        except IntegrityError:
            return None

    def _find_previous_package(self, task: Task) -> Task | None:
        """Return the newest finished packaging task for the same configuration that is older than ``task``."""
        if task.kind is not TaskKind.PACKAGING:
            return None
        finished_packages = self._repository.tasks(
            {"configId": task.config_id, "status": TaskStatus.DONE, "kind": TaskKind.PACKAGING}
        )
        return next(
            (other for other in finished_packages if other.id != task.id and other.created_at <= task.created_at), None
        )


def _require_human(origin: DecisionOrigin) -> None:
    """Raise :class:`PermissionDeniedError` unless a person made the decision at a terminal."""
    if origin is not DecisionOrigin.TERMINAL:
        raise PermissionDeniedError(
            "Machine clients cannot approve when a one-time password is required.",
            "Approve as a user, at a terminal or in the application.",
        )


def _validate_reason(reason: str, *, required: bool) -> str:
    """Return ``reason`` without surrounding space. Raises :class:`UsageError` if it is missing or too long."""
    reason = reason.strip()
    if required and not reason:
        raise UsageError("A reason is required.", Hint.of(HintCode.GIVE_REASON))
    if len(reason) > MAX_REASON_LENGTH:
        raise UsageError(f"A reason can have at most {MAX_REASON_LENGTH} characters.", "Shorten the reason.")
    return reason


def _is_inline_intact(file: InputFile) -> bool:
    """Return whether the file's inline content has the recorded size and SHA-256."""
    assert file.inline is not None
    try:
        content = base64.b64decode(file.inline, validate=True)
    except binascii.Error:
        return False
    return len(content) == file.size and hashlib.sha256(content).hexdigest() == file.sha256


def _changed_files_error(names: Sequence[str]) -> IntegrityError:
    joined_names = ", ".join(escape_text(name, 100) for name in names)
    return IntegrityError(
        f"Cannot approve the task: changed on disk since the upload: {joined_names}.",
        "Reject the task, check which programs can write to the workspace, and upload the files again.",
    )
