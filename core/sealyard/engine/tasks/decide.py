"""The approval queue: what an approver sees, decisions, withdrawals and cancellations."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from sealyard.engine.access.otp import OtpService
from sealyard.engine.execution.scheduler import Scheduler
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import TASKS
from sealyard.engine.tasks.auto_transitions import AutoTransitions
from sealyard.engine.tasks.deadline_queue import expired_deadline
from sealyard.engine.tasks.query import TaskQueries
from sealyard.fs.hashing import file_sha256
from sealyard.model.access import Action
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError, IntegrityError, PermissionDeniedError, UsageError
from sealyard.model.requests import ApprovalReview
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import Decision, DecisionOrigin, InputFile, Task, TaskKind, TaskStatus, Verdict
from sealyard.model.triggers import Cancelled, DecisionMade, Withdrawn
from sealyard.storage.artifacts import ArtifactStore

MAX_REASON_LENGTH = 2000
PREVIEW_BYTES = 65536
"""Of each metadata file: all that se-1 takes."""


class ReviewedContents(NamedTuple):
    """Name and beginning of each metadata file, and the names of the files that were changed on disk."""

    previews: tuple[tuple[str, bytes], ...]
    changed: tuple[str, ...]


class TaskDecisions:
    """Rights are judged here, when the decision is made, and by the scheduler again when the key is used."""

    def __init__(
        self,
        ledger: Repository,
        rights: Permissions,
        views: TaskQueries,
        scheduler: Scheduler,
        onward: AutoTransitions,
        artifacts: ArtifactStore,
        one_time_passwords: OtpService,
    ) -> None:
        self._ledger = ledger
        self._rights = rights
        self._views = views
        self._scheduler = scheduler
        self._onward = onward
        self._artifacts = artifacts
        self._one_time_passwords = one_time_passwords

    def review(self, subject: str, task_id: str) -> ApprovalReview:
        """All an approver must see before a decision."""
        task = self._views.get(subject, task_id)
        newest = self._ledger.device(task.config_id)
        contents = self._contents(task)
        hindrance = self._views.blocked_reason(subject, task)
        if not hindrance and (changed := contents.changed):
            hindrance = str(_changed(changed))
        return ApprovalReview(
            task=task,
            configuration=self._ledger.device(task.config_id, task.config_version),
            blocked_reason=hindrance,
            metadata=contents.previews,
            previous=self._previous_package(task),
            newer_version=newest.version if newest.version > task.config_version else None,
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
        """See :meth:`sealyard.client.protocol.TaskClient.decide`. A rejection wants no one-time password."""
        task = self._views.get(subject, task_id)
        self._rights.require_device(subject, Action.APPROVE, task.config_id)
        reason = _checked_reason(reason, needed=verdict is Verdict.REJECTED)
        if digest is not None and digest != task.approval_digest:
            raise ConflictError("The task is not what was looked at.", "Look at it again, then decide.")
        stored = self._ledger.task(task.id)
        now = self._ledger.clock.now()
        if expired_deadline(stored, now) is not None:
            raise ConflictError("The approval period is over.", "Ask again with a new task.")
        checked = verdict is Verdict.APPROVED and self._ledger.policy().require_otp
        decision = Decision(
            by=subject,
            verdict=verdict,
            at=now,
            digest=stored.approval_digest,
            reason=reason,
            origin=origin,
            one_time_password=checked,
        )
        if verdict is Verdict.APPROVED and (changed := self._contents(stored).changed):
            raise _changed(changed)
        draft = self._ledger.begin()
        decided = draft.advance(task.id, DecisionMade(decision=decision))
        if checked:
            _require_human(origin)
            await self._one_time_passwords.verify_and_consume(draft, subject, one_time_password)
        draft.audit(
            subject,
            AuditAction(verdict.value),
            f"TASK:{task.id}",
            reason or f"{verdict.value.lower()} by {subject}",
            {
                "digest": decision.digest,
                "approvals": len(decided.approvals),
                "required": decided.approvals_required,
                "origin": origin.value,
                "oneTimePassword": checked,
            },
        )
        await draft.commit()
        if decided.status is TaskStatus.APPROVED:
            return await self._onward.advance_or_defer(task.id)
        return decided

    async def withdraw(self, subject: str, task_id: str, reason: str) -> Task:
        """By the requester, before a worker has the task."""
        task = self._views.get(subject, task_id)
        self._require_requester(subject, task)
        reason = _checked_reason(reason, needed=True)
        draft = self._ledger.begin()
        withdrawn = draft.advance(task.id, Withdrawn(by=subject, reason=reason))
        draft.audit(subject, AuditAction.WITHDRAWN, f"TASK:{task.id}", reason)
        await draft.commit()
        return withdrawn

    async def cancel(self, subject: str, task_id: str) -> Task:
        """Cancel a task for its requester or an approver.

        A running task is cancelled when its worker has stopped. Raises :class:`InvalidTransitionError` if the task
        ended in another way before that.
        """
        task = self._views.get(subject, task_id)
        if subject != task.created_by:
            self._rights.require_device(subject, Action.APPROVE, task.config_id)
        if task.status is TaskStatus.RUNNING:
            return await self._scheduler.cancel(task.id, subject)
        draft = self._ledger.begin()
        cancelled = draft.advance(task.id, Cancelled(by=subject))
        draft.audit(subject, AuditAction.CANCELLED, f"TASK:{task.id}", f"cancelled by {subject}")
        await draft.commit()
        return cancelled

    def _require_requester(self, subject: str, task: Task) -> None:
        if subject != task.created_by:
            raise PermissionDeniedError(
                f"Only {task.created_by} can withdraw this task.", "An approver can reject it with a reason."
            )

    def _contents(self, task: Task) -> ReviewedContents:
        """Read what an approver is shown, and name the files whose contents are not those that were requested."""
        previews: list[tuple[str, bytes]] = []
        changed: list[str] = []
        for file in task.metadata:
            preview = b"" if task.status.is_final else self._preview(file)
            if preview is None:
                changed.append(file.name)
            previews.append((file.name, preview or b""))
        changed += [file.name for file in task.inputs if file.inline is not None and not _is_inline_intact(file)]
        return ReviewedContents(tuple(previews), tuple(changed))

    def _preview(self, file: InputFile) -> bytes | None:
        """The beginning of a metadata file; None if the stored file is not the one that was uploaded."""
        try:
            with self._artifacts.open_input(file.sha256) as content:
                preview = content.read(PREVIEW_BYTES)
                content.seek(0)
                return preview if file_sha256(content) == file.sha256 else None
        except IntegrityError:
            return None

    def _previous_package(self, task: Task) -> Task | None:
        if task.kind is not TaskKind.PACKAGING:
            return None
        after = None
        while True:
            page = self._ledger.store.page(
                TASKS.name,
                filters={"configId": task.config_id, "status": TaskStatus.DONE, "kind": TaskKind.PACKAGING},
                after=after,
                limit=10,
            )
            for _, document in page.documents:
                earlier = msgspec.convert(document, Task)
                if earlier.id != task.id and earlier.created_at <= task.created_at:
                    return earlier
            if page.next is None:
                return None
            after = page.next


def _require_human(origin: DecisionOrigin) -> None:
    if origin is not DecisionOrigin.TERMINAL:
        raise PermissionDeniedError(
            "A machine client cannot approve where a one-time password is wanted.",
            "A person approves at a terminal (sealyard approve), or in the application.",
        )


def _checked_reason(reason: str, *, needed: bool) -> str:
    reason = reason.strip()
    if needed and not reason:
        raise UsageError("A reason is needed.", "Say why in a few words (--reason).")
    if len(reason) > MAX_REASON_LENGTH:
        raise UsageError(f"A reason has at most {MAX_REASON_LENGTH} characters.", "Say it shorter.")
    return reason


def _is_inline_intact(file: InputFile) -> bool:
    assert file.inline is not None
    try:
        content = base64.b64decode(file.inline, validate=True)
    except binascii.Error:
        return False
    return len(content) == file.size and hashlib.sha256(content).hexdigest() == file.sha256


def _changed(names: Sequence[str]) -> IntegrityError:
    listed = ", ".join(escape_text(name, 100) for name in names)
    return IntegrityError(
        f"Changed on disk since the upload: {listed}. It cannot be approved.",
        "Reject the task, check which programs can write to the workspace, and upload the files again.",
    )
