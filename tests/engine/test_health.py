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


def proven(house: EngineHarness) -> list[tuple[str, int]]:
    """Which keys the workers were asked to prove."""
    proofs = [each for each in house.bus.asked if isinstance(each, ProbeSigningKey | ProbeEncryptionKey)]
    return [(each.key.uri, each.key.version) for each in proofs]


async def test_a_workspace_in_order_is_ready(house: EngineHarness) -> None:
    health = await house.engine.health.health()
    assert health.ready
    assert outcome(health) == [("store", True), ("worker", True), ("encryption-key", True), ("signing-key", True)]
    assert health.failures == ()


async def test_the_check_leaves_nothing_that_anybody_sees(house: EngineHarness) -> None:
    await house.wait_until_durable()
    entries, cursor = len(await house.audit_entries()), house.engine.events.cursor
    assert (await house.engine.health.health()).ready
    assert (len(await house.audit_entries()), house.engine.events.cursor) == (entries, cursor)


async def test_a_disk_that_refuses_is_told_and_the_store_works_again_after_it(
    house: EngineHarness, disk: FailingDisk
) -> None:
    disk.fail()
    health = await house.engine.health.health()
    assert outcome(health)[0] == ("store", False)
    assert not health.ready
    assert "disk is full" in health.failures[0].detail
    house.clock.advance(seconds=5)
    assert (await house.engine.health.health()).ready


async def test_without_a_worker_no_key_is_asked_for(house: EngineHarness) -> None:
    house.bus.start_error = WorkerError("The crypto worker did not start.")
    health = await house.engine.health.health()
    assert outcome(health) == [("store", True), ("worker", False)]
    assert not proven(house)


async def test_a_lost_key_is_told_by_name_to_those_who_run_the_workspace(house: EngineHarness) -> None:
    key = house.engine.repository.device(GATEWAY).signing
    house.shelf.delete(key.uri)
    health = await house.engine.health.health()
    assert not health.ready
    (failure,) = health.failures
    assert failure.name == "signing-key"
    assert key.uri in failure.subject


async def test_a_key_without_a_certificate_on_record_is_not_ready(house: EngineHarness) -> None:
    key = house.engine.repository.device(GATEWAY).signing
    house.engine.store.submit(WriteBatch(deletes=(("keys", key.uri),))).result()
    (failure,) = (await house.engine.health.health()).failures
    assert "certificate" in failure.detail


async def test_the_keys_of_current_configurations_are_proven_once_each_and_old_versions_not(
    house: EngineHarness,
) -> None:
    device = house.engine.repository.device(GATEWAY)
    shared = DeviceRequest(
        name="second",
        encryption=device.encryption.algorithm,
        signing=SigningAlgorithm.ED25519,
        use=("USER:dev",),
        approve=("USER:owner",),
        encryption_key=device.encryption.uri,
        signing_key=device.signing.uri,
    )
    await house.execute(ADMIN, house.engine.devices.create(ADMIN, shared))
    await house.execute(ADMIN, house.engine.devices.rotate_key(ADMIN, device.signing.uri))
    await house.engine.health.health()
    assert sorted(proven(house)) == sorted([(device.encryption.uri, 1), (device.signing.uri, 2)])


async def test_what_is_on_record_goes_along_to_be_checked_against(house: EngineHarness) -> None:
    await house.engine.health.health()
    (asked,) = [each for each in house.bus.asked if isinstance(each, ProbeSigningKey)]
    assert asked.certificate == house.shelf.infos[asked.key.uri].current.certificate


async def test_a_good_answer_holds_for_a_minute(house: EngineHarness) -> None:
    first = await house.engine.health.health()
    asked = len(house.bus.asked)
    house.clock.advance(seconds=59.9)
    assert await house.engine.health.health() is first
    assert len(house.bus.asked) == asked
    house.clock.advance(seconds=0.1)
    assert await house.engine.health.health() is not first


async def test_a_bad_answer_holds_for_five_seconds(house: EngineHarness) -> None:
    house.bus.start_error = WorkerError("The crypto worker did not start.")
    first = await house.engine.health.health()
    house.bus.start_error = None
    house.clock.advance(seconds=4.9)
    assert await house.engine.health.health() is first
    house.clock.advance(seconds=0.1)
    assert (await house.engine.health.health()).ready


async def test_all_who_ask_at_once_share_one_check(house: EngineHarness) -> None:
    house.bus.asked.clear()
    answers = await asyncio.gather(*(house.engine.health.health() for _ in range(20)))
    assert all(each is answers[0] for each in answers)
    assert len([each for each in house.bus.asked if isinstance(each, AuditPublicKey)]) == 1


async def test_an_asker_that_goes_away_takes_the_check_from_nobody(house: EngineHarness) -> None:
    house.bus.gate = asyncio.Event()
    impatient = asyncio.create_task(house.engine.health.health())
    patient = asyncio.create_task(house.engine.health.health())
    await house.wait_until(lambda: house.bus.asked and isinstance(house.bus.asked[-1], AuditPublicKey))
    impatient.cancel()
    house.bus.gate.set()
    assert (await patient).ready


async def test_whoever_asks_is_answered_though_a_worker_is_silent(
    house: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "TIMEOUT_SECONDS", 0.05)
    house.bus.gate = asyncio.Event()
    health = await house.engine.health.health()
    assert outcome(health) == [("answer", False)]
    house.bus.gate.set()
    await house.wait_until(lambda: len(proven(house)) == 2)
    assert (await house.engine.health.health()).ready


async def test_nobody_has_a_probe_signed_by_a_task(house: EngineHarness) -> None:
    entries = len(await house.audit_entries(AuditAction.REFUSED))
    with pytest.raises(InvalidKeyError, match="readiness probe"):
        await house.signing(message=probe_message("w1"))
    assert (
        len(await house.audit_entries(AuditAction.REFUSED)) + len(await house.audit_entries(AuditAction.FAILED))
        == entries + 1
    )
