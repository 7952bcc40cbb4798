"""Use cases for people, groups and machine clients who leave: disable, enable and remove them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import msgspec

from sealyard.engine.access.access_impact import AccessImpact, Impact, format_lost_quorums
from sealyard.engine.access.otp import OtpService
from sealyard.engine.access.tokens import AccessTokens
from sealyard.engine.notifications.registry import NotificationRegistry
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.reasons import validate_reason
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.subjects import require_known
from sealyard.engine.state.tables import MEMBERSHIPS, RULES, SUBJECTS, TASKS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import (
    AclRule,
    Action,
    Membership,
    ResourceType,
    Subject,
    SubjectState,
    parse_subject,
)
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    ConfirmationRequiredError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from sealyard.model.formatting import format_count
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import TaskStatus

_VERBS = {SubjectState.ACTIVE: "enable", SubjectState.DISABLED: "disable", SubjectState.REMOVED: "remove"}

Document = TypeVar("Document", AclRule, Membership)


class _OwnedDocuments(NamedTuple):
    """The rules and memberships that end when a subject is removed."""

    rules: tuple[AclRule, ...]
    memberships: tuple[Membership, ...]


class SubjectStates:
    """Disables, enables and removes subjects. Requires permission to add subjects.

    A subject that is not active is refused everywhere: its tokens and sign-ins are rejected, its event streams end, and
    a group grants nothing to its members. A removal also deletes the rules, memberships, tokens, one-time password and
    notification targets of the subject. Its link to an account of an identity provider is kept, so that neither that
    account nor another person with the same name can sign in.
    """

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        impact: AccessImpact,
        tokens: AccessTokens,
        otp: OtpService,
        notifications: NotificationRegistry,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._impact = impact
        self._tokens = tokens
        self._otp = otp
        self._notifications = notifications

    async def change(
        self, author: str, subject: str, state: SubjectState, reason: str, *, confirmed: bool = False
    ) -> Subject:
        """Change the state of a subject, see :meth:`sealyard.client.protocol.AdministrationClient.set_subject_state`.

        The effects on tasks are those of :class:`AccessImpact`; all of them are committed together.
        """
        self._permissions.require_type(author, Action.CREATE, ResourceType.SUBJECT)
        subject = parse_subject(subject)
        record = self._require_changeable(author, subject, state)
        changed_record = msgspec.structs.replace(
            record,
            state=state,
            state_changed_by=author,
            state_changed_at=self._repository.clock.now(),
        )
        ended = self._find_owned(subject) if state is SubjectState.REMOVED else _OwnedDocuments((), ())
        impact = self._impact.assess(
            subjects=[changed_record if each.id == subject else each for each in self._repository.list_all(SUBJECTS)],
            memberships=_without(self._repository.list_all(MEMBERSHIPS), ended.memberships),
            rules=_without(self._repository.list_all(RULES), ended.rules),
        )
        if not confirmed:
            self._require_no_consequences(changed_record, ended, impact)
        reason = validate_reason(reason, required=state is not SubjectState.ACTIVE)
        changed_record = msgspec.structs.replace(changed_record, state_reason=reason)
        unit_of_work = self._impact.begin(author, impact)
        unit_of_work.put(SUBJECTS, subject, changed_record)
        self._audit_state(unit_of_work, changed_record)
        if state is SubjectState.REMOVED:
            self._delete_owned(unit_of_work, author, subject, ended)
        await unit_of_work.commit()
        return changed_record

    def _require_changeable(self, author: str, subject: str, state: SubjectState) -> Subject:
        """Return the subject. Raises an error if its state cannot be changed to ``state`` by ``author``."""
        if subject == author:
            raise PermissionDeniedError(f"You cannot {_VERBS[state]} yourself.", "Ask another administrator.")
        if state is SubjectState.ACTIVE:
            record = self._repository.get(SUBJECTS, subject)
            if record is None:
                raise NotFoundError(f"Subject {subject} not found.", Hint.of(HintCode.ADD_SUBJECT, subject=subject))
        else:
            record = require_known(self._repository, subject)
        if record.state is state:
            raise ConflictError(f"{subject} is already {_VERBS[state]}d.")
        return record

    def _find_owned(self, subject: str) -> _OwnedDocuments:
        rules = (rule for rule in self._repository.list_all(RULES) if rule.subject == subject)
        memberships = (
            membership
            for membership in self._repository.list_all(MEMBERSHIPS)
            if subject in (membership.member, membership.group)
        )
        return _OwnedDocuments(tuple(rules), tuple(memberships))

    def _require_no_consequences(self, record: Subject, ended: _OwnedDocuments, impact: Impact) -> None:
        """Raise :class:`ConfirmationRequiredError` if the change has effects that enabling cannot undo."""
        consequences = []
        if record.state is SubjectState.REMOVED:
            consequences.append(f"This removes {record.id}, and deletes {self._describe_deletion(record.id, ended)}.")
            if open_count := self._count_open_tasks(record.id):
                tasks = format_count(open_count, "requested task")
                consequences.append(f"{tasks} would be cancelled instead of executed.")
        if impact.revoked_count:
            approvals = format_count(impact.revoked_count, "approval")
            consequences.append(f"{approvals} of waiting tasks would no longer count.")
        if impact.lost_quorums:
            consequences.append(format_lost_quorums(impact))
        if consequences:
            raise ConfirmationRequiredError(" ".join(consequences), Hint.of(HintCode.CONFIRM))

    def _count_open_tasks(self, requester: str) -> int:
        """Return the number of tasks that the subject requested and that have not ended."""
        open_statuses = (status for status in TaskStatus if not status.is_final)
        store = self._repository.store
        return sum(store.count(TASKS.name, {"status": status, "createdBy": requester}) for status in open_statuses)

    def _describe_deletion(self, subject: str, ended: _OwnedDocuments) -> str:
        otp_count = int(self._otp.is_enrolled(subject))
        counts = (
            (len(ended.rules), "rule"),
            (len(ended.memberships), "group membership"),
            (len(self._tokens.tokens_of(subject)), "access token"),
            (otp_count, "one-time password enrollment"),
        )
        parts = [format_count(count, noun) for count, noun in counts if count]
        return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts) or "no rules"

    def _audit_state(self, unit_of_work: UnitOfWork, record: Subject) -> None:
        is_removal = record.state is SubjectState.REMOVED
        message = f"{record.id} {_VERBS[record.state]}d" + (f": {record.state_reason}" if record.state_reason else "")
        unit_of_work.audit(
            record.state_changed_by,
            AuditAction.DELETED if is_removal else AuditAction.UPDATED,
            f"SUBJECT:{record.id}",
            message,
            msgspec.to_builtins(record),
        )
        unit_of_work.notify(f"SUBJECT:{record.id}")

    def _delete_owned(self, unit_of_work: UnitOfWork, author: str, subject: str, ended: _OwnedDocuments) -> None:
        for rule in ended.rules:
            unit_of_work.delete(RULES, rule.id)
            message = f"{rule.action} on {rule.resource} revoked from {rule.subject}"
            unit_of_work.audit(author, AuditAction.DELETED, f"ACL:{rule.id}", message, msgspec.to_builtins(rule))
            unit_of_work.notify(f"ACL:{rule.id}")
        for membership in ended.memberships:
            unit_of_work.delete(MEMBERSHIPS, membership.id)
            message = f"{membership.member} removed from {membership.group}"
            unit_of_work.audit(author, AuditAction.DELETED, f"ACL:{membership.id}", message)
            unit_of_work.notify(f"ACL:{membership.id}")
        self._tokens.delete_all(unit_of_work, author, subject)
        self._otp.delete(unit_of_work, author, subject)
        self._notifications.delete_all(unit_of_work, author, subject)


def _without(documents: Iterable[Document], ended: tuple[Document, ...]) -> tuple[Document, ...]:
    ended_ids = {document.id for document in ended}
    return tuple(document for document in documents if document.id not in ended_ids)
