"""Which targets are notified of a change, and whether a queued notification still applies."""

from __future__ import annotations

from sealyard.engine.state.permissions import Permissions
from sealyard.engine.state.repository import Repository
from sealyard.engine.state.tables import CERTIFICATE_NOTICES, DEVICES, TASKS
from sealyard.model.access import Action, ResourceType, device_resource, resource_type_uri
from sealyard.model.approval import decision_blocker
from sealyard.model.certificate_notices import CertificateNotice
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.events import DurableEvent, TaskChanged, WorkspaceChanged
from sealyard.model.notifications import NotificationEvent, NotificationTarget, notification_event
from sealyard.model.tasks import Task, TaskStatus

SILENT_REASON_CODES = frozenset({"rejected", "withdrawn", "cancelled"})
"""Reasons for which a task was cancelled by a person; they are no failures."""


class Recipients:
    """Decides by the current permissions, both when a notification is queued and when it is sent."""

    def __init__(self, repository: Repository, permissions: Permissions) -> None:
        self._repository = repository
        self._permissions = permissions

    def is_recipient(self, target: NotificationTarget, change: DurableEvent) -> bool:
        """Return whether the target is notified of the change."""
        if isinstance(change, WorkspaceChanged):
            return bool(self.find_configs(target, change))
        event = notification_event(change.notification)
        if event not in target.events or target.config_id not in ("", change.config_id):
            return False
        if not target.subject:
            return True
        match event:
            case NotificationEvent.WAITING | NotificationEvent.REMINDER:
                return target.subject != change.created_by and self._may_approve(target.subject, change.config_id)
            case NotificationEvent.ESCALATION:
                return self._is_administrator(target.subject)
        return target.subject == change.created_by

    def find_configs(self, target: NotificationTarget, change: WorkspaceChanged) -> tuple[DeviceConfig, ...]:
        """Return the configurations about whose certificate the target is notified."""
        notice = change.certificate
        if notice is None or NotificationEvent.CERTIFICATE not in target.events:
            return ()
        return tuple(
            device
            for device in self._repository.list_all(DEVICES)
            if any(key.uri == notice.uri for key in device.signing_keys)
            and target.config_id in ("", device.id)
            and (not target.subject or self._may_approve(target.subject, device.id))
        )

    def is_outdated(self, notice: CertificateNotice) -> bool:
        """Return whether the certificate was renewed after the notice."""
        return self._repository.get(CERTIFICATE_NOTICES, notice.id) is None

    def find_task(self, target: NotificationTarget, change: TaskChanged) -> Task | None:
        """Return the task of a queued notification as it is now; None if the notification no longer applies.

        It no longer applies if the person can no longer decide on the task or has lost the permission, or if the task
        was cancelled by a person.
        """
        task = self._repository.get(TASKS, change.task_id)
        if task is None or not self.is_recipient(target, change):
            return None
        match notification_event(change.notification):
            case NotificationEvent.WAITING | NotificationEvent.REMINDER if target.subject:
                may_approve = self._may_approve(target.subject, task.config_id)
                now = self._repository.clock.now()
                applies = decision_blocker(task, target.subject, now, may_approve=may_approve) is None
            case NotificationEvent.WAITING | NotificationEvent.REMINDER | NotificationEvent.ESCALATION:
                applies = task.status is TaskStatus.WAITING
            case NotificationEvent.FAILURE:
                applies = task.reason_code not in SILENT_REASON_CODES and self._is_known(target)
            case _:
                applies = self._is_known(target)
        return task if applies else None

    def _is_known(self, target: NotificationTarget) -> bool:
        return not target.subject or self._permissions.contains(target.subject)

    def _may_approve(self, subject: str, config_id: str) -> bool:
        return self._permissions.is_allowed(subject, Action.APPROVE, device_resource(config_id))

    def _is_administrator(self, subject: str) -> bool:
        return self._permissions.is_allowed(subject, Action.CREATE, resource_type_uri(ResourceType.ACL))
