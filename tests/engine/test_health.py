"""Tests of the health check: its results, their caching, and the probes of keys."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.crypto.probe import probe_message
from sealyard.engine import health as health_module
from sealyard.model.audit import AuditAction
from sealyard.model.errors import InvalidKeyError, WorkerError
from sealyard.model.health import Health
from sealyard.model.key_commands import AuditPublicKey, ProbeEncryptionKey, ProbeSigningKey
from sealyard.model.worker_messages import RefusedMeasure
from sealyard.storage.documents import WriteBatch
from tests.support.engine_harness import ADMIN, GATEWAY, EngineHarness, device_request
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio


def check_results(health: Health) -> list[tuple[str, bool]]:
    return [(each.name, each.passed) for each in health.checks]


def probed_keys(harness: EngineHarness) -> list[tuple[str, int]]:
    """Return the URIs and versions of the keys that the workers were requested to probe."""
    probes = [each for each in harness.bus.commands if isinstance(each, ProbeSigningKey | ProbeEncryptionKey)]
    return [(each.key.uri, each.key.version) for each in probes]


async def test_working_workspace_is_ready(harness: EngineHarness) -> None:
    health = await harness.engine.health.health()
    assert health.ready
    assert check_results(health) == [
        ("store", True),
        ("worker", True),
        ("encryption-key", True),
        ("signing-key", True),
        ("audit-key", True),
        ("clock", True),
    ]
    assert health.failures == ()


async def test_refused_measures_of_confinement_are_warnings(harness: EngineHarness) -> None:
    harness.bus.refused_measures = (RefusedMeasure(name="landlock", reason="Function not implemented"),)
    health = await harness.engine.health.health()
    assert health.ready
    [check] = [each for each in health.checks if each.name == "confinement-landlock"]
    assert "landlock: Function not implemented" in check.warning


async def test_check_adds_no_audit_entry_or_event(harness: EngineHarness) -> None:
    await harness.wait_until_durable()
    entries, cursor = len(await harness.audit_entries()), harness.engine.events.cursor
    assert (await harness.engine.health.health()).ready
    assert (len(await harness.audit_entries()), harness.engine.events.cursor) == (entries, cursor)


async def test_disk_failure_is_reported_until_recovery(harness: EngineHarness, disk: FailingDisk) -> None:
    disk.fail()
    health = await harness.engine.health.health()
    assert check_results(health)[0] == ("store", False)
    assert not health.ready
    assert "disk is full" in health.failures[0].detail
    harness.clock.advance(seconds=5)
    assert (await harness.engine.health.health()).ready


async def test_worker_failure_skips_key_checks(harness: EngineHarness) -> None:
    harness.bus.start_error = WorkerError("The crypto worker did not start.")
    health = await harness.engine.health.health()
    assert check_results(health) == [("store", True), ("worker", False), ("clock", True)]
    assert not probed_keys(harness)


async def test_missing_key_is_reported_with_uri(harness: EngineHarness) -> None:
    key = harness.engine.repository.device(GATEWAY).signing
    harness.shelf.delete(key.uri)
    health = await harness.engine.health.health()
    assert not health.ready
    (failure,) = health.failures
    assert failure.name == "signing-key"
    assert key.uri in failure.subject


async def test_key_without_certificate_fails(harness: EngineHarness) -> None:
    key = harness.engine.repository.device(GATEWAY).signing
    harness.engine.store.submit(WriteBatch(deletes=(("keys", key.uri),))).result()
    (failure,) = (await harness.engine.health.health()).failures
    assert "certificate" in failure.detail


async def test_each_current_key_is_probed_once(
    harness: EngineHarness,
) -> None:
    device = harness.engine.repository.device(GATEWAY)
    request = device_request(
        "second",
        encryption=device.encryption.algorithm,
        use=("USER:dev",),
        approve=("USER:owner",),
        encryption_key=device.encryption.uri,
        signing_key=device.signing.uri,
    )
    await harness.execute(ADMIN, harness.engine.devices.create(ADMIN, request))
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, device.signing.uri))
    await harness.engine.health.health()
    assert sorted(probed_keys(harness)) == sorted([(device.encryption.uri, 1), (device.signing.uri, 2)])


async def test_signing_probe_contains_recorded_certificate(harness: EngineHarness) -> None:
    await harness.engine.health.health()
    (probe,) = [each for each in harness.bus.commands if isinstance(each, ProbeSigningKey)]
    assert probe.certificate == harness.shelf.infos[probe.key.uri].current.certificate


async def test_healthy_result_is_cached_one_minute(harness: EngineHarness) -> None:
    first_result = await harness.engine.health.health()
    request_count = len(harness.bus.commands)
    harness.clock.advance(seconds=59.9)
    assert await harness.engine.health.health() is first_result
    assert len(harness.bus.commands) == request_count
    harness.clock.advance(seconds=0.1)
    assert await harness.engine.health.health() is not first_result


async def test_failed_result_is_cached_five_seconds(harness: EngineHarness) -> None:
    harness.bus.start_error = WorkerError("The crypto worker did not start.")
    first_result = await harness.engine.health.health()
    harness.bus.start_error = None
    harness.clock.advance(seconds=4.9)
    assert await harness.engine.health.health() is first_result
    harness.clock.advance(seconds=0.1)
    assert (await harness.engine.health.health()).ready


async def test_clock_set_back_does_not_extend_cache(harness: EngineHarness) -> None:
    first_result = await harness.engine.health.health()
    harness.clock.jump(days=-1)
    harness.clock.advance(seconds=60)
    assert await harness.engine.health.health() is not first_result


async def test_concurrent_requests_share_one_check(harness: EngineHarness) -> None:
    harness.bus.commands.clear()
    results = await asyncio.gather(*(harness.engine.health.health() for _ in range(20)))
    assert all(each is results[0] for each in results)
    assert len([each for each in harness.bus.commands if isinstance(each, AuditPublicKey)]) == 1


async def test_cancelled_request_keeps_shared_check(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    cancelled_request = asyncio.create_task(harness.engine.health.health())
    second_request = asyncio.create_task(harness.engine.health.health())
    await harness.wait_until(lambda: harness.bus.commands and isinstance(harness.bus.commands[-1], AuditPublicKey))
    cancelled_request.cancel()
    harness.bus.gate.set()
    assert (await second_request).ready


async def test_unresponsive_worker_fails_after_timeout(harness: EngineHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.bus.gate = asyncio.Event()
    with monkeypatch.context() as context:
        context.setattr(health_module, "TIMEOUT_SECONDS", 0.05)
        health = await harness.engine.health.health()
    assert check_results(health) == [("answer", False)]
    harness.bus.gate.set()
    await harness.wait_until(lambda: len(probed_keys(harness)) == 2)
    assert (await harness.engine.health.health()).ready


async def test_signing_task_with_probe_message_is_rejected(harness: EngineHarness) -> None:
    refusal_count = len(await harness.audit_entries(AuditAction.REFUSED))
    with pytest.raises(InvalidKeyError, match="readiness probe"):
        await harness.signing(message=probe_message("w1"))
    assert (
        len(await harness.audit_entries(AuditAction.REFUSED)) + len(await harness.audit_entries(AuditAction.FAILED))
        == refusal_count + 1
    )
