"""Administration of subjects, groups, access rules and the policy of a workspace."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sealyard.engine.devices.configs import DeviceConfigs
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import EffectivePermissions, Permissions
from sealyard.engine.state.repository import Repository
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
    parse_subject,
    resource_type_of,
    resource_type_uri,
    subject_kind,
)
from sealyard.model.audit import AuditAction
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.errors import (
    AlreadyExistsError,
    ConfirmationRequiredError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
from sealyard.model.hints import Hint, HintCode
from sealyard.model.policy import Policy
from sealyard.model.requests import AccessControlList
from sealyard.model.safe_text import escape_text
from sealyard.model.tasks import TaskStatus

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

QUORUM_LOST_WARNING = "The device configuration no longer has enough approvers."


class AccessAdministration:
    """Manages subjects, groups, access rules and the policy.

    A change that leaves a device configuration with too few approvers for its quorum must be ``confirmed``; otherwise
    the method raises :class:`ConfirmationRequiredError`.
    """

    def __init__(self, repository: Repository, permissions: Permissions, devices: DeviceConfigs, *, demo: bool) -> None:
        self._repository = repository
        self._permissions = permissions
        self._devices = devices
        self._demo = demo

    def access(self, subject: str) -> AccessControlList:
        self._permissions.require_type(subject, Action.VIEW, ResourceType.ACL)
        return AccessControlList(
            subjects=tuple(sorted(self._repository.list_all(SUBJECTS), key=lambda subject: subject.id)),
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
        subjects = self._repository.list_all(SUBJECTS)
        return {subject.id: subject.display_name for subject in subjects if subject.display_name}

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
        if self._repository.get(SUBJECTS, new_subject) is not None:
            raise AlreadyExistsError(f"{new_subject} already exists.")
        unit_of_work = self._repository.begin()
        subject_record = self.create_subject(unit_of_work, subject, new_subject, display_name)
        await unit_of_work.commit()
        return subject_record

    async def add_member(self, subject: str, group: str, member: str, *, confirmed: bool = False) -> Membership:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        group, member = self._require_subject(group), self._require_subject(member)
        if subject_kind(group) is not SubjectKind.GROUP:
            raise UsageError(f"{group} is not a group.", "Use GROUP:name.")
        if member in self._permissions.current.principals_of(group):
            raise ConflictError(f"{group} is a member of {member}: groups cannot contain each other.")
        if self._find_membership(group, member) is not None:
            raise AlreadyExistsError(f"{member} is already a member of {group}.")
        membership = Membership(
            id=new_id(), member=member, group=group, created_by=subject, created_at=self._repository.clock.now()
        )
        unit_of_work = self.check_impact(
            memberships=(*self._repository.list_all(MEMBERSHIPS), membership), confirmed=confirmed
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
        unit_of_work = self.check_impact(memberships=remaining_memberships, confirmed=confirmed)
        unit_of_work.delete(MEMBERSHIPS, membership.id)
        message = f"{membership.member} removed from {membership.group}"
        await self._commit_access_change(
            unit_of_work, subject, AuditAction.DELETED, f"ACL:{membership.id}", message, old=membership
        )

    async def add_rule(
        self, subject: str, grantee: str, resource: str, action: Action, *, confirmed: bool = False
    ) -> AclRule:
        self._permissions.require_type(subject, Action.CREATE, ResourceType.ACL)
        grantee = self._require_subject(grantee)
        resource = self._resolve_resource(resource)
        label = self._repository.resource_label(resource)
        if action not in ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]:
            allowed_actions = ", ".join(sorted(ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]))
            raise UsageError(f"{action} cannot be granted on {label}.", f"Use one of: {allowed_actions}.")
        if any(
            (rule.subject, rule.resource, rule.action) == (grantee, resource, action)
            for rule in self._repository.list_all(RULES)
        ):
            raise AlreadyExistsError(f"{grantee} already has {action} permission on {label}.")
        rule = AclRule(
            id=new_id(),
            subject=grantee,
            resource=resource,
            action=action,
            created_by=subject,
            created_at=self._repository.clock.now(),
        )
        unit_of_work = self.check_impact(rules=(*self._repository.list_all(RULES), rule), confirmed=confirmed)
        unit_of_work.put(RULES, rule.id, rule)
        message = f"{rule.action} on {label} granted to {rule.subject}"
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
        unit_of_work = self.check_impact(rules=remaining_rules, confirmed=confirmed)
        unit_of_work.delete(RULES, rule_id)
        label = self._repository.resource_label(rule.resource)
        message = f"{rule.action} on {label} revoked from {rule.subject}"
        await self._commit_access_change(
            unit_of_work, subject, AuditAction.DELETED, f"ACL:{rule.id}", message, rule, old=rule
        )

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
            subject,
            AuditAction.UPDATED,
            "POLICY:workspace",
            "policy changed",
            msgspec.to_builtins(policy),
            old_value=msgspec.to_builtins(self._repository.policy()),
        )
        unit_of_work.notify("POLICY:workspace")
        await unit_of_work.commit()
        return policy

    def grant_initial_admin(self, unit_of_work: UnitOfWork, administrator: str) -> None:
        """Add the initial administrator of a new workspace, with permanent access rules, to the unit of work."""
        self.create_subject(unit_of_work, administrator, administrator, "")
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

    def create_subject(self, unit_of_work: UnitOfWork, author: str, new_subject: str, display_name: str) -> Subject:
        subject_record = Subject(
            id=new_subject, created_by=author, created_at=self._repository.clock.now(), display_name=display_name
        )
        unit_of_work.put(SUBJECTS, new_subject, subject_record)
        unit_of_work.audit(
            author,
            AuditAction.CREATED,
            f"SUBJECT:{new_subject}",
            f"{new_subject} added",
            msgspec.to_builtins(subject_record),
        )
        unit_of_work.notify(f"SUBJECT:{new_subject}")
        return subject_record

    def check_impact(
        self,
        *,
        confirmed: bool,
        memberships: Iterable[Membership] | None = None,
        rules: Iterable[AclRule] | None = None,
        new_subjects: Iterable[str] = (),
    ) -> UnitOfWork:
        """Check a planned change of memberships or rules against the quorum of every device configuration.

        ``memberships`` and ``rules``: all memberships and rules after the change; None if it does not change them.
        ``new_subjects``: ids of subjects that the change adds.

        Returns a unit of work, to which the caller adds the change. The unit of work sets a warning on the waiting
        tasks of configurations that lose their quorum, and clears the warning for configurations that regain it. Raises
        :class:`ConfirmationRequiredError` if a configuration loses its quorum and the change is not ``confirmed``.
        """
        planned_permissions = EffectivePermissions(
            (*new_subjects, *(subject.id for subject in self._repository.list_all(SUBJECTS))),
            self._repository.list_all(MEMBERSHIPS) if memberships is None else memberships,
            self._repository.list_all(RULES) if rules is None else rules,
        )
        lacking_before = set(self._devices.configs_without_quorum(self._permissions.current))
        lacking_after = set(self._devices.configs_without_quorum(planned_permissions))
        if lacking_after - lacking_before and not confirmed:
            raise _confirmation_required_error(lacking_after - lacking_before)
        unit_of_work = self._repository.begin()
        for device in lacking_after - lacking_before:
            self._set_task_warnings(unit_of_work, device, QUORUM_LOST_WARNING)
        for device in lacking_before - lacking_after:
            self._set_task_warnings(unit_of_work, device, "")
        return unit_of_work

    # ---- helpers

    async def _commit_access_change(
        self,
        unit_of_work: UnitOfWork,
        subject: str,
        change: AuditAction,
        resource: str,
        message: str,
        rule: AclRule | None = None,
        *,
        old: AclRule | Membership | None = None,
    ) -> None:
        new_value = msgspec.to_builtins(rule) if rule is not None else None
        old_value = msgspec.to_builtins(old) if old is not None else None
        unit_of_work.audit(subject, change, resource, message, new_value, old_value=old_value)
        unit_of_work.notify(resource)
        await unit_of_work.commit()

    def _require_subject(self, text: str) -> str:
        subject = parse_subject(text)
        if self._repository.get(SUBJECTS, subject) is None:
            raise NotFoundError(f"Subject {subject} not found.", Hint.of(HintCode.ADD_SUBJECT, subject=subject))
        return subject

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

    def _set_task_warnings(self, unit_of_work: UnitOfWork, device: DeviceConfig, warning: str) -> None:
        for task in self._repository.tasks({"status": TaskStatus.WAITING.value, "configId": device.id}):
            unit_of_work.change_task(task.id, warning=warning)


def _confirmation_required_error(devices: Iterable[DeviceConfig]) -> ConfirmationRequiredError:
    names = ", ".join(sorted(device.name for device in devices))
    return ConfirmationRequiredError(f"This would leave too few approvers for {names}.", Hint.of(HintCode.CONFIRM))
