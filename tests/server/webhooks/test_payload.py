"""Tests of webhook payloads and their signatures."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from sealyard.engine.state.tables import OutboxMessage
from sealyard.engine.webhooks.outbox import PendingDelivery
from sealyard.model.events import TaskChanged, WorkspaceChanged
from sealyard.model.key_checks import KeyCheck, KeyUse
from sealyard.model.tasks import Decision, DetailedStatus, TaskKind, TaskStatus, Verdict
from sealyard.model.webhooks import WebhookEvent
from sealyard.server.webhooks.payload import encode_payload, signed_headers
from tests.support.webhook_receiver import Received, signature_is_valid

NOW = datetime(2026, 11, 23, 8, 0, 0, 500_000, tzinfo=UTC)
SECRET = bytes(range(32))
SECRET_TEXT = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

APPROVED = TaskChanged(
    cursor=17,
    at=NOW,
    task_id="t1",
    kind=TaskKind.PACKAGING,
    status=TaskStatus.WAITING,
    name="naïve \u202e name",
    config_id="c1",
    created_by="USER:dev",
    decision=Decision(by="USER:owner", verdict=Verdict.APPROVED, at=NOW, digest="aa" * 32, reason="reviewed"),
    notification=WebhookEvent.TASK_APPROVED,
)


def create_pending_delivery() -> PendingDelivery:
    return PendingDelivery(
        message=OutboxMessage(id="h1-000017", receiver_id="h1", change=APPROVED),
        url="https://x.example/",
        secret=SECRET,
    )


def test_payload_names_event_workspace_task() -> None:
    value = json.loads(encode_payload("w1", APPROVED))
    assert value["type"] == "task.approved"
    assert value["timestamp"] == "2026-11-23T08:00:00.500000Z"
    data = value["data"]
    assert (data["workspace"], data["cursor"], data["taskId"], data["status"]) == ("w1", 17, "t1", "WAITING")
    assert data["detailedStatus"] == "WAITING"
    assert (data["decision"]["by"], data["quorumReached"]) == ("USER:owner", False)


def test_payload_says_how_task_was_cancelled() -> None:
    withdrawn = msgspec.structs.replace(
        APPROVED, status=TaskStatus.CANCELLED, detailed_status=DetailedStatus.WITHDRAWN, decision=None
    )
    data = json.loads(encode_payload("w1", withdrawn))["data"]
    assert (data["status"], data["detailedStatus"]) == ("CANCELLED", "WITHDRAWN")


@pytest.mark.parametrize(("error", "event"), [("Key local:a not found.", "key.failed"), ("", "key.recovered")])
def test_payload_describes_checked_key(error: str, event: str) -> None:
    check = KeyCheck(use=KeyUse.SIGNING, uri="local:a", version=2, algorithm="ED25519", error=error)
    change = WorkspaceChanged(cursor=18, at=NOW, resource="KEY:local:a", key_check=check)
    assert json.loads(encode_payload("w1", change)) == {
        "type": event,
        "timestamp": "2026-11-23T08:00:00.500000Z",
        "data": {
            "workspace": "w1",
            "cursor": 18,
            "key": "local:a",
            "version": 2,
            "use": "signing",
            "algorithm": "ED25519",
            "error": error,
        },
    }


def test_only_final_approval_sets_quorum_reached() -> None:
    last = msgspec.structs.replace(APPROVED, status=TaskStatus.APPROVED)
    assert json.loads(encode_payload("w1", last))["data"]["quorumReached"] is True
    done = msgspec.structs.replace(APPROVED, status=TaskStatus.DONE, decision=None, notification=WebhookEvent.TASK_DONE)
    assert json.loads(encode_payload("w1", done))["data"]["quorumReached"] is None


def test_signature_covers_id_timestamp_body() -> None:
    body = encode_payload("w1", APPROVED)
    headers = signed_headers("w1", create_pending_delivery(), body, NOW)
    assert headers["webhook-id"] == "w1-h1-000017"
    assert headers["webhook-timestamp"] == str(int(NOW.timestamp()))
    assert signature_is_valid(Received("/", headers, body), SECRET_TEXT)
    for changed in (
        Received("/", headers, body + b" "),
        Received("/", {**headers, "webhook-id": "w1-h1-000018"}, body),
        Received("/", {**headers, "webhook-timestamp": "1"}, body),
    ):
        assert not signature_is_valid(changed, SECRET_TEXT)
    assert not signature_is_valid(Received("/", headers, body), "whsec_" + "B" * 43 + "=")


def test_signature_matches_openssl_reference() -> None:
    """Computed with `openssl dgst -sha256 -mac HMAC -macopt hexkey:0001… -binary | base64`."""
    headers = signed_headers("w1", create_pending_delivery(), b'{"a":1}', datetime(2026, 1, 1, tzinfo=UTC))
    assert headers["webhook-signature"] == "v1,oeCcRDkmfaLLxQgIfdTBVWIOKp6m04lBMMaFyMI9a5M="


def test_retry_changes_only_timestamp() -> None:
    first, second = (
        signed_headers("w1", create_pending_delivery(), encode_payload("w1", APPROVED), NOW + timedelta(hours=each))
        for each in (0, 1)
    )
    assert first["webhook-id"] == second["webhook-id"]
    assert first["webhook-timestamp"] != second["webhook-timestamp"]
    assert encode_payload("w1", APPROVED) == encode_payload("w1", APPROVED)
