"""Who arrives with the word of an issuer (OpenID Connect): known by its roles, and inside the groups they stand for."""

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
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import MEMBERSHIPS, SUBJECTS
from sealyard.model.access import Membership, SubjectKind, parse_subject, subject_kind
from sealyard.model.audit import AuditAction
from sealyard.model.credentials import IssuerAccount
from sealyard.model.errors import PermissionDeniedError, UsageError

REPEAT_AFTER = timedelta(hours=1)
"""How long the same refusal is not audited again."""

MAX_REMEMBERED = 10_000

OIDC_AUTHOR = "SYSTEM:oidc"
"""The author of what a token's roles bring about."""


class RoleSync:
    """Keeps the memberships that roles make; one made by hand is never touched."""

    def __init__(
        self,
        ledger: Repository,
        rights: Permissions,
        administration: AccessAdministration,
        auditing: AuditService,
        bindings: AccountLinks,
    ) -> None:
        self._ledger = ledger
        self._rights = rights
        self._administration = administration
        self._auditing = auditing
        self._bindings = bindings
        self._refused: TTLCache[Hashable, None] = TTLCache(
            MAX_REMEMBERED, REPEAT_AFTER.total_seconds(), timer=lambda: ledger.clock.now().timestamp()
        )
        self._settled: dict[str, tuple[int, frozenset[str], IssuerAccount]] = {}
        """By subject: the rules' generation, the groups and the account with which there was nothing left to do."""

    async def sign_in(self, subject: str, roles: Collection[str], account: IssuerAccount) -> None:
        """From now on ``subject`` is inside the groups its ``roles`` stand for, and inside no other by its roles.

        A role stands for the group of its name, if there is one. Someone unknown is added where at least one of its
        roles is a group here. Nothing is written where nothing changes; what is written is durable. Where a
        configuration loses its quorum by it, the tasks that wait are marked.

        With its first arrival the subject is bound to ``account``: none of the two comes with another afterwards.

        Raises :class:`UsageError` for what is neither a person nor a machine client, :class:`PermissionDeniedError` for
        somebody known here under another name, and :class:`AuthenticationError` for whoever is not known here, without
        a group or under somebody's name: in the words for a bad token, so that nobody else learns what is here.
        """
        subject = parse_subject(subject)
        if subject_kind(subject) is SubjectKind.GROUP:
            raise UsageError("A group does not arrive.", "Its members do.")
        named = frozenset(f"{SubjectKind.GROUP}:{each}" for each in roles)
        generation = self._ledger.access_generation
        if self._settled.get(subject) == (generation, named, account):
            return
        bound = self._bindings.account_of(subject)
        if bound != account:
            await self._require_unbound(subject, bound, account)
        groups = {each for each in named if self._rights.contains(each)}
        if not groups and not self._rights.contains(subject):
            await self._record(subject, subject, _unknown_error(subject), (account,))
            raise invalid_token()
        if (draft := self._changes(subject, groups, account)) is not None:
            await draft.commit()
            return
        await self._ledger.flush()
        self._settled[subject] = (generation, named, account)

    async def _require_unbound(self, subject: str, bound: IssuerAccount | None, account: IssuerAccount) -> None:
        """Awaits nothing where both are free: nobody else takes one of them meanwhile."""
        if (known_as := self._bindings.subject_of(account)) is not None:
            error = _renamed_error(subject, known_as, account)
            await self._record(known_as, known_as, error, (account, subject))
            raise error
        if bound is not None:
            await self._record(OIDC_AUTHOR, subject, _taken_error(subject, bound, account), (account, subject))
            raise invalid_token()

    async def _record(
        self, author: str, about: str, error: PermissionDeniedError, what: tuple[IssuerAccount | str, ...]
    ) -> None:
        """With the advice: it is for the administrators, and they read it in the log. Not again for a while."""
        if what in self._refused:
            return
        await self._auditing.record_refusal(author, f"SUBJECT:{about}", PermissionDeniedError(str(error)))
        self._refused[what] = None

    def _changes(self, subject: str, groups: set[str], account: IssuerAccount) -> UnitOfWork | None:
        memberships = tuple(self._ledger.list_all(MEMBERSHIPS))
        inside = {each.group for each in memberships if each.member == subject}
        ended = [
            each
            for each in memberships
            if each.member == subject and each.created_by == OIDC_AUTHOR and each.group not in groups
        ]
        begun = [self._membership(subject, group) for group in sorted(groups - inside)]
        is_new = self._ledger.get(SUBJECTS, subject) is None
        is_unbound = self._bindings.account_of(subject) is None
        if not (ended or begun or is_new or is_unbound):
            return None
        kept = [each for each in memberships if each not in ended]
        newcomers = (subject,) if is_new else ()
        draft = self._administration.check_impact(memberships=(*kept, *begun), newcomers=newcomers, confirmed=True)
        if is_new:
            self._administration.create_subject(draft, OIDC_AUTHOR, subject, "")
        if is_unbound:
            self._bindings.link(draft, OIDC_AUTHOR, subject, account)
        for each in begun:
            draft.put(MEMBERSHIPS, each.id, each)
            _audit_membership(draft, AuditAction.CREATED, each, f"{subject} is in {each.group}")
        for each in ended:
            draft.delete(MEMBERSHIPS, each.id)
            _audit_membership(draft, AuditAction.DELETED, each, f"{subject} is in {each.group} no more")
        return draft

    def _membership(self, subject: str, group: str) -> Membership:
        now = self._ledger.clock.now()
        return Membership(id=new_id(), member=subject, group=group, created_by=OIDC_AUTHOR, created_at=now)


def _unknown_error(subject: str) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{subject} is not known in this workspace, and none of its roles is a group here.",
        f"An administrator can add it (sealyard subject add {subject}), or a group named like one of its roles.",
    )


def _renamed_error(subject: str, known_as: str, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{known_as} comes as {subject} now, and nobody has two names here.",
        f"Where the issuer ({format_account(account)}) renamed it for good, an administrator can let go of the old"
        f" name: sealyard subject unbind {known_as}",
    )


def _taken_error(subject: str, bound: IssuerAccount, account: IssuerAccount) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{format_account(account)} comes as {subject}, which is {format_account(bound)}.",
        f"Where it is to be {subject} from now on, an administrator can let go of the other:"
        f" sealyard subject unbind {subject}",
    )


def _audit_membership(draft: UnitOfWork, change: AuditAction, membership: Membership, message: str) -> None:
    draft.audit(OIDC_AUTHOR, change, f"ACL:{membership.id}", message)
    draft.notify(f"ACL:{membership.id}")
