"""Permissions of subjects, derived from access rules and group memberships.

Permissions are recomputed whenever a rule, a membership or a subject changes. Only active subjects have permissions,
and only active groups grant them.
"""

from __future__ import annotations

from collections.abc import Iterable

from sealyard.engine.state.not_found import device_not_found
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import MEMBERSHIPS, RULES, SUBJECTS
from sealyard.model.access import (
    AclRule,
    Action,
    Membership,
    Permission,
    ResourceType,
    Subject,
    SubjectKind,
    device_resource,
    is_allowed,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.errors import PermissionDeniedError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.safe_text import escape_text


class EffectivePermissions:
    """The permissions that result from a set of rules and memberships.

    Does not read the store, so that proposed rules can be evaluated before they are saved.
    """

    def __init__(
        self,
        subjects: Iterable[str],
        memberships: Iterable[Membership],
        rules: Iterable[AclRule],
        inactive: Iterable[str] = (),
    ) -> None:
        """``subjects``: the ids of active subjects. ``inactive``: those of disabled and removed ones."""
        inactive_subjects = frozenset(inactive)
        self._groups_by_member: dict[str, set[str]] = {}
        for membership in memberships:
            if membership.group not in inactive_subjects:
                self._groups_by_member.setdefault(membership.member, set()).add(membership.group)
        permissions_by_principal: dict[str, set[Permission]] = {}
        for rule in rules:
            permissions_by_principal.setdefault(rule.subject, set()).add((rule.resource, rule.action))
        self._permissions = {
            subject: frozenset().union(
                *(permissions_by_principal.get(principal, ()) for principal in self.principals_of(subject))
            )
            for subject in subjects
            if subject not in inactive_subjects
        }

    def principals_of(self, subject: str) -> frozenset[str]:
        """Return the subject and every active group it belongs to, directly or through other active groups."""
        principals: set[str] = set()
        pending_principals = [subject]
        while pending_principals:
            principal = pending_principals.pop()
            if principal not in principals:
                principals.add(principal)
                pending_principals.extend(self._groups_by_member.get(principal, ()))
        return frozenset(principals)

    def contains(self, subject: str) -> bool:
        return subject in self._permissions

    def permissions_of(self, subject: str) -> frozenset[Permission]:
        """Return all permissions of the subject, including those of its groups."""
        return self._permissions.get(subject, frozenset())

    def is_allowed(self, subject: str, action: Action, resource: str) -> bool:
        return is_allowed(self.permissions_of(subject), action, resource)

    def subjects_allowed(self, action: Action, resource: str, kinds: Iterable[SubjectKind]) -> frozenset[str]:
        """Return all subjects of the given ``kinds`` that may perform the action on the resource."""
        wanted_kinds = frozenset(kinds)
        return frozenset(
            subject
            for subject in self._permissions
            if subject_kind(subject) in wanted_kinds and self.is_allowed(subject, action, resource)
        )

    def approvers(self, config_id: str) -> frozenset[str]:
        """Return the people who may approve tasks for a device configuration."""
        return self.subjects_allowed(Action.APPROVE, device_resource(config_id), (SubjectKind.USER,))

    def requesters(self, config_id: str) -> frozenset[str]:
        """Return the people and machine clients that may create tasks for a device configuration."""
        return self.subjects_allowed(Action.USE, device_resource(config_id), (SubjectKind.USER, SubjectKind.CLIENT))


def evaluate(
    repository: Repository,
    *,
    subjects: Iterable[Subject] | None = None,
    memberships: Iterable[Membership] | None = None,
    rules: Iterable[AclRule] | None = None,
) -> EffectivePermissions:
    """Return the permissions that result from the stored documents, or from the given ones in their place."""
    known_subjects = tuple(repository.list_all(SUBJECTS) if subjects is None else subjects)
    return EffectivePermissions(
        (subject.id for subject in known_subjects if subject.is_active),
        repository.list_all(MEMBERSHIPS) if memberships is None else memberships,
        repository.list_all(RULES) if rules is None else rules,
        (subject.id for subject in known_subjects if not subject.is_active),
    )


class Permissions:
    """The permissions according to the workspace's current documents.

    Fails closed: if the permissions cannot be read, no subject is known and no action is allowed.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._loaded_generation = -1
        self._effective_permissions = EffectivePermissions((), (), ())

    @property
    def current(self) -> EffectivePermissions:
        """The effective permissions, recomputed if the access documents have changed."""
        if self._loaded_generation != self._repository.access_generation:
            self._effective_permissions = evaluate(self._repository)
            self._loaded_generation = self._repository.access_generation
        return self._effective_permissions

    def contains(self, subject: str) -> bool:
        """Return whether the subject is known and active."""
        try:
            return self.current.contains(subject)
        except Exception:
            return False

    def permissions_of(self, subject: str) -> frozenset[Permission]:
        try:
            return self.current.permissions_of(subject)
        except Exception:
            return frozenset()

    def is_allowed(self, subject: str, action: Action, resource: str) -> bool:
        try:
            return self.current.is_allowed(subject, action, resource)
        except Exception:
            return False

    def require(self, subject: str, action: Action, resource: str) -> None:
        """Raise :class:`PermissionDeniedError` unless the subject may perform the action on the resource."""
        if self.is_allowed(subject, action, resource):
            return
        raise PermissionDeniedError(
            f"{escape_text(subject, 80)} does not have {action} permission on {escape_text(resource, 80)}.",
            Hint.of(HintCode.ASK_FOR_PERMISSION),
        )

    def require_device(self, subject: str, action: Action, config_id: str, requested_name: str | None = None) -> None:
        """Raise :class:`PermissionDeniedError` unless the subject may perform the action on a device configuration.

        Raises :class:`NotFoundError` instead if the subject may not even view the configuration, so that its existence
        is not disclosed. ``requested_name`` is the name or id that the caller asked for; the error message repeats it.
        """
        if not self.is_allowed(subject, Action.VIEW, device_resource(config_id)):
            raise device_not_found(requested_name or config_id, hidden=True)
        self.require(subject, action, device_resource(config_id))

    def require_type(self, subject: str, action: Action, resource_type: ResourceType) -> None:
        """Raise :class:`PermissionDeniedError` unless the subject may perform the action on all resources of a type."""
        self.require(subject, action, resource_type_uri(resource_type))
