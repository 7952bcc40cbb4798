"""Who may do what: the rules of the access control list, through groups, judged afresh whenever they change."""

from __future__ import annotations

from collections.abc import Iterable

from sealyard.engine.state.repository import Repository, device_not_found
from sealyard.engine.state.tables import MEMBERSHIPS, RULES, SUBJECTS
from sealyard.model.access import (
    AclRule,
    Action,
    Membership,
    Permission,
    ResourceType,
    SubjectKind,
    device_resource,
    is_allowed,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.safe_text import escape_text


class EffectivePermissions:
    """The rights that a set of rules and memberships gives. Pure; also made of rules that are only considered."""

    def __init__(self, subjects: Iterable[str], memberships: Iterable[Membership], rules: Iterable[AclRule]) -> None:
        self._groups: dict[str, set[str]] = {}
        for each in memberships:
            self._groups.setdefault(each.member, set()).add(each.group)
        granted: dict[str, set[Permission]] = {}
        for rule in rules:
            granted.setdefault(rule.subject, set()).add((rule.resource, rule.action))
        self._rights = {
            subject: frozenset().union(*(granted.get(each, ()) for each in self.principals_of(subject)))
            for subject in subjects
        }

    def principals_of(self, subject: str) -> frozenset[str]:
        """The subject and every group it is inside of, however deep."""
        found: set[str] = set()
        waiting = [subject]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting.extend(self._groups.get(each, ()))
        return frozenset(found)

    def contains(self, subject: str) -> bool:
        return subject in self._rights

    def granted_to(self, subject: str) -> frozenset[Permission]:
        """All that the subject may do, through groups too."""
        return self._rights.get(subject, frozenset())

    def is_allowed(self, subject: str, action: Action, resource: str) -> bool:
        return is_allowed(self.granted_to(subject), action, resource)

    def subjects_allowed(self, action: Action, resource: str, kinds: Iterable[SubjectKind]) -> frozenset[str]:
        """All subjects of ``kinds`` with the right."""
        wanted = frozenset(kinds)
        return frozenset(
            each for each in self._rights if subject_kind(each) in wanted and self.is_allowed(each, action, resource)
        )

    def approvers(self, config_id: str) -> frozenset[str]:
        """The persons whose approval can count for a configuration."""
        return self.subjects_allowed(Action.APPROVE, device_resource(config_id), (SubjectKind.USER,))

    def requesters(self, config_id: str) -> frozenset[str]:
        return self.subjects_allowed(Action.USE, device_resource(config_id), (SubjectKind.USER, SubjectKind.CLIENT))


class Permissions:
    """The rights as the ledger has them now. If they cannot be read, the answer is no."""

    def __init__(self, ledger: Repository) -> None:
        self._ledger = ledger
        self._generation = -1
        self._map = EffectivePermissions((), (), ())

    @property
    def current(self) -> EffectivePermissions:
        if self._generation != self._ledger.access_generation:
            self._map = EffectivePermissions(
                (each.id for each in self._ledger.list_all(SUBJECTS)),
                self._ledger.list_all(MEMBERSHIPS),
                self._ledger.list_all(RULES),
            )
            self._generation = self._ledger.access_generation
        return self._map

    def contains(self, subject: str) -> bool:
        try:
            return self.current.contains(subject)
        except Exception:
            return False

    def granted_to(self, subject: str) -> frozenset[Permission]:
        try:
            return self.current.granted_to(subject)
        except Exception:
            return frozenset()

    def is_allowed(self, subject: str, action: Action, resource: str) -> bool:
        try:
            return self.current.is_allowed(subject, action, resource)
        except Exception:
            return False

    def require(self, subject: str, action: Action, resource: str) -> None:
        """Raises :class:`PermissionDeniedError`."""
        if self.is_allowed(subject, action, resource):
            return
        raise PermissionDeniedError(
            f"{escape_text(subject, 80)} may not {action} {escape_text(resource, 80)}.",
            "Ask an administrator for the right (`sealyard acl add`).",
        )

    def require_device(self, subject: str, action: Action, config_id: str, named: str | None = None) -> None:
        """To who may not even see it, it does not exist: :class:`NotFoundError`. ``named``: what was asked for."""
        if not self.is_allowed(subject, Action.VIEW, device_resource(config_id)):
            raise device_not_found(named or config_id, refused=True)
        self.require(subject, action, device_resource(config_id))

    def require_type(self, subject: str, action: Action, kind: ResourceType) -> None:
        self.require(subject, action, resource_type_uri(kind))
