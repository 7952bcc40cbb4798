"""Events that an engine sends to its clients: an ordered stream with a cursor.

Durable events are stored, so that a client that was disconnected can resume from its last cursor.
"""

from __future__ import annotations

from datetime import datetime

from sealyard.model.base import FrozenStruct
from sealyard.model.certificate_notices import CertificateNotice
from sealyard.model.key_checks import KeyCheck
from sealyard.model.tasks import Decision, DetailedStatus, ResultState, TaskKind, TaskStatus
from sealyard.model.webhooks import WebhookEvent


class TaskChanged(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """A task was created, changed its status or received a decision, or the state of its result changed.

    This event is durable. ``decision``: the new decision, if there is one. ``notification``: the event that webhooks
    receive for this change, if any. ``detailed_status``: None in events that were stored before this field existed.
    """

    cursor: int
    at: datetime
    task_id: str
    kind: TaskKind
    status: TaskStatus
    name: str
    config_id: str
    created_by: str
    result_state: ResultState | None = None
    decision: Decision | None = None
    notification: WebhookEvent | None = None
    detailed_status: DetailedStatus | None = None


class TaskProgressed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The progress of a running task, in bytes and seconds; sent at most ten times a second for each task.

    Not durable: ``cursor`` is the cursor of the last durable event.
    """

    cursor: int
    task_id: str
    bytes_done: int
    bytes_total: int
    eta_seconds: float | None = None


class WorkspaceChanged(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """The device configuration, key, subject, rule or policy named by ``resource`` has changed.

    For the resource ``WORKSPACE``, the warnings of the workspace have changed. This event is durable. ``key_check``:
    the check that found that a key has failed or works again; None for other changes. ``certificate``: the certificate
    of the key that expires soon or has expired, when people are notified of it; None for other changes.
    """

    cursor: int
    at: datetime
    resource: str
    key_check: KeyCheck | None = None
    certificate: CertificateNotice | None = None

    @property
    def notification(self) -> WebhookEvent | None:
        """The event that webhooks receive for this change, if any."""
        if self.certificate is not None:
            return WebhookEvent.CERTIFICATE_EXPIRING
        if self.key_check is None:
            return None
        return WebhookEvent.KEY_RECOVERED if self.key_check.passed else WebhookEvent.KEY_FAILED


class EventsMissed(FrozenStruct, frozen=True, kw_only=True, tag=True):
    """Events before ``cursor`` were dropped, because they are no longer stored or the client was too slow.

    The client must reload its state and can then continue from ``cursor``.
    """

    cursor: int


Event = TaskChanged | TaskProgressed | WorkspaceChanged | EventsMissed
DurableEvent = TaskChanged | WorkspaceChanged
