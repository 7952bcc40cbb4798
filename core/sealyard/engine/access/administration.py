"""Administration of subjects, groups, access rules and the policy of a workspace."""

from __future__ import annotations

import msgspec

from sealyard.engine.access.access_impact import AccessImpact
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.subjects import require_active
from sealyard.engine.state.tables import MEMBERSHIPS, POLICY, POLICY_ID, RULES, SUBJECTS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import (
    ACTIONS_BY_RESOURCE_TYPE,
    AclRule,
    Action,
    Membership,
    ResourceType,
    Subject,
    SubjectKind,
    SubjectState,
    parse_subject,
    resource_type_of,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.audit import AuditAction
from sealyard.model.errors import (
    AlreadyExistsError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.hints import Hint, HintCode
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList
from sealyard.model.safe_text import escape_text
from sealyard.model.subject_names import collect_subject_names

ADMINISTRATOR_RIGHTS: tuple[tuple[ResourceType, Action], ...] = (
    (ResourceType.ACL, Action.VIEW),
    (ResourceType.ACL, Action.CREATE),
    (ResourceType.ACL, Action.DELETE),
    (ResourceType.SUBJECT, Action.CREATE),
    (ResourceType.POLICY, Action.UPDATE),
    (ResourceType.AUDIT_LOG, Action.VIEW),
    (ResourceType.KEY, Action.CREATE),
    (ResourceType.KEY, Action.UPDATE),
    (ResourceType.DEVICE_CONFIG, Action.CREATE),
    (ResourceType.DEVICE_CONFIG, Action.UPDATE),
    (ResourceType.DEVICE_CONFIG, Action.EXPORT),
)
"""Permissions of the initial administrator: everything administrative. Using and approving need additional rules."""

MAX_PERIOD = 3650 * 24 * 3600
"""Longest period that a policy may set, in seconds (ten years)."""


class AccessAdministration:
    """Manages subjects, groups, access rules and the policy.

    A change that leaves a device configuration with too few approvers for its quorum must be ``confirmed``; otherwise
    the method raises :class:`ConfirmationRequiredError`.
    """

    def __init__(self, repository: Repository, permissions: Permissions, impact: AccessImpact, *, demo: bool) -> None:
        self._repository = repository
        self._permissions = permissions
        self._impact = impact
        self._demo = demo

    def access(self, subject: str) -> AccessControlList:
        self._permissions.require_type(subject, Action.VIEW, ResourceType.ACL)
        subjects = sorted(self._repository.list_all(SUBJECTS), key=lambda subject: subject.id)
        return AccessControlList(
            subjects=tuple(subject for subject in subjects if subject.state is not SubjectState.REMOVED),
            removed=tuple(subject for subject in subjects if subject.state is SubjectState.REMOVED),
            memberships=tuple(
                sorted(
                    self._repository.list_all(MEMBERSHIPS),
                    key=lambda membership: (membership.group, membership.member),
                )
            ),
            rules=tuple(
                sorted(self._repository.list_all(RULES), key=lambda rule: (rule.subject, rule.resource, rule.action))
            ),
        )

    def subject_names(self) -> dict[str, str]:
        """Return the display names of subjects, by subject. Every known subject may read them."""
        return collect_subject_names(self._repository.list_all(SUBJECTS))

    def require_active(self, subject: str) -> None:
        """Raise :class:`PermissionDeniedError` if the subject is unknown, disabled, removed, or a group."""
        if not self._permissions.contains(subject):
            raise _inactive_error(subject, self._repository.get(SUBJECTS, subject))
        if subject_kind(subject) is SubjectKind.GROUP:
            # If groups could act, a person could request a task as a group and approve it as one of its members.
            raise PermissionDeniedError("Groups cannot log in or act.", "Use a member of the group.")

    def user_ids(self) -> tuple[str, ...]:
        """Return the ids of all active users, sorted. Callers must not pass them on to remote users."""
        subjects = self._repository.list_all(SUBJECTS)
        users = (each.id for each in subjects if each.is_active and subject_kind(each.id) is SubjectKind.USER)
        return tuple(sorted(users))

    def own_subjects(self, subject: str) -> tuple[str, ...]:
        """Return the subject followed by the groups that contain it, directly or through other groups."""
        principals = self._permissions.current.principals_of(subject)
        return tuple(sorted(principals, key=lambda principal: (principal != subject, principal)))

    def effective_device_rules(self, subject: str) -> tuple[AclRule, ...]:
        """Return the rules on device configurations that apply to the subject, including those of its groups."""
        principals = self._permissions.current.principals_of(subject)
        prefixes = (f"{ResourceType.DEVICE_CONFIG}:", resource_type_uri(ResourceType.DEVICE_CONFIG))
        rules = (
            rule
            for rule in self._repository.list_all(RULES)
            if rule.subject in principals and rule.resource.startswith(prefixes)
        )
        return tuple(sorted(rules, key=lambda rule: (rule.resource, rule.action, rule.subject)))

    async def add_subject(self, subject: str, new_subject: str, display_name: str) -> Subject:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        new_subject = parse_subject(new_subject)
        if (record := self._repository.get(SUBJECTS, new_subject)) is not None:
            raise _already_exists_error(record)
        unit_of_work = self._repository.begin()
        subject_record = self.build_subject(subject, new_subject, display_name)
        self.create_subject(unit_of_work, subject_record)
        await unit_of_work.commit()
        return subject_record

    async def add_member(self, subject: str, group: str, member: str, *, confirmed: bool = False) -> Membership:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        group, member = self._resolve_subject(group), self._resolve_subject(member)
        if subject_kind(group) is not SubjectKind.GROUP:
            raise UsageError(f"{group} is not a group.", "Use GROUP:name.")
        if member in self._permissions.current.principals_of(group):
            raise ConflictError(f"{group} is a member of {member}: groups cannot contain each other.")
        if self._find_membership(group, member) is not None:
            raise AlreadyExistsError(f"{member} is already a member of {group}.")
        membership = Membership(
            id=new_id(), member=member, group=group, created_by=subject, created_at=self._repository.clock.now()
        )
        unit_of_work = self._impact.check(
            subject, memberships=(*self._repository.list_all(MEMBERSHIPS), membership), confirmed=confirmed
        )
        unit_of_work.put(MEMBERSHIPS, membership.id, membership)
        message = f"{member} added to {group}"
        await self._commit_access_change(unit_of_work, subject, AuditAction.CREATED, f"ACL:{membership.id}", message)
        return membership

    async def remove_member(self, subject: str, group: str, member: str, *, confirmed: bool) -> None:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        membership = self._find_membership(parse_subject(group), parse_subject(member))
        if membership is None:
            raise NotFoundError(f"{escape_text(member, 80)} is not a member of {escape_text(group, 80)}.")
        remaining_memberships = [other for other in self._repository.list_all(MEMBERSHIPS) if other.id != membership.id]
        unit_of_work = self._impact.check(subject, memberships=remaining_memberships, confirmed=confirmed)
        unit_of_work.delete(MEMBERSHIPS, membership.id)
        message = f"{membership.member} removed from {membership.group}"
        await self._commit_access_change(unit_of_work, subject, AuditAction.DELETED, f"ACL:{membership.id}", message)

    async def add_rule(
        self, subject: str, grantee: str, resource: str, action: Action, *, confirmed: bool = False
    ) -> AclRule:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.ACL)
        grantee = self._resolve_subject(grantee)
        resource = self._resolve_resource(resource)
        if action not in ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]:
            allowed_actions = ", ".join(sorted(ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]))
            raise UsageError(f"{action} cannot be granted on {resource}.", f"Use one of: {allowed_actions}.")
        if any(
            (rule.subject, rule.resource, rule.action) == (grantee, resource, action)
            for rule in self._repository.list_all(RULES)
        ):
            raise AlreadyExistsError(f"{grantee} already has {action} permission on {resource}.")
        rule = AclRule(
            id=new_id(),
            subject=grantee,
            resource=resource,
            action=action,
            created_by=subject,
            created_at=self._repository.clock.now(),
        )
        unit_of_work = self._impact.check(subject, rules=(*self._repository.list_all(RULES), rule), confirmed=confirmed)
        unit_of_work.put(RULES, rule.id, rule)
        message = f"{rule.action} on {rule.resource} granted to {rule.subject}"
        await self._commit_access_change(unit_of_work, subject, AuditAction.CREATED, f"ACL:{rule.id}", message, rule)
        return rule

    async def remove_rule(self, subject: str, rule_id: str, *, confirmed: bool) -> None:
        self._permissions.require_type(subject, Action.DELETE, ResourceType.ACL)
        rule = self._repository.get(RULES, rule_id)
        if rule is None:
            raise NotFoundError(f"Rule {escape_text(rule_id, 80)} not found.", Hint.of(HintCode.LIST_RULES))
        if rule.permanent:
            raise PermissionDeniedError(
                "The initial administrator's rules cannot be removed.", "Add other rules instead."
            )
        remaining_rules = [other for other in self._repository.list_all(RULES) if other.id != rule_id]
        unit_of_work = self._impact.check(subject, rules=remaining_rules, confirmed=confirmed)
        unit_of_work.delete(RULES, rule_id)
        message = f"{rule.action} on {rule.resource} revoked from {rule.subject}"
        await self._commit_access_change(unit_of_work, subject, AuditAction.DELETED, f"ACL:{rule.id}", message, rule)

    def policy(self) -> Policy:
        return self._repository.policy()

    async def set_policy(self, subject: str, policy: Policy) -> Policy:
        self._permissions.require_type(subject, Action.UPDATE, ResourceType.POLICY)
        if policy.allow_self_approval and not self._demo:
            raise PermissionDeniedError(
                "Self-approval is available only in a demo workspace.", Hint.of(HintCode.START_DEMO)
            )
        for seconds in (policy.approval_timeout, policy.execution_timeout, policy.time_limit):
            if not 1 <= seconds <= MAX_PERIOD:
                raise UsageError("A period must be between one second and ten years.")
        unit_of_work = self._repository.begin()
        unit_of_work.put(POLICY, POLICY_ID, policy)
        unit_of_work.audit(
            subject, AuditAction.UPDATED, "POLICY:workspace", "policy changed", msgspec.to_builtins(policy)
        )
        unit_of_work.notify("POLICY:workspace")
        await unit_of_work.commit()
        return policy

    def grant_initial_admin(self, unit_of_work: UnitOfWork, administrator: str) -> None:
        """Add the initial administrator of a new workspace, with permanent access rules, to the unit of work."""
        self.create_subject(unit_of_work, self.build_subject(administrator, administrator, ""))
        for kind, action in ADMINISTRATOR_RIGHTS:
            rule = AclRule(
                id=new_id(),
                subject=administrator,
                resource=f"RESOURCE_TYPE:{kind}",
                action=action,
                created_by=administrator,
                created_at=self._repository.clock.now(),
                permanent=True,
            )
            unit_of_work.put(RULES, rule.id, rule)

    def build_subject(self, author: str, new_subject: str, display_name: str) -> Subject:
        """Return the record of a new subject, to be saved with :meth:`create_subject`."""
        now = self._repository.clock.now()
        return Subject(id=new_subject, created_by=author, created_at=now, display_name=display_name)

    def create_subject(self, unit_of_work: UnitOfWork, record: Subject) -> None:
        """Add a new subject to the unit of work."""
        resource = f"SUBJECT:{record.id}"
        unit_of_work.put(SUBJECTS, record.id, record)
        message = f"{record.id} added"
        unit_of_work.audit(record.created_by, AuditAction.CREATED, resource, message, msgspec.to_builtins(record))
        unit_of_work.notify(resource)

    # ---- helpers

    async def _commit_access_change(
        self,
        unit_of_work: UnitOfWork,
        subject: str,
        change: AuditAction,
        resource: str,
        message: str,
        rule: AclRule | None = None,
    ) -> None:
        unit_of_work.audit(subject, change, resource, message, msgspec.to_builtins(rule) if rule is not None else None)
        unit_of_work.notify(resource)
        await unit_of_work.commit()

    def _resolve_subject(self, text: str) -> str:
        """Return the active subject that ``text`` names. Raises the errors of :func:`require_active`."""
        return require_active(self._repository, parse_subject(text)).id

    def _resolve_resource(self, text: str) -> str:
        """Return the resource that ``text`` names; the name of a device configuration in it is replaced by its id."""
        kind = resource_type_of(text)
        if kind is ResourceType.DEVICE_CONFIG and not text.startswith("RESOURCE_TYPE:"):
            return f"{kind}:{self._repository.device(text.partition(':')[2]).id}"
        return text

    def _find_membership(self, group: str, member: str) -> Membership | None:
        return next(
            (
                membership
                for membership in self._repository.list_all(MEMBERSHIPS)
                if (membership.group, membership.member) == (group, member)
            ),
            None,
        )


def _inactive_error(subject: str, record: Subject | None) -> PermissionDeniedError:
    """Return the error for a request of a subject. ``record``: as stored, or None if it is unknown."""
    name = escape_text(subject, 80)
    if record is None or record.is_active:  # active: the permissions cannot be read
        return PermissionDeniedError(
            f"{name} is unknown in this workspace.", Hint.of(HintCode.ASK_FOR_SUBJECT, subject=name)
        )
    state = "is disabled in" if record.state is SubjectState.DISABLED else "was removed from"
    return PermissionDeniedError(f"{name} {state} this workspace.", Hint.of(HintCode.ASK_TO_ENABLE, subject=name))


def _already_exists_error(record: Subject) -> AlreadyExistsError:
    if record.is_active:
        return AlreadyExistsError(f"{record.id} already exists.")
    state = "is disabled" if record.state is SubjectState.DISABLED else "was removed"
    return AlreadyExistsError(f"{record.id} {state}.", Hint.of(HintCode.ENABLE_SUBJECT, subject=record.id))
