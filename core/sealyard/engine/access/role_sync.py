"""Sign-in with a token of an identity provider (OpenID Connect), which maps its roles to group memberships."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from datetime import timedelta

from cachetools import TTLCache

from sealyard.engine.access.account_links import AccountLinks, format_account
from sealyard.engine.access.administration import AccessAdministration
from sealyard.engine.access.tokens import invalid_token
from sealyard.engine.audit.service import AuditService
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import MEMBERSHIPS, SUBJECTS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import Membership, SubjectKind, parse_subject, subject_kind
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import PermissionDeniedError, UsageError

REPEAT_AFTER = timedelta(hours=1)
"""How long repetitions of a refusal are not audited."""

MAX_REMEMBERED = 10_000

OIDC_AUTHOR = "SYSTEM:oidc"
"""The author of changes made on account of the roles in a token."""


class RoleSync:
    """Keeps memberships in step with the roles in tokens. Never changes a membership that an administrator added."""

    def __init__(
        self,
        repository: Repository,
        permissions: Permissions,
        administration: AccessAdministration,
        audit: AuditService,
        account_links: AccountLinks,
    ) -> None:
        self._repository = repository
        self._permissions = permissions
        self._administration = administration
        self._audit = audit
        self._account_links = account_links
        self._recent_refusals: TTLCache[Hashable, None] = TTLCache(
            MAX_REMEMBERED, REPEAT_AFTER.total_seconds(), timer=lambda: repository.clock.now().timestamp()
        )
        self._synced: dict[str, tuple[int, frozenset[str], IssuerAccount]] = {}
        """For each subject the access generation, groups and account of the last sign-in that changed nothing."""

    async def sign_in(self, subject: str, roles: Collection[str], account: IssuerAccount) -> None:
        """Make ``subject`` a member of the groups named in ``roles``, and end its other memberships due to roles.

        Each role names a group; roles without a group of that name are ignored. An unknown subject is added if at
        least one of its roles is a group. All changes are durable on return; if nothing changes, nothing is written.
        If a change costs a device configuration its quorum, a warning is set on its waiting tasks.

        The first sign-in links the subject to ``account``; neither can sign in with another one afterwards.

        Raises :class:`UsageError` if the subject is a group, :class:`PermissionDeniedError` if the account is linked
        to another subject, and :class:`AuthenticationError` if the subject is unknown and none of its roles is a
        group, or if it is linked to another account. The message of :class:`AuthenticationError` is that for an
        invalid token, so that it does not disclose which subjects exist.
        """
        subject = parse_subject(subject)
        if subject_kind(subject) is SubjectKind.GROUP:
            raise UsageError("Groups cannot log in.", "Log in as a member of the group.")
        role_groups = frozenset(f"{SubjectKind.GROUP}:{role}" for role in roles)
        generation = self._repository.access_generation
        if self._synced.get(subject) == (generation, role_groups, account):
            return
        linked = self._account_links.account_of(subject)
        if linked != account:
            await self._require_unlinked(subject, linked, account)
        groups = {group for group in role_groups if self._permissions.contains(group)}
        if not groups and not self._permissions.contains(subject):
            await self._audit_once(subject, subject, _unknown_error(subject), (account,))
            raise invalid_token()
        if (work := self._prepare_changes(subject, groups, account)) is not None:
            await work.commit()
            return
        await self._repository.flush()
        self._synced[subject] = (generation, role_groups, account)

    async def _require_unlinked(self, subject: str, linked: IssuerAccount | None, account: IssuerAccount) -> None:
        """Raise an error if ``subject`` or ``account`` is linked.

        Does not await anything if neither is, so that no other sign-in can link one of them in between.
        """
        if (known_as := self._account_links.subject_of(account)) is not None:
            error = _renamed_error(subject, known_as, account)
            await self._audit_once(known_as, known_as, error, (account, subject))
            raise error
        if linked is not None:
            await self._audit_once(OIDC_AUTHOR, subject, _taken_error(subject, linked, account), (account, subject))
            raise invalid_token()

    async def _audit_once(
        self, author: str, subject: str, error: PermissionDeniedError, key: tuple[IssuerAccount | str, ...]
    ) -> None:
        """Audit a refused sign-in, unless one with the same ``key`` was audited within :data:`REPEAT_AFTER`.

        The audit message includes the hint: it is meant for administrators, who read it in the audit log.
        """
        if key in self._recent_refusals:
            return
        await self._audit.record_refusal(author, f"SUBJECT:{subject}", PermissionDeniedError(str(error)))
        self._recent_refusals[key] = None

    def _prepare_changes(self, subject: str, groups: set[str], account: IssuerAccount) -> UnitOfWork | None:
        """Return a unit of work with everything the sign-in changes; None if it changes nothing."""
        memberships = tuple(self._repository.list_all(MEMBERSHIPS))
        current_groups = {membership.group for membership in memberships if membership.member == subject}
        removed = [
            membership
            for membership in memberships
            if membership.member == subject and membership.created_by == OIDC_AUTHOR and membership.group not in groups
        ]
        added = [self._new_membership(subject, group) for group in sorted(groups - current_groups)]
        is_new = self._repository.get(SUBJECTS, subject) is None
        is_unlinked = self._account_links.account_of(subject) is None
        if not (removed or added or is_new or is_unlinked):
            return None
        kept = [membership for membership in memberships if membership not in removed]
        work = self._administration.check_impact(
            memberships=(*kept, *added), new_subjects=(subject,) if is_new else (), confirmed=True
        )
        if is_new:
            self._administration.create_subject(work, OIDC_AUTHOR, subject, "")
        if is_unlinked:
            self._account_links.link(work, OIDC_AUTHOR, subject, account)
        for membership in added:
            work.put(MEMBERSHIPS, membership.id, membership)
            _audit_membership(work, AuditAction.CREATED, membership, f"{subject} added to {membership.group}")
        for membership in removed:
            work.delete(MEMBERSHIPS, membership.id)
            _audit_membership(work, AuditAction.DELETED, membership, f"{subject} removed from {membership.group}")
        return work

    def _new_membership(self, subject: str, group: str) -> Membership:
        now = self._repository.clock.now()
        return Membership(id=new_id(), member=subject, group=group, created_by=OIDC_AUTHOR, created_at=now)


def _unknown_error(subject: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{subject} is unknown in this workspace, and none of its roles is a group here.",
        f"Ask an administrator to add it (sealyard subject add {subject}) or a group named like one of its roles.",
    )


def _renamed_error(subject: str, known_as: str, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"The account of {known_as} now has the name {subject}; an account cannot have two subjects.",
        f"If the identity provider ({format_account(account)}) renamed it permanently, ask an administrator to unlink"
        f" the old name: sealyard subject unlink {known_as}",
    )


def _taken_error(subject: str, linked: IssuerAccount, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"Account {format_account(account)} has the name {subject}, which is linked to {format_account(linked)}.",
        f"If it should be {subject} from now on, ask an administrator to unlink the other account:"
        f" sealyard subject unlink {subject}",
    )


def _audit_membership(work: UnitOfWork, change: AuditAction, membership: Membership, message: str) -> None:
    work.audit(OIDC_AUTHOR, change, f"ACL:{membership.id}", message)
    work.notify(f"ACL:{membership.id}")
