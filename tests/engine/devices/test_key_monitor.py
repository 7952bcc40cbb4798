"""Tests of the background checks of keys, with a fake clock."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import msgspec
import pytest

from sealyard.engine.state.tables import KEY_FAILURES, KEYS, OUTBOX
from sealyard.model.audit import AuditAction
from sealyard.model.errors import StorageError, WorkerError
from sealyard.model.events import WorkspaceChanged
from sealyard.model.key_checks import KeyUse
from sealyard.model.key_commands import KeyCommand, ProbeAuditKey, ProbeEncryptionKey, ProbeSigningKey
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from sealyard.model.worker_messages import KeyResponse
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio

INTERVAL = 600.0
KEY_COUNT = 3  # encryption, signing and audit key


def count_probes(harness: EngineHarness) -> int:
    probes = ProbeSigningKey | ProbeEncryptionKey | ProbeAuditKey
    return len([each for each in harness.bus.commands if isinstance(each, probes)])


async def pass_time(harness: EngineHarness, seconds: float = INTERVAL) -> None:
    """Let the time pass, and check the keys that are due."""
    await harness.engine.key_monitor.check_due_keys(INTERVAL)
    harness.clock.advance(seconds=seconds)
    await harness.engine.key_monitor.check_due_keys(INTERVAL)


def break_signing_key(harness: EngineHarness) -> str:
    """Delete the private signing key, as a key store could lose it, and return the URI of the key."""
    uri = harness.engine.repository.device(GATEWAY).signing.uri
    harness.shelf.delete(uri)
    return uri


def repair_signing_key(harness: EngineHarness, uri: str, key: object) -> None:
    harness.shelf.private[uri, 1] = key  # type: ignore[assignment]


async def set_certificate_period(harness: EngineHarness, *, start: timedelta, end: timedelta) -> None:
    """Change the recorded period of the certificate of the signing key, relative to now."""
    key = harness.engine.repository.get(KEYS, harness.engine.repository.device(GATEWAY).signing.uri)
    assert key is not None
    now = harness.clock.now()
    version = msgspec.structs.replace(key.current, certificate_valid_from=now + start, certificate_expires_at=now + end)
    unit_of_work = harness.engine.repository.begin()
    unit_of_work.put(KEYS, key.uri, msgspec.structs.replace(key, versions=(version,)))
    await unit_of_work.commit()


async def test_each_key_is_probed_once_per_interval(harness: EngineHarness) -> None:
    await harness.engine.key_monitor.check_due_keys(INTERVAL)
    harness.bus.commands.clear()
    for _ in range(2 * 60):
        harness.clock.advance(seconds=10)
        await harness.engine.key_monitor.check_due_keys(INTERVAL)
    assert count_probes(harness) == 2 * KEY_COUNT


async def test_probes_are_spread_over_the_interval(harness: EngineHarness) -> None:
    await harness.engine.key_monitor.check_due_keys(INTERVAL)
    counts = []
    for _ in range(KEY_COUNT):
        harness.clock.advance(seconds=INTERVAL / KEY_COUNT)
        await harness.engine.key_monitor.check_due_keys(INTERVAL)
        counts.append(count_probes(harness))
    assert counts == [1, 2, 3]


async def test_loop_probes_keys_without_a_request(harness: EngineHarness) -> None:
    harness.key_check_interval = INTERVAL
    await harness.reopen()
    for _ in range(11):
        await harness.wait_until(lambda: harness.clock.has_sleeper(INTERVAL))
        harness.clock.advance(seconds=60)
    await harness.wait_until(lambda: count_probes(harness) >= 1)


async def test_jump_of_the_system_time_changes_no_interval(harness: EngineHarness) -> None:
    await harness.engine.key_monitor.check_due_keys(INTERVAL)
    harness.clock.jump(days=-3)
    await pass_time(harness)
    assert count_probes(harness) == KEY_COUNT


async def test_failure_and_recovery_are_audited_once(harness: EngineHarness) -> None:
    uri = harness.engine.repository.device(GATEWAY).signing.uri
    key = harness.shelf.private[uri, 1]
    break_signing_key(harness)
    for _ in range(3):
        await pass_time(harness)
    (failure,) = await harness.audit_entries(AuditAction.FAILED, f"KEY:{uri}")
    assert (failure.author, failure.code) == ("SYSTEM:engine", "not-found")
    assert failure.message.startswith(f"{uri} version 1 failed its last check: ")
    repair_signing_key(harness, uri, key)
    for _ in range(3):
        await pass_time(harness)
    (recovery,) = await harness.audit_entries(AuditAction.STATUS_CHANGED, f"KEY:{uri}")
    assert recovery.message == f"{uri} version 1 works again"
    assert len(await harness.audit_entries(AuditAction.FAILED, f"KEY:{uri}")) == 1


async def test_restart_does_not_repeat_the_failure(harness: EngineHarness) -> None:
    uri = break_signing_key(harness)
    await pass_time(harness)
    await harness.reopen()
    await pass_time(harness)
    assert len(await harness.audit_entries(AuditAction.FAILED, f"KEY:{uri}")) == 1
    assert [each.uri for each in harness.engine.repository.list_all(KEY_FAILURES)] == [uri]


async def test_failed_key_is_checked_again_after_a_minute(harness: EngineHarness) -> None:
    uri = harness.engine.repository.device(GATEWAY).signing.uri
    key = harness.shelf.private[uri, 1]
    break_signing_key(harness)
    await pass_time(harness)
    repair_signing_key(harness, uri, key)
    await pass_time(harness, 60)
    assert not list(harness.engine.repository.list_all(KEY_FAILURES))


async def test_rotated_key_is_no_failure_any_more(harness: EngineHarness) -> None:
    uri = break_signing_key(harness)
    await pass_time(harness)
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, uri))
    await pass_time(harness)
    assert not list(harness.engine.repository.list_all(KEY_FAILURES))
    (entry,) = await harness.audit_entries(AuditAction.STATUS_CHANGED, f"KEY:{uri}")
    assert entry.message == f"{uri} version 1 is no longer in use"


@pytest.mark.file_store
async def test_audit_key_is_checked_against_the_stored_one(harness: EngineHarness) -> None:
    path = harness.paths.audit / "audit-key.pem"
    path.rename(path.with_suffix(".moved"))
    await pass_time(harness)
    (failure,) = harness.engine.repository.list_all(KEY_FAILURES)
    assert failure.use is KeyUse.AUDIT
    assert "is missing from the audit log" in failure.error
    (entry,) = await harness.audit_entries(AuditAction.FAILED, "KEY:audit")
    assert entry.message.startswith("The audit key failed its last check: ")


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (timedelta(days=-400), timedelta(days=-1), "expired on"),
        (timedelta(days=1), timedelta(days=400), "is not valid before"),
    ],
)
async def test_invalid_certificate_fails_the_check(
    harness: EngineHarness, start: timedelta, end: timedelta, message: str
) -> None:
    await set_certificate_period(harness, start=start, end=end)
    await pass_time(harness)
    (failure,) = harness.engine.repository.list_all(KEY_FAILURES)
    assert (failure.use, failure.code) == (KeyUse.SIGNING, "key-refused")
    assert message in failure.error


async def test_certificate_that_expires_soon_is_only_a_warning(harness: EngineHarness) -> None:
    await set_certificate_period(harness, start=timedelta(days=-300), end=timedelta(days=29))
    await pass_time(harness)
    assert not list(harness.engine.repository.list_all(KEY_FAILURES))
    health = await harness.engine.health.health()
    assert health.ready
    assert [each.name for each in health.checks if each.warning] == ["signing-key"]


async def test_worker_failure_is_retried_once(harness: EngineHarness) -> None:
    request, failures = harness.bus.request, [WorkerError("The worker died.")]

    async def fail_once(command: KeyCommand) -> KeyResponse:
        if isinstance(command, ProbeSigningKey) and failures:
            raise failures.pop()
        return await request(command)

    harness.bus.request = fail_once  # type: ignore[method-assign]
    await pass_time(harness)
    assert not list(harness.engine.repository.list_all(KEY_FAILURES))
    failures += [WorkerError("The worker died."), WorkerError("The worker died.")]
    await pass_time(harness)
    (failure,) = harness.engine.repository.list_all(KEY_FAILURES)
    assert failure.code == "worker"


async def test_failure_that_cannot_be_stored_is_recorded_later(harness: EngineHarness, disk: FailingDisk) -> None:
    uri = break_signing_key(harness)
    await harness.engine.key_monitor.check_due_keys(INTERVAL)
    harness.clock.advance(seconds=INTERVAL)
    disk.fail()
    with pytest.raises(StorageError):
        await harness.engine.key_monitor.check_due_keys(INTERVAL)
    await pass_time(harness)
    assert len(await harness.audit_entries(AuditAction.FAILED, f"KEY:{uri}")) == 1


async def test_change_is_sent_to_clients_and_webhooks(harness: EngineHarness) -> None:
    await harness.execute(ADMIN, harness.engine.webhooks.add(ADMIN, WebhookRequest(url="https://192.0.2.7/hook")))
    cursor = harness.engine.events.cursor
    uri = break_signing_key(harness)
    await pass_time(harness)
    events = [each for each in harness.engine.events._events_since(cursor) if isinstance(each, WorkspaceChanged)]
    assert [each.resource for each in events] == [f"KEY:{uri}", "WORKSPACE"]
    assert events[0].notification is WebhookEvent.KEY_FAILED
    (message,) = harness.engine.repository.list_all(OUTBOX)
    assert isinstance(message.change, WorkspaceChanged)
    assert message.change.key_check is not None
    assert message.change.key_check.uri == uri
    visible = harness.engine.queries.visible_event(DEV, events[0])
    assert visible == msgspec.structs.replace(events[0], resource="KEY", key_check=None)


async def test_failure_is_a_warning_of_workspace_and_configuration(harness: EngineHarness) -> None:
    uri = break_signing_key(harness)
    await pass_time(harness)
    warning = harness.engine.devices.get(ADMIN, GATEWAY).warnings[0]
    assert warning.startswith(f"{uri} version 1 failed its last check: ")
    assert [each.uri for each in harness.engine.keys.failures(ADMIN)] == [uri]
    assert harness.engine.keys.failures("USER:stranger") == ()


async def test_health_uses_the_last_result(harness: EngineHarness) -> None:
    assert (await harness.engine.health.health()).ready
    probe_count = count_probes(harness)
    assert probe_count == KEY_COUNT
    uri = harness.engine.repository.device(GATEWAY).signing.uri
    key = harness.shelf.private[uri, 1]
    break_signing_key(harness)
    harness.clock.advance(seconds=61)
    assert (await harness.engine.health.health()).ready
    assert count_probes(harness) == probe_count
    await pass_time(harness)
    assert not (await harness.engine.health.health()).ready  # although the last health is not a minute old
    repair_signing_key(harness, uri, key)
    await pass_time(harness, 60)
    assert (await harness.engine.health.health()).ready


async def test_concurrent_requests_probe_each_key_once(harness: EngineHarness) -> None:
    await asyncio.gather(harness.engine.health.health(), harness.engine.health.health(), pass_time(harness, 0))
    assert count_probes(harness) == KEY_COUNT
