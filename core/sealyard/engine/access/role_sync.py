"""Sign-in with a token of an identity provider (OpenID Connect), which maps its roles to group memberships."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import timedelta

from cachetools import TTLCache

from sealyard.engine.access.access_impact import AccessImpact
from sealyard.engine.access.account_links import AccountLinks, format_account
from sealyard.engine.access.administration import AccessAdministration
from sealyard.engine.access.tokens import invalid_token
from sealyard.engine.audit.service import AuditService
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import MEMBERSHIPS, SUBJECTS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import (
    OIDC_AUTHOR,
    Membership,
    Subject,
    SubjectKind,
    SubjectState,
    parse_subject,
    subject_kind,
)
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import PermissionDeniedError, UsageError
from sealyard.model.hints import Hint, HintCode

REPEAT_AFTER = timedelta(hours=1)
"""After a refused sign-in was audited, repetitions of it are not audited for this long."""

MAX_REMEMBERED_REFUSALS = 10_000


class RoleSync:
    """Updates group memberships to match the roles in tokens. Never changes memberships that administrators added."""

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        administration: AccessAdministration,
        impact: AccessImpact,
        audit: AuditService,
        account_links: AccountLinks,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._administration = administration
        self._impact = impact
        self._audit = audit
        self._account_links = account_links
        self._recent_refusals: TTLCache[Hashable, None] = TTLCache(
            MAX_REMEMBERED_REFUSALS, REPEAT_AFTER.total_seconds(), timer=repository.clock.monotonic
        )
        self._unchanged_sign_ins: dict[str, tuple[int, frozenset[str], IssuerAccount]] = {}
        """By subject: the access generation, groups and account of the last sign-in that changed nothing."""

    async def sign_in(self, subject: str, roles: Collection[str], account: IssuerAccount) -> None:
        """Make ``subject`` a member of the groups named in ``roles``, and end memberships from its earlier roles.

        Each role names a group; roles without a group of that name are ignored. An unknown subject is added if at
        least one of its roles is a group. All changes are durable on return; if nothing changes, nothing is written.
        If a device configuration loses its quorum by a change, a warning is set on its waiting tasks.

        The first sign-in links the subject to ``account``. Afterwards the subject cannot sign in with another account,
        and the account cannot sign in as another subject.

        Raises :class:`UsageError` if the subject is a group, :class:`PermissionDeniedError` if the account is linked
        to another subject, and :class:`AuthenticationError` if the subject is disabled or removed, if it is unknown and
        none of its roles is a group, or if it is linked to another account. The message of
        :class:`AuthenticationError` is that for an invalid token, so that it does not disclose which subjects exist.
        """
        subject = parse_subject(subject)
        if subject_kind(subject) is SubjectKind.GROUP:
            raise UsageError("Groups cannot log in.", "Log in as a member of the group.")
        role_groups = frozenset(f"{SubjectKind.GROUP}:{role}" for role in roles)
        access_generation = self._repository.access_generation
        if self._unchanged_sign_ins.get(subject) == (access_generation, role_groups, account):
            return
        await self._reject_inactive(subject, account)
        linked_account = self._account_links.account_of(subject)
        if linked_account != account:
            await self._require_unlinked(subject, linked_account, account)
        groups = {group for group in role_groups if self._permissions.contains(group)}
        if not groups and not self._permissions.contains(subject):
            await self._audit_once(subject, subject, _unknown_error(subject), (account,))
            raise invalid_token()
        if (unit_of_work := self._prepare_changes(subject, groups, account)) is not None:
            await unit_of_work.commit()
            return
        await self._repository.flush()
        self._unchanged_sign_ins[subject] = (access_generation, role_groups, account)

    async def _reject_inactive(self, subject: str, account: IssuerAccount) -> None:
        """Raise :class:`AuthenticationError` if the subject is disabled or removed."""
        record = self._repository.get(SUBJECTS, subject)
        if record is not None and not record.is_active:
            await self._audit_once(subject, subject, _inactive_error(record), (account, record.state))
            raise invalid_token()

    async def _require_unlinked(
        self, subject: str, linked_account: IssuerAccount | None, account: IssuerAccount
    ) -> None:
        """Raise an error if ``account`` is linked to another subject, or ``subject`` to ``linked_account``.

        Does not suspend if neither is linked, so that no concurrent sign-in can link one of them. Raises
        :class:`PermissionDeniedError` or :class:`AuthenticationError`, see :meth:`sign_in`.
        """
        if (linked_subject := self._account_links.subject_of(account)) is not None:
            error = _renamed_error(subject, linked_subject, account)
            await self._audit_once(linked_subject, linked_subject, error, (account, subject))
            raise error
        if linked_account is not None:
            await self._audit_once(
                OIDC_AUTHOR, subject, _taken_error(subject, linked_account, account), (account, subject)
            )
            raise invalid_token()

    async def _audit_once(
        self, author: str, subject: str, error: PermissionDeniedError, key: tuple[IssuerAccount | str, ...]
    ) -> None:
        """Audit a refused sign-in, unless one with the same ``key`` was audited within :data:`REPEAT_AFTER`.

        The audit message includes the hint of ``error``, which is meant for administrators who read the audit log.
        """
        if key in self._recent_refusals:
            return
        await self._audit.record_refusal(author, f"SUBJECT:{subject}", PermissionDeniedError(str(error)))
        self._recent_refusals[key] = None

    def _prepare_changes(self, subject: str, groups: set[str], account: IssuerAccount) -> UnitOfWork | None:
        """Return a unit of work with all changes of a sign-in, or None if it changes nothing."""
        memberships = tuple(self._repository.list_all(MEMBERSHIPS))
        current_groups = {membership.group for membership in memberships if membership.member == subject}
        ended_memberships = [
            membership
            for membership in memberships
            if membership.member == subject and membership.created_by == OIDC_AUTHOR and membership.group not in groups
        ]
        new_memberships = [self._build_membership(subject, group) for group in sorted(groups - current_groups)]
        is_new = self._repository.get(SUBJECTS, subject) is None
        is_unlinked = self._account_links.account_of(subject) is None
        if not (ended_memberships or new_memberships or is_new or is_unlinked):
            return None
        kept_memberships = [membership for membership in memberships if membership not in ended_memberships]
        record = self._administration.build_subject(OIDC_AUTHOR, subject, "")
        unit_of_work = self._impact.check(
            OIDC_AUTHOR,
            subjects=(*self._repository.list_all(SUBJECTS), *([record] if is_new else [])),
            memberships=(*kept_memberships, *new_memberships),
            confirmed=True,
        )
        if is_new:
            self._administration.create_subject(unit_of_work, record)
        if is_unlinked:
            self._account_links.link(unit_of_work, OIDC_AUTHOR, subject, account)
        for membership in new_memberships:
            unit_of_work.put(MEMBERSHIPS, membership.id, membership)
            _audit_membership(unit_of_work, AuditAction.CREATED, membership, f"{subject} added to {membership.group}")
        for membership in ended_memberships:
            unit_of_work.delete(MEMBERSHIPS, membership.id)
            _audit_membership(
                unit_of_work, AuditAction.DELETED, membership, f"{subject} removed from {membership.group}"
            )
        return unit_of_work

    def _build_membership(self, subject: str, group: str) -> Membership:
        now = self._repository.clock.now()
        return Membership(id=new_id(), member=subject, group=group, created_by=OIDC_AUTHOR, created_at=now)


def _unknown_error(subject: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{subject} is unknown in this workspace, and none of its roles is a group here.",
        f"Ask an administrator to add {subject}, or a group named like one of its roles.",
    )


def _inactive_error(record: Subject) -> PermissionDeniedError:
    state = "is disabled" if record.state is SubjectState.DISABLED else "was removed"
    return PermissionDeniedError(f"{record.id} {state}.", Hint.of(HintCode.ENABLE_SUBJECT, subject=record.id))


def _renamed_error(subject: str, linked_subject: str, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"The account of {linked_subject} now has the name {subject} ({format_account(account)}); an account cannot"
        " have two subjects.",
        Hint.of(HintCode.UNLINK_ACCOUNT, subject=linked_subject),
    )


def _taken_error(subject: str, linked_account: IssuerAccount, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"Account {format_account(account)} has the name {subject},"
        f" which is linked to {format_account(linked_account)}.",
        Hint.of(HintCode.UNLINK_ACCOUNT, subject=subject),
    )


def _audit_membership(unit_of_work: UnitOfWork, change: AuditAction, membership: Membership, message: str) -> None:
    unit_of_work.audit(OIDC_AUTHOR, change, f"ACL:{membership.id}", message)
    unit_of_work.notify(f"ACL:{membership.id}")
