"""People, groups, rules and the policy of a workspace."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from sealyard.engine.devices.configs import DeviceConfigs
from sealyard.engine.state.ids import new_id
from sealyard.engine.state.permissions import EffectivePermissions, Permissions
from sealyard.engine.state.repository import Repository, UnitOfWork
from sealyard.engine.state.tables import MEMBERSHIPS, POLICY, POLICY_ID, RULES, SUBJECTS
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
    ConfirmationRequiredError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    UsageError,
)
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
"""What the one who makes a workspace may do: administer everything; to use and to approve wants rules of its own."""

MAX_PERIOD = 3650 * 24 * 3600
QUORUM_LOST_WARNING = "Its configuration has too few approvers now."


class AccessAdministration:
    """A change that would leave a configuration without a possible quorum wants confirmation."""

    def __init__(self, ledger: Repository, rights: Permissions, devices: DeviceConfigs, *, demo: bool) -> None:
        self._ledger = ledger
        self._rights = rights
        self._devices = devices
        self._demo = demo

    def access(self, subject: str) -> AccessControlList:
        self._rights.require_type(subject, Action.VIEW, ResourceType.ACL)
        return AccessControlList(
            subjects=tuple(sorted(self._ledger.list_all(SUBJECTS), key=lambda each: each.id)),
            memberships=tuple(sorted(self._ledger.list_all(MEMBERSHIPS), key=lambda each: (each.group, each.member))),
            rules=tuple(
                sorted(self._ledger.list_all(RULES), key=lambda each: (each.subject, each.resource, each.action))
            ),
        )

    def own_subjects(self, subject: str) -> tuple[str, ...]:
        """The subject and the groups it is inside of."""
        return tuple(sorted(self._rights.current.principals_of(subject), key=lambda each: (each != subject, each)))

    def effective_device_rules(self, subject: str) -> tuple[AclRule, ...]:
        """The rules about device configurations that hold for the subject, through groups too."""
        circle = self._rights.current.principals_of(subject)
        about = (f"{ResourceType.DEVICE_CONFIG}:", resource_type_uri(ResourceType.DEVICE_CONFIG))
        own = (
            each for each in self._ledger.list_all(RULES) if each.subject in circle and each.resource.startswith(about)
        )
        return tuple(sorted(own, key=lambda each: (each.resource, each.action, each.subject)))

    async def add_subject(self, subject: str, added: str, display_name: str) -> Subject:
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        added = parse_subject(added)
        if self._ledger.get(SUBJECTS, added) is not None:
            raise ConflictError(f"There is a subject {added} already.")
        draft = self._ledger.begin()
        made = self.create_subject(draft, subject, added, display_name)
        await draft.commit()
        return made

    async def add_member(self, subject: str, group: str, member: str, *, confirmed: bool = False) -> Membership:
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        group, member = self._known(group), self._known(member)
        if subject_kind(group) is not SubjectKind.GROUP:
            raise UsageError(f"{group} is no group.", "Write GROUP:name.")
        if member in self._rights.current.principals_of(group):
            raise ConflictError(f"{group} is inside {member} already: groups cannot be inside each other.")
        if self._membership(group, member) is not None:
            raise ConflictError(f"{member} is in {group} already.")
        made = Membership(
            id=new_id(), member=member, group=group, created_by=subject, created_at=self._ledger.clock.now()
        )
        draft = self.check_impact(memberships=(*self._ledger.list_all(MEMBERSHIPS), made), confirmed=confirmed)
        draft.put(MEMBERSHIPS, made.id, made)
        await self._change_access(draft, subject, AuditAction.CREATED, f"ACL:{made.id}", f"{member} is in {group}")
        return made

    async def remove_member(self, subject: str, group: str, member: str, *, confirmed: bool) -> None:
        self._rights.require_type(subject, Action.CREATE, ResourceType.SUBJECT)
        found = self._membership(parse_subject(group), parse_subject(member))
        if found is None:
            raise NotFoundError(f"{escape_text(member, 80)} is not in {escape_text(group, 80)}.")
        others = [each for each in self._ledger.list_all(MEMBERSHIPS) if each.id != found.id]
        draft = self.check_impact(memberships=others, confirmed=confirmed)
        draft.delete(MEMBERSHIPS, found.id)
        message = f"{found.member} is in {found.group} no more"
        await self._change_access(draft, subject, AuditAction.DELETED, f"ACL:{found.id}", message)

    async def add_rule(
        self, subject: str, for_whom: str, resource: str, action: Action, *, confirmed: bool = False
    ) -> AclRule:
        self._rights.require_type(subject, Action.CREATE, ResourceType.ACL)
        for_whom = self._known(for_whom)
        resource = self._resource(resource)
        if action not in ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]:
            allowed = ", ".join(sorted(ACTIONS_BY_RESOURCE_TYPE[resource_type_of(resource)]))
            raise UsageError(f"{action} means nothing on {resource}.", f"Possible are {allowed}.")
        if any(
            (each.subject, each.resource, each.action) == (for_whom, resource, action)
            for each in self._ledger.list_all(RULES)
        ):
            raise ConflictError(f"{for_whom} may {action} {resource} already.")
        rule = AclRule(
            id=new_id(),
            subject=for_whom,
            resource=resource,
            action=action,
            created_by=subject,
            created_at=self._ledger.clock.now(),
        )
        draft = self.check_impact(rules=(*self._ledger.list_all(RULES), rule), confirmed=confirmed)
        draft.put(RULES, rule.id, rule)
        message = f"{rule.subject} may {rule.action} {rule.resource}"
        await self._change_access(draft, subject, AuditAction.CREATED, f"ACL:{rule.id}", message, rule)
        return rule

    async def remove_rule(self, subject: str, rule_id: str, *, confirmed: bool) -> None:
        self._rights.require_type(subject, Action.DELETE, ResourceType.ACL)
        rule = self._ledger.get(RULES, rule_id)
        if rule is None:
            raise NotFoundError(f"There is no rule {escape_text(rule_id, 80)}.", "`sealyard acl list` shows the rules.")
        if rule.permanent:
            raise PermissionDeniedError("The initial administrator's rules stay.", "Add rules beside them instead.")
        others = [each for each in self._ledger.list_all(RULES) if each.id != rule_id]
        draft = self.check_impact(rules=others, confirmed=confirmed)
        draft.delete(RULES, rule_id)
        message = f"{rule.subject} may {rule.action} {rule.resource} no more"
        await self._change_access(draft, subject, AuditAction.DELETED, f"ACL:{rule.id}", message, rule)

    def policy(self) -> Policy:
        return self._ledger.policy()

    async def set_policy(self, subject: str, policy: Policy) -> Policy:
        self._rights.require_type(subject, Action.UPDATE, ResourceType.POLICY)
        if policy.allow_self_approval and not self._demo:
            raise PermissionDeniedError(
                "Self-approval can be tried in a demo workspace only.", "Try it there: sealyard demo"
            )
        for seconds in (policy.approval_timeout, policy.execution_timeout, policy.time_limit):
            if not 1 <= seconds <= MAX_PERIOD:
                raise UsageError("A period is at least a second and at most ten years.")
        draft = self._ledger.begin()
        draft.put(POLICY, POLICY_ID, policy)
        draft.audit(subject, AuditAction.UPDATED, "POLICY:workspace", "policy set", msgspec.to_builtins(policy))
        draft.notify("POLICY:workspace")
        await draft.commit()
        return policy

    def grant_initial_admin(self, draft: UnitOfWork, administrator: str) -> None:
        """Puts the first person of a new workspace, with rules that stay, into the draft."""
        self.create_subject(draft, administrator, administrator, "")
        for kind, action in ADMINISTRATOR_RIGHTS:
            rule = AclRule(
                id=new_id(),
                subject=administrator,
                resource=f"RESOURCE_TYPE:{kind}",
                action=action,
                created_by=administrator,
                created_at=self._ledger.clock.now(),
                permanent=True,
            )
            draft.put(RULES, rule.id, rule)

    def create_subject(self, draft: UnitOfWork, author: str, added: str, display_name: str) -> Subject:
        made = Subject(id=added, created_by=author, created_at=self._ledger.clock.now(), display_name=display_name)
        draft.put(SUBJECTS, added, made)
        draft.audit(author, AuditAction.CREATED, f"SUBJECT:{added}", f"{added} was added", msgspec.to_builtins(made))
        draft.notify(f"SUBJECT:{added}")
        return made

    def check_impact(
        self,
        *,
        confirmed: bool,
        memberships: Iterable[Membership] | None = None,
        rules: Iterable[AclRule] | None = None,
        newcomers: Iterable[str] = (),
    ) -> UnitOfWork:
        """The beginning of a draft that changes access: tasks that wait are marked where it leaves a configuration
        with too few approvers, unmarked where there are enough again. Raises :class:`ConfirmationRequiredError`.
        """
        access = EffectivePermissions(
            (*newcomers, *(each.id for each in self._ledger.list_all(SUBJECTS))),
            self._ledger.list_all(MEMBERSHIPS) if memberships is None else memberships,
            self._ledger.list_all(RULES) if rules is None else rules,
        )
        before = set(self._devices.configs_without_quorum(self._rights.current))
        after = set(self._devices.configs_without_quorum(access))
        if after - before and not confirmed:
            raise _confirmation_required(after - before)
        draft = self._ledger.begin()
        for device in after - before:
            self._flag_pending_tasks(draft, device, QUORUM_LOST_WARNING)
        for device in before - after:
            self._flag_pending_tasks(draft, device, "")
        return draft

    # ---- parts

    async def _change_access(
        self,
        draft: UnitOfWork,
        subject: str,
        change: AuditAction,
        resource: str,
        message: str,
        rule: AclRule | None = None,
    ) -> None:
        draft.audit(subject, change, resource, message, msgspec.to_builtins(rule) if rule is not None else None)
        draft.notify(resource)
        await draft.commit()

    def _known(self, text: str) -> str:
        subject = parse_subject(text)
        if self._ledger.get(SUBJECTS, subject) is None:
            raise NotFoundError(f"There is no subject {subject}.", f"Add it first: sealyard subject add {subject}")
        return subject

    def _resource(self, text: str) -> str:
        """A device configuration may be named instead of numbered."""
        kind = resource_type_of(text)
        if kind is ResourceType.DEVICE_CONFIG and not text.startswith("RESOURCE_TYPE:"):
            return f"{kind}:{self._ledger.device(text.partition(':')[2]).id}"
        return text

    def _membership(self, group: str, member: str) -> Membership | None:
        return next(
            (each for each in self._ledger.list_all(MEMBERSHIPS) if (each.group, each.member) == (group, member)), None
        )

    def _flag_pending_tasks(self, draft: UnitOfWork, device: DeviceConfig, attention: str) -> None:
        for task in self._ledger.tasks({"status": TaskStatus.WAITING.value, "configId": device.id}):
            draft.change_task(task.id, warning=attention)


def _confirmation_required(broken: Iterable[DeviceConfig]) -> ConfirmationRequiredError:
    names = ", ".join(sorted(each.name for each in broken))
    return ConfirmationRequiredError(
        f"After this nobody could complete an approval for {names}.", "Confirm that it is meant (--yes)."
    )
