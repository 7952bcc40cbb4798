"""Tests of the warnings about certificates on tasks, reviews, configurations and in the health check."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import msgspec
import pytest

from sealyard.engine.state.tables import KEYS, TASKS
from sealyard.model.device_configs import DeviceConfig
from sealyard.model.keys import KeyInfo
from sealyard.model.requests import PackageRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.storage.documents import WriteBatch
from tests.support.clock import START
from tests.support.engine_harness import ADMIN, DEV, GATEWAY, OWNER, EngineHarness

pytestmark = pytest.mark.anyio

SIGNING = "local:gateway-signing"
DAY = timedelta(days=1)
EXPIRY = START + 2 * DAY
EXPIRES = f"The certificate of {SIGNING} version 1 expires on {EXPIRY:%Y-%m-%d} UTC."
EXPIRED = EXPIRES.replace("expires on", "expired on")


def set_certificate(
    harness: EngineHarness, *, expires_at: datetime, valid_from: datetime = START, origin: str = "imported"
) -> None:
    """Change the validity of the signing key's certificate, as recorded in the workspace."""
    info = harness.engine.repository.get(KEYS, SIGNING)
    assert isinstance(info, KeyInfo)
    version = msgspec.structs.replace(
        info.current, origin=origin, certificate_expires_at=expires_at, certificate_valid_from=valid_from
    )
    changed = msgspec.structs.replace(info, versions=(version,))
    harness.engine.store.submit(
        WriteBatch(puts=((KEYS.name, SIGNING, msgspec.Raw(msgspec.json.encode(changed))),))
    ).result()


def about_certificates(item: Task | DeviceConfig) -> tuple[str, ...]:
    """Return the warnings of a task or configuration without those about algorithms."""
    return tuple(warning for warning in item.warnings if SIGNING in warning)


async def list_tasks(harness: EngineHarness) -> tuple[Task, ...]:
    return (await harness.engine.queries.list_tasks(DEV, TaskFilter(), None, 10)).tasks


async def test_expiry_after_creation_is_shown_before_and_with_the_approval(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=EXPIRY)
    request = PackageRequest(config=GATEWAY, firmware=(await harness.upload(),))
    task = await harness.execute(DEV, harness.engine.creation.create_package(DEV, request))
    assert about_certificates(task) == (f"{EXPIRES} Import a renewed certificate.",)
    await harness.advance_clock(days=3)
    expected = (f"{EXPIRED} Import a renewed certificate.",)
    assert about_certificates((await harness.engine.reviews.review(OWNER, task.id)).task) == expected
    assert about_certificates(harness.engine.queries.get(DEV, task.id)) == expected
    assert [about_certificates(each) for each in await list_tasks(harness)] == [expected]
    assert about_certificates(await harness.approve(task)) == expected


async def test_finished_package_keeps_the_warning(harness: EngineHarness) -> None:
    task = await harness.done_package()
    set_certificate(harness, expires_at=EXPIRY)
    assert about_certificates(harness.engine.queries.get(DEV, task.id)) == (f"{EXPIRES} Import a renewed certificate.",)


async def test_warning_is_not_stored(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=EXPIRY)
    task = await harness.package()
    stored = harness.engine.repository.get(TASKS, task.id)
    assert stored is not None
    assert about_certificates(stored) == ()
    set_certificate(harness, expires_at=START + 700 * DAY)
    assert about_certificates(harness.engine.queries.get(DEV, task.id)) == ()


async def test_certificate_that_is_not_yet_valid_is_shown(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=START + 700 * DAY, valid_from=START + DAY)
    task = await harness.package()
    (warning,) = about_certificates((await harness.engine.reviews.review(OWNER, task.id)).task)
    assert f"is not valid before {START + DAY:%Y-%m-%d %H:%M} UTC" in warning
    await harness.advance_clock(days=1)
    assert about_certificates((await harness.engine.reviews.review(OWNER, task.id)).task) == ()


async def test_signing_tasks_warn_and_encryption_tasks_do_not(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=EXPIRY, origin="generated")
    assert f"{EXPIRES} Rotate the key." in (await harness.signing()).warnings
    assert not any("certificate" in each for each in (await harness.encryption()).warnings)


async def test_rejected_task_has_no_warning(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=EXPIRY)
    task = await harness.package()
    rejected = await harness.decide(task, OWNER, Verdict.REJECTED, "expired")
    assert (rejected.status, about_certificates(rejected)) == (TaskStatus.CANCELLED, ())


async def test_task_keeps_warning_of_its_version_after_rotation(harness: EngineHarness) -> None:
    set_certificate(harness, expires_at=EXPIRY, origin="generated")
    task = await harness.package()
    await harness.execute(ADMIN, harness.engine.devices.rotate_key(ADMIN, SIGNING))
    assert about_certificates((await harness.engine.reviews.review(OWNER, task.id)).task) == (EXPIRES,)
    newer_task = harness.engine.queries.get(DEV, (await harness.package()).id)
    assert about_certificates(newer_task) == ()


async def test_configuration_shows_state_of_certificate(harness: EngineHarness) -> None:
    devices = harness.engine.devices
    set_certificate(harness, expires_at=EXPIRY)
    warning = f"{EXPIRES} Import a renewed certificate."
    assert about_certificates(devices.get(DEV, GATEWAY)) == (warning,)
    assert about_certificates(devices.get(DEV, GATEWAY, 1)) == (warning,)
    assert about_certificates(devices.list_configs(DEV)[0]) == (warning,)
    assert (await harness.create_device("second", signing_key=SIGNING)).warnings[0] == warning
    assert about_certificates(harness.engine.repository.device(GATEWAY)) == ()


async def test_health_check_warns_and_stays_ready(harness: EngineHarness, caplog: pytest.LogCaptureFixture) -> None:
    set_certificate(harness, expires_at=EXPIRY)
    caplog.set_level(logging.WARNING)
    for _ in range(2):
        health = await harness.engine.health.health()
        assert health.ready
        assert {check.name: check.warning for check in health.checks if check.warning} == {
            "signing-key": f"{EXPIRES} Import a renewed certificate."
        }
        harness.clock.advance(seconds=61)
    assert caplog.text.count(EXPIRES) == 1
