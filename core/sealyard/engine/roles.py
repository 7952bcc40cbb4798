"""Who arrives with the word of an issuer (OpenID Connect): known by its roles, and inside the groups they stand for."""

from __future__ import annotations

from collections.abc import Collection

from sealyard.engine.administration import Administration
from sealyard.engine.auditing import Auditing
from sealyard.engine.ids import new_id
from sealyard.engine.ledger import Draft, Ledger
from sealyard.engine.rights import Rights
from sealyard.engine.tables import MEMBERSHIPS, SUBJECTS
from sealyard.model.access import Membership, SubjectKind, kind_of, parse_subject
from sealyard.model.audit import AuditChange
from sealyard.model.errors import NotAllowedError, UsageError

ISSUER = "SYSTEM:oidc"
"""The author of what a token's roles bring about."""


class Roles:
    """Keeps the memberships that roles make; one made by hand is never touched."""

    def __init__(self, ledger: Ledger, rights: Rights, administration: Administration, auditing: Auditing) -> None:
        self._ledger = ledger
        self._rights = rights
        self._administration = administration
        self._auditing = auditing
        self._settled: dict[str, tuple[int, frozenset[str]]] = {}
        """By subject: the rules' generation and the groups with which there was nothing left to do."""

    async def arrive(self, subject: str, roles: Collection[str]) -> None:
        """From now on ``subject`` is inside the groups its ``roles`` stand for, and inside no other by its roles.

        A role stands for the group of its name, if there is one. Someone unknown is added where at least one of its
        roles is a group here. Nothing is written where nothing changes; what is written is durable. Where a
        configuration loses its quorum by it, the tasks that wait are marked.

        Raises :class:`UsageError` for what is neither a person nor a machine client, :class:`NotAllowedError` for
        somebody unknown without a group here.
        """
        subject = parse_subject(subject)
        if kind_of(subject) is SubjectKind.GROUP:
            raise UsageError("A group does not arrive.", "Its members do.")
        named = frozenset(f"{SubjectKind.GROUP}:{each}" for each in roles)
        generation = self._ledger.access_generation
        if self._settled.get(subject) == (generation, named):
            return
        groups = {each for each in named if self._rights.knows(each)}
        if not groups and not self._rights.knows(subject):
            await self._refuse(subject)
        if (draft := self._changes(subject, groups)) is not None:
            await draft.commit()
            return
        await self._ledger.durable()
        self._settled[subject] = (generation, named)

    async def _refuse(self, subject: str) -> None:
        error = NotAllowedError(
            f"{subject} is not known in this workspace, and none of its roles is a group here.",
            f"An administrator can add it (sealyard subject add {subject}), or a group named like one of its roles.",
        )
        await self._auditing.record_refusal(subject, f"SUBJECT:{subject}", error)
        raise error

    def _changes(self, subject: str, groups: set[str]) -> Draft | None:
        memberships = tuple(self._ledger.all(MEMBERSHIPS))
        inside = {each.group for each in memberships if each.member == subject}
        ended = [
            each
            for each in memberships
            if each.member == subject and each.created_by == ISSUER and each.group not in groups
        ]
        begun = [self._membership(subject, group) for group in sorted(groups - inside)]
        is_new = self._ledger.find(SUBJECTS, subject) is None
        if not (ended or begun or is_new):
            return None
        kept = [each for each in memberships if each not in ended]
        newcomers = (subject,) if is_new else ()
        draft = self._administration.weighed(memberships=(*kept, *begun), newcomers=newcomers, confirmed=True)
        if is_new:
            self._administration.put_subject(draft, ISSUER, subject, "")
        for each in begun:
            draft.put(MEMBERSHIPS, each.id, each)
            _tell(draft, AuditChange.CREATED, each, f"{subject} is in {each.group}")
        for each in ended:
            draft.remove(MEMBERSHIPS, each.id)
            _tell(draft, AuditChange.DELETED, each, f"{subject} is in {each.group} no more")
        return draft

    def _membership(self, subject: str, group: str) -> Membership:
        now = self._ledger.clock.now()
        return Membership(id=new_id(), member=subject, group=group, created_by=ISSUER, created_at=now)


def _tell(draft: Draft, change: AuditChange, membership: Membership, message: str) -> None:
    draft.audit(ISSUER, change, f"ACL:{membership.id}", message)
    draft.tell(f"ACL:{membership.id}")
