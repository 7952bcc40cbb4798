"""Tests of notices of expiring certificates: once for each certificate and threshold, to approvers and webhooks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from sealyard.engine.devices.certificate_monitor import CertificateMonitor
from sealyard.engine.state.tables import CERTIFICATE_NOTICES, DEAD_LETTERS, OUTBOX
from sealyard.model.audit import AuditAction
from sealyard.model.errors import StorageError
from sealyard.model.notifications import NotificationEvent
from sealyard.model.requests import CertificateContent
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from tests.support.authority import Authority, encode_chain
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness
from tests.support.failing_disk import FailingDisk
from tests.support.notification_harness import add_target, discard_obsolete, next_delivery, pending_events

pytestmark = pytest.mark.anyio

SIGNING = "local:gateway-signing"
EXPIRING = WebhookEvent.CERTIFICATE_EXPIRING.value


async def check(harness: EngineHarness, *, days: float = 0) -> None:
    """Let the time pass, and check the certificates as the background loop does, each time with a new monitor."""
    if days:
        await harness.advance_clock(days=days)
    await CertificateMonitor(harness.engine.repository).check()


def stored_days(harness: EngineHarness) -> dict[str, int]:
    return {notice.subject: notice.days for notice in harness.engine.repository.list_all(CERTIFICATE_NOTICES)}


async def import_chain(harness: EngineHarness, *, days: int, issuer_days: int) -> None:
    """Renew the certificate of the signing key; ``days``: how long it and its issuer are valid from now on."""
    start = harness.clock.now()
    root = Authority("root", start=start)
    issuer = Authority("issuer", root, start=start, days=issuer_days)
    leaf = issuer.issue(harness.shelf.private[SIGNING, 1].public_key(), start=start, days=days)
    request = CertificateContent(uri=SIGNING, content=encode_chain(leaf, issuer.certificate))
    await harness.execute(ADMIN, harness.engine.devices.import_certificate(ADMIN, request))


async def test_approvers_are_notified_once_per_threshold(harness: EngineHarness) -> None:
    owner, dev = await add_target(harness, OWNER), await add_target(harness, DEV)
    team = await add_target(harness, "", device_config=GATEWAY)
    await check(harness, days=330)
    assert pending_events(harness, owner) == []
    for count, days in enumerate((10, 20, 10), start=1):
        await check(harness, days=days)
        await check(harness)
        await harness.reopen()
        await check(harness)
        assert pending_events(harness, owner) == pending_events(harness, team) == [EXPIRING] * count
    assert pending_events(harness, dev) == []
    await check(harness, days=100)
    assert pending_events(harness, owner) == [EXPIRING] * 3
    messages = [entry.message for entry in await harness.audit_entries(AuditAction.STATUS_CHANGED, f"KEY:{SIGNING}")]
    assert [" expires on " in message for message in messages] == [True, True, False]


async def test_notice_names_certificate_and_configurations(harness: EngineHarness) -> None:
    await harness.create_device("door", signing_key=SIGNING)
    await import_chain(harness, days=300, issuer_days=20)
    target = await add_target(harness, OWNER)
    await check(harness)
    assert stored_days(harness) == {"CN=issuer": 30}
    delivery = await next_delivery(harness, target)
    expiry = f"{harness.clock.now() + timedelta(days=20):%Y-%m-%d}"
    assert delivery.title == f"The certificate CN=issuer of {SIGNING} expires on {expiry} UTC"
    assert f"sealyard key certificate {SIGNING} --chain FILE" in delivery.body
    assert "Used by: gateway, door" in delivery.body or "Used by: door, gateway" in delivery.body


async def test_target_of_another_configuration_is_not_notified(harness: EngineHarness) -> None:
    await harness.create_device("sensor")
    sensor = await add_target(harness, "", device_config="sensor")
    without_event = await add_target(harness, OWNER, NotificationEvent.WAITING)
    await import_chain(harness, days=10, issuer_days=300)
    await check(harness)
    assert stored_days(harness) == {"CN=signer": 30}
    assert (pending_events(harness, sensor), pending_events(harness, without_event)) == ([], [])


async def test_renewal_discards_queued_notices(harness: EngineHarness) -> None:
    await import_chain(harness, days=5, issuer_days=300)
    target = await add_target(harness, OWNER)
    await check(harness)
    assert stored_days(harness) == {"CN=signer": 7}
    await import_chain(harness, days=300, issuer_days=300)
    await check(harness)
    assert stored_days(harness) == {}
    await discard_obsolete(harness, target)


async def test_corrected_clock_repeats_notice(harness: EngineHarness) -> None:
    owner = await add_target(harness, OWNER)
    await import_chain(harness, days=100, issuer_days=300)
    harness.clock.jump(days=99)
    await check(harness)
    assert stored_days(harness) == {"CN=signer": 7}
    harness.clock.jump(days=-99)
    await check(harness)
    assert stored_days(harness) == {}
    harness.clock.jump(days=80)
    await check(harness)
    assert (stored_days(harness), pending_events(harness, owner)) == ({"CN=signer": 30}, [EXPIRING] * 2)


async def test_notice_that_was_not_committed_is_repeated(harness: EngineHarness, disk: FailingDisk) -> None:
    owner = await add_target(harness, OWNER)
    await import_chain(harness, days=5, issuer_days=300)
    disk.fail()
    with pytest.raises(StorageError):
        await check(harness)
    assert (stored_days(harness), pending_events(harness, owner)) == ({}, [])
    await check(harness)
    assert pending_events(harness, owner) == [EXPIRING]


async def test_webhooks_receive_the_notice(harness: EngineHarness) -> None:
    webhooks = harness.engine.webhooks
    request = WebhookRequest(url="https://192.0.2.7/hook", events=(WebhookEvent.CERTIFICATE_EXPIRING,))
    await harness.execute(ADMIN, webhooks.add(ADMIN, request))
    await import_chain(harness, days=5, issuer_days=300)
    await check(harness)
    (message,) = harness.engine.repository.list_all(OUTBOX)
    assert message.change.notification is WebhookEvent.CERTIFICATE_EXPIRING
    await harness.engine.webhook_outbox.move_to_dead_letters([message], "gone")
    (letter,) = harness.engine.repository.list_all(DEAD_LETTERS)
    assert (letter.dead_letter.key, letter.dead_letter.task_id) == (SIGNING, "")
