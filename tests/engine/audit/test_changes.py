"""Test that audit entries of updates and deletions contain the old values."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealyard.audit.verify import verify_log
from sealyard.model.access import Action, SubjectState
from sealyard.model.audit import AuditAction, AuditEntry, AuditFilter
from sealyard.model.credentials import TokenRequest
from sealyard.model.requests import DeviceUpdate
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, EngineHarness

pytestmark = pytest.mark.anyio


async def last_entry(harness: EngineHarness, resource_type: str) -> AuditEntry:
    page = await harness.engine.audit.page(ADMIN, AuditFilter(resource_type=resource_type), None, 1)
    return page.entries[0]


def changes_of(entry: AuditEntry) -> dict[str, tuple[Any, Any]]:
    return {change.path: (change.old, change.new) for change in entry.changed_fields}


async def test_policy_update(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=3600)
    await harness.set_policy(approval_timeout=7200, require_otp=True)
    changes = changes_of(await last_entry(harness, "POLICY"))
    assert changes == {"approvalTimeout": (3600, 7200), "requireOtp": (False, True)}


async def test_device_update(harness: EngineHarness) -> None:
    request = DeviceUpdate(config=GATEWAY, description="in the field", link_ttl_seconds=60)
    await harness.execute(ADMIN, harness.engine.devices.update(ADMIN, request))
    changes = changes_of(await last_entry(harness, "DEVICE_CONFIG"))
    assert changes["description"] == ("", "in the field")
    assert changes["linkTtlSeconds"][1] == 60
    assert changes["version"] == (1, 2)
    assert "name" not in changes


async def test_removed_rule_and_membership(harness: EngineHarness) -> None:
    await harness.add_rule(DEV, "RESOURCE_TYPE:AUDIT_LOG", Action.VIEW)
    rule = await last_entry(harness, "ACL")
    assert rule.changed_fields == ()
    await harness.remove_rule(DEV, Action.VIEW)
    entry = await last_entry(harness, "ACL")
    assert (entry.change, entry.resource) == (AuditAction.DELETED, rule.resource)
    assert changes_of(entry)["action"] == ("VIEW", None)
    assert changes_of(entry)["subject"] == (DEV, None)
    await harness.add_subject("GROUP:team")
    await harness.add_member("GROUP:team", DEV)
    await harness.execute(ADMIN, harness.engine.access.remove_member(ADMIN, "GROUP:team", DEV, confirmed=True))
    assert changes_of(await last_entry(harness, "ACL"))["member"] == (DEV, None)


async def test_revoked_token_without_secret(harness: EngineHarness) -> None:
    issued = await harness.execute(DEV, harness.engine.tokens.create(DEV, TokenRequest(name="laptop"), None))
    await harness.execute(DEV, harness.engine.tokens.revoke(DEV, issued.token.id))
    entry = await last_entry(harness, "TOKEN")
    assert changes_of(entry)["name"] == ("laptop", None)
    assert issued.secret not in str(entry)
    assert "sha256" not in changes_of(entry)


async def test_token_of_a_removed_subject(harness: EngineHarness) -> None:
    issued = await harness.execute(DEV, harness.engine.tokens.create(DEV, TokenRequest(name="laptop"), None))
    change = harness.engine.subject_states.change(ADMIN, DEV, SubjectState.REMOVED, "left", confirmed=True)
    await harness.execute(ADMIN, change)
    entry = await last_entry(harness, "TOKEN")
    assert (entry.change, changes_of(entry)["name"]) == (AuditAction.DELETED, ("laptop", None))
    assert issued.secret not in str(entry)


async def test_removed_webhook_without_path_and_secret(harness: EngineHarness) -> None:
    request = WebhookRequest(url="https://hooks.example.org/a-secret-path", events=(WebhookEvent.TASK_DONE,))
    issued = await harness.execute(ADMIN, harness.engine.webhooks.add(ADMIN, request))
    await harness.execute(ADMIN, harness.engine.webhooks.remove(ADMIN, issued.webhook.id))
    entry = await last_entry(harness, "WEBHOOK")
    assert changes_of(entry) == {"origin": ("https://hooks.example.org", None), "events": (["task.done"], None)}
    assert "a-secret-path" not in str(entry)


async def test_rotated_key(harness: EngineHarness) -> None:
    uri = harness.engine.repository.device(GATEWAY).encryption.uri
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, uri))
    old, new = changes_of(await last_entry(harness, "KEY"))["fingerprint"]
    assert old != new
    assert changes_of(await last_entry(harness, "DEVICE_CONFIG"))["encryptionKeys[0].version"] == (1, 2)


async def test_changes_are_searched_stored_and_verified(harness: EngineHarness) -> None:
    await harness.set_policy(approval_timeout=3601)
    await harness.set_policy(approval_timeout=3602)
    page = await harness.engine.audit.page(ADMIN, AuditFilter(text="3601", resource_type="POLICY"), None, 10)
    assert len(page.entries) == 2
    await harness.close()
    assert verify_log(harness.audit_source).size > 0
    lines = [json.loads(line.data) for line in harness.audit_source.lines()]
    assert lines[-1]["changes"] == [{"path": "approvalTimeout", "old": 3601, "new": 3602}]
    assert all("changes" not in line for line in lines if line["change"] == AuditAction.CREATED)
