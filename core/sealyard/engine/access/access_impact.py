"""The effects of a planned change of access on administrators, quorums and given approvals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from sealyard.engine.devices.configs import DeviceConfigs
from sealyard.engine.state.permissions import EffectivePermissions, Permissions, evaluate
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import DEVICES, MEMBERSHIPS
from sealyard.engine.state.unit_of_work import UnitOfWork
from sealyard.model.access import (
    OIDC_AUTHOR,
    AclRule,
    Action,
    Membership,
    ResourceType,
    Subject,
    SubjectKind,
    resource_type_uri,
)
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConfirmationRequiredError, ConflictError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.triggers import ApproversChanged

QUORUM_LOST_WARNING = "The device configuration no longer has enough approvers."
APPROVAL_REVOKED_REASON = "The approver no longer has permission to approve."


@dataclass(frozen=True)
class TaskImpact:
    """The change of a waiting task, and the people whose approvals of it no longer count."""

    task_id: str
    trigger: ApproversChanged
    approvers: tuple[str, ...]


@dataclass(frozen=True)
class Impact:
    """The effects of a planned change. ``lost_quorums``: names of the configurations left with too few approvers."""

    lost_quorums: tuple[str, ...]
    tasks: tuple[TaskImpact, ...]

    @property
    def revoked_count(self) -> int:
        """The number of approvals that no longer count."""
        return sum(len(task.approvers) for task in self.tasks)


class AccessImpact:
    """Assesses planned changes of subjects, memberships or rules, and applies their effects on waiting tasks.

    An approval counts only as long as its approver may approve: a change that ends the permission revokes the approvals
    of waiting tasks. The person can approve again if the permission is granted again.
    """

    def __init__(self, repository: Repository, permissions: Permissions, devices: DeviceConfigs) -> None:
        self._repository = repository
        self._permissions = permissions
        self._devices = devices

    def check(
        self,
        author: str,
        *,
        confirmed: bool,
        subjects: Iterable[Subject] | None = None,
        memberships: Iterable[Membership] | None = None,
        rules: Iterable[AclRule] | None = None,
    ) -> UnitOfWork:
        """Return a unit of work with the effects of a change by ``author``; the caller adds the change itself.

        Raises :class:`ConfirmationRequiredError` if a configuration loses its quorum and the change is not
        ``confirmed``. See :meth:`assess` for the other parameters and errors.
        """
        impact = self.assess(subjects=subjects, memberships=memberships, rules=rules)
        if impact.lost_quorums and not confirmed:
            raise ConfirmationRequiredError(format_lost_quorums(impact), Hint.of(HintCode.CONFIRM))
        return self.begin(author, impact)

    def assess(
        self,
        *,
        subjects: Iterable[Subject] | None = None,
        memberships: Iterable[Membership] | None = None,
        rules: Iterable[AclRule] | None = None,
    ) -> Impact:
        """Return the effects of a change. The arguments are all documents after the change; None for unchanged ones.

        Raises :class:`ConflictError` if the change would leave the workspace without an administrator.
        """
        planned_subjects = tuple(subjects) if subjects is not None else None
        planned_memberships = tuple(self._repository.list_all(MEMBERSHIPS) if memberships is None else memberships)
        planned_rules = tuple(rules) if rules is not None else None
        planned = evaluate(
            self._repository, subjects=planned_subjects, memberships=planned_memberships, rules=planned_rules
        )
        self._require_administrator(
            evaluate(
                self._repository,
                subjects=planned_subjects,
                memberships=_without_issuer(planned_memberships),
                rules=planned_rules,
            )
        )
        lacking_before = set(self._devices.configs_without_quorum(self._permissions.current))
        lacking_after = set(self._devices.configs_without_quorum(planned))
        warnings = {device.id: QUORUM_LOST_WARNING for device in lacking_after - lacking_before}
        warnings |= {device.id: "" for device in lacking_before - lacking_after}
        return Impact(
            lost_quorums=tuple(sorted(device.name for device in lacking_after - lacking_before)),
            tasks=tuple(self._assess_tasks(planned, warnings)),
        )

    def begin(self, author: str, impact: Impact) -> UnitOfWork:
        """Return a unit of work that applies the effects on waiting tasks, with audit entries."""
        unit_of_work = self._repository.begin()
        for task in impact.tasks:
            unit_of_work.advance(task.task_id, task.trigger)
            for approver in task.approvers:
                message = f"approval by {approver} no longer counts: no permission to approve"
                unit_of_work.audit(author, AuditAction.UPDATED, f"TASK:{task.task_id}", message)
        return unit_of_work

    def _assess_tasks(self, planned: EffectivePermissions, warnings: Mapping[str, str]) -> Iterator[TaskImpact]:
        """Yield the impacts on waiting tasks. ``warnings``: the new warnings of tasks, by configuration."""
        for device in self._repository.list_all(DEVICES):
            approvers = planned.approvers(device.id)
            if device.id not in warnings and approvers >= self._permissions.current.approvers(device.id):
                continue
            for task in self._repository.tasks({"status": TaskStatus.WAITING.value, "configId": device.id}):
                impact = _assess_task(task, approvers, warnings.get(device.id, task.warning))
                if impact is not None:
                    yield impact

    def _require_administrator(self, planned: EffectivePermissions) -> None:
        """Raise :class:`ConflictError` if the workspace would lose its last administrator.

        ``planned`` must not include memberships from the roles of an issuer: the issuer can end them at any time.
        """
        if _has_administrator(planned):
            return
        memberships = _without_issuer(self._repository.list_all(MEMBERSHIPS))
        if _has_administrator(evaluate(self._repository, memberships=memberships)):
            raise ConflictError(
                "This would leave the workspace without an administrator of its own.",
                Hint.of(HintCode.ADD_ADMINISTRATOR),
            )


def format_lost_quorums(impact: Impact) -> str:
    return f"This would leave too few approvers for {', '.join(impact.lost_quorums)}."


def _assess_task(task: Task, approvers: frozenset[str], warning: str) -> TaskImpact | None:
    """Return the impact on a task that only ``approvers`` may approve, or None if there is none."""
    revoked = tuple(
        position
        for position, decision in enumerate(task.approvals)
        if decision.verdict is Verdict.APPROVED
        and decision.by not in approvers
        and task.revocation_of(position) is None
    )
    if not revoked and warning == task.warning:
        return None
    return TaskImpact(
        task_id=task.id,
        trigger=ApproversChanged(revoked=revoked, reason=APPROVAL_REVOKED_REASON, warning=warning),
        approvers=tuple(task.approvals[position].by for position in revoked),
    )


def _has_administrator(permissions: EffectivePermissions) -> bool:
    acl = resource_type_uri(ResourceType.ACL)
    return bool(permissions.subjects_allowed(Action.CREATE, acl, (SubjectKind.USER,)))


def _without_issuer(memberships: Iterable[Membership]) -> tuple[Membership, ...]:
    return tuple(membership for membership in memberships if membership.created_by != OIDC_AUTHOR)
