"""Readiness says what would fail before somebody's work does, and asks no more than it has to."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.crypto.probe import probe_message
from sealyard.engine import health as readiness
from sealyard.model.algorithms import SigningAlgorithm
from sealyard.model.audit import AuditAction
from sealyard.model.errors import InvalidKeyError, WorkerError
from sealyard.model.health import Health
from sealyard.model.requests import DeviceRequest
from sealyard.model.worker_messages import AuditPublicKey, ProbeEncryptionKey, ProbeSigningKey
from sealyard.storage.documents import WriteBatch
from tests.support.engine_harness import ADMIN, GATEWAY, EngineHarness
from tests.support.failing_disk import FailingDisk

pytestmark = pytest.mark.anyio


def outcome(health: Health) -> list[tuple[str, bool]]:
    return [(each.name, each.passed) for each in health.checks]


def proven(harness: EngineHarness) -> list[tuple[str, int]]:
    """Which keys the workers were asked to prove."""
    proofs = [each for each in harness.bus.asked if isinstance(each, ProbeSigningKey | ProbeEncryptionKey)]
    return [(each.key.uri, each.key.version) for each in proofs]


async def test_a_workspace_in_order_is_ready(harness: EngineHarness) -> None:
    health = await harness.engine.health.health()
    assert health.ready
    assert outcome(health) == [("store", True), ("worker", True), ("encryption-key", True), ("signing-key", True)]
    assert health.failures == ()


async def test_the_check_leaves_nothing_that_anybody_sees(harness: EngineHarness) -> None:
    await harness.wait_until_durable()
    entries, cursor = len(await harness.audit_entries()), harness.engine.events.cursor
    assert (await harness.engine.health.health()).ready
    assert (len(await harness.audit_entries()), harness.engine.events.cursor) == (entries, cursor)


async def test_a_disk_that_refuses_is_told_and_the_store_works_again_after_it(
    harness: EngineHarness, disk: FailingDisk
) -> None:
    disk.fail()
    health = await harness.engine.health.health()
    assert outcome(health)[0] == ("store", False)
    assert not health.ready
    assert "disk is full" in health.failures[0].detail
    harness.clock.advance(seconds=5)
    assert (await harness.engine.health.health()).ready


async def test_without_a_worker_no_key_is_asked_for(harness: EngineHarness) -> None:
    harness.bus.start_error = WorkerError("The crypto worker did not start.")
    health = await harness.engine.health.health()
    assert outcome(health) == [("store", True), ("worker", False)]
    assert not proven(harness)


async def test_a_lost_key_is_told_by_name_to_those_who_run_the_workspace(harness: EngineHarness) -> None:
    key = harness.engine.repository.device(GATEWAY).signing
    harness.shelf.delete(key.uri)
    health = await harness.engine.health.health()
    assert not health.ready
    (failure,) = health.failures
    assert failure.name == "signing-key"
    assert key.uri in failure.subject


async def test_a_key_without_a_certificate_on_record_is_not_ready(harness: EngineHarness) -> None:
    key = harness.engine.repository.device(GATEWAY).signing
    harness.engine.store.submit(WriteBatch(deletes=(("keys", key.uri),))).result()
    (failure,) = (await harness.engine.health.health()).failures
    assert "certificate" in failure.detail


async def test_the_keys_of_current_configurations_are_proven_once_each_and_old_versions_not(
    harness: EngineHarness,
) -> None:
    device = harness.engine.repository.device(GATEWAY)
    shared = DeviceRequest(
        name="second",
        encryption=device.encryption.algorithm,
        signing=SigningAlgorithm.ED25519,
        use=("USER:dev",),
        approve=("USER:owner",),
        encryption_key=device.encryption.uri,
        signing_key=device.signing.uri,
    )
    await harness.execute(ADMIN, harness.engine.devices.create(ADMIN, shared))
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, device.signing.uri))
    await harness.engine.health.health()
    assert sorted(proven(harness)) == sorted([(device.encryption.uri, 1), (device.signing.uri, 2)])


async def test_what_is_on_record_goes_along_to_be_checked_against(harness: EngineHarness) -> None:
    await harness.engine.health.health()
    (asked,) = [each for each in harness.bus.asked if isinstance(each, ProbeSigningKey)]
    assert asked.certificate == harness.shelf.infos[asked.key.uri].current.certificate


async def test_a_good_answer_holds_for_a_minute(harness: EngineHarness) -> None:
    first = await harness.engine.health.health()
    asked = len(harness.bus.asked)
    harness.clock.advance(seconds=59.9)
    assert await harness.engine.health.health() is first
    assert len(harness.bus.asked) == asked
    harness.clock.advance(seconds=0.1)
    assert await harness.engine.health.health() is not first


async def test_a_bad_answer_holds_for_five_seconds(harness: EngineHarness) -> None:
    harness.bus.start_error = WorkerError("The crypto worker did not start.")
    first = await harness.engine.health.health()
    harness.bus.start_error = None
    harness.clock.advance(seconds=4.9)
    assert await harness.engine.health.health() is first
    harness.clock.advance(seconds=0.1)
    assert (await harness.engine.health.health()).ready


async def test_all_who_ask_at_once_share_one_check(harness: EngineHarness) -> None:
    harness.bus.asked.clear()
    answers = await asyncio.gather(*(harness.engine.health.health() for _ in range(20)))
    assert all(each is answers[0] for each in answers)
    assert len([each for each in harness.bus.asked if isinstance(each, AuditPublicKey)]) == 1


async def test_an_asker_that_goes_away_takes_the_check_from_nobody(harness: EngineHarness) -> None:
    harness.bus.gate = asyncio.Event()
    impatient = asyncio.create_task(harness.engine.health.health())
    patient = asyncio.create_task(harness.engine.health.health())
    await harness.wait_until(lambda: harness.bus.asked and isinstance(harness.bus.asked[-1], AuditPublicKey))
    impatient.cancel()
    harness.bus.gate.set()
    assert (await patient).ready


async def test_whoever_asks_is_answered_though_a_worker_is_silent(
    harness: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT_SECONDS", 0.05)
    harness.bus.gate = asyncio.Event()
    health = await harness.engine.health.health()
    assert outcome(health) == [("answer", False)]
    harness.bus.gate.set()
    await harness.wait_until(lambda: len(proven(harness)) == 2)
    assert (await harness.engine.health.health()).ready


async def test_nobody_has_a_probe_signed_by_a_task(harness: EngineHarness) -> None:
    entries = len(await harness.audit_entries(AuditAction.REFUSED))
    with pytest.raises(InvalidKeyError, match="readiness probe"):
        await harness.signing(message=probe_message("w1"))
    assert (
        len(await harness.audit_entries(AuditAction.REFUSED)) + len(await harness.audit_entries(AuditAction.FAILED))
        == entries + 1
    )
