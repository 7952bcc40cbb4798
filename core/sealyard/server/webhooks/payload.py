"""Webhook messages: body and signed headers, according to the Standard Webhooks specification.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import datetime

import msgspec

from sealyard.engine.webhooks.outbox import PendingDelivery
from sealyard.model.base import FrozenStruct
from sealyard.model.events import DurableEvent, TaskChanged, WorkspaceChanged
from sealyard.model.key_checks import KeyUse
from sealyard.model.tasks import Decision, DetailedStatus, ResultState, TaskKind, TaskStatus
from sealyard.model.webhooks import WebhookEvent


class WebhookData(FrozenStruct, frozen=True, kw_only=True):
    """The task at the time of the event. It contains no link to the result, because a link would grant access to it.

    ``decision``: the decision that the message announces, if any. ``quorum_reached``: for an approval, whether the task
    now has all required approvals; None for other events.
    """

    workspace: str
    cursor: int
    task_id: str
    kind: TaskKind
    status: TaskStatus
    detailed_status: DetailedStatus
    name: str
    config_id: str
    created_by: str
    result_state: ResultState | None
    decision: Decision | None
    quorum_reached: bool | None


class KeyData(FrozenStruct, frozen=True, kw_only=True):
    """The check of a key that has failed, or passed again; ``error`` is empty then.

    ``key``: its URI; ``use``: encryption, signing or audit.
    """

    workspace: str
    cursor: int
    key: str
    version: int
    use: KeyUse
    algorithm: str
    error: str


class CertificateData(FrozenStruct, frozen=True, kw_only=True):
    """A certificate of a signing key that expires within ``days``; 0 if it has expired.

    ``key``: the URI of the key. ``subject``: distinguished name (RFC 4514).
    """

    workspace: str
    cursor: int
    key: str
    version: int
    subject: str
    expires_at: datetime
    days: int


class WebhookPayload(FrozenStruct, frozen=True, kw_only=True):
    """The body of a webhook message. Every attempt to deliver a message sends the same bytes."""

    type: WebhookEvent
    timestamp: datetime
    data: WebhookData | KeyData | CertificateData


def encode_payload(workspace_id: str, change: DurableEvent) -> bytes:
    """Return the JSON body of the message that announces ``change``."""
    assert change.notification is not None
    data = _task_data(workspace_id, change) if isinstance(change, TaskChanged) else _key_data(workspace_id, change)
    return msgspec.json.encode(WebhookPayload(type=change.notification, timestamp=change.at, data=data))


def _key_data(workspace_id: str, change: WorkspaceChanged) -> KeyData | CertificateData:
    check, notice = change.key_check, change.certificate
    if notice is not None:
        return CertificateData(
            workspace=workspace_id,
            cursor=change.cursor,
            key=notice.uri,
            version=notice.version,
            subject=notice.subject,
            expires_at=notice.expires_at,
            days=notice.days,
        )
    assert check is not None
    return KeyData(
        workspace=workspace_id,
        cursor=change.cursor,
        key=check.uri,
        version=check.version,
        use=check.use,
        algorithm=check.algorithm,
        error=check.error,
    )


def _task_data(workspace_id: str, change: TaskChanged) -> WebhookData:
    is_approval = change.notification is WebhookEvent.TASK_APPROVED
    return WebhookData(
        workspace=workspace_id,
        cursor=change.cursor,
        task_id=change.task_id,
        kind=change.kind,
        status=change.status,
        detailed_status=change.detailed_status or DetailedStatus(change.status.value),
        name=change.name,
        config_id=change.config_id,
        created_by=change.created_by,
        result_state=change.result_state,
        decision=change.decision,
        quorum_reached=change.status is TaskStatus.APPROVED if is_approval else None,
    )


def signed_headers(workspace_id: str, delivery: PendingDelivery, body: bytes, now: datetime) -> dict[str, str]:
    """Return the headers for a delivery attempt, with the signature of ``body``.

    ``webhook-id`` is the same for all attempts of a message; ``webhook-timestamp`` is ``now``.
    """
    message_id = f"{workspace_id}-{delivery.message.id}"
    timestamp = str(int(now.timestamp()))
    return {
        "content-type": "application/json",
        "user-agent": "sealyard",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": _sign(delivery.secret, message_id, timestamp, body),
    }


def _sign(secret: bytes, message_id: str, timestamp: str, body: bytes) -> str:
    signed_content = f"{message_id}.{timestamp}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(secret, signed_content, hashlib.sha256)).decode()}"
