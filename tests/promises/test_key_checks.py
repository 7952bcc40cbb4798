"""Promises about the checks of keys.

24: Each active key is proven able to work, all the time, by a check that can do nothing else.
25: The check itself is tested: an expired certificate must raise an alarm.
"""

from __future__ import annotations

import asyncio
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.protocol import Client
from sealyard.engine.state.tables import KEY_FAILURES, OUTBOX
from sealyard.model.audit import AuditAction, AuditFilter
from sealyard.model.key_checks import KeyCheck
from sealyard.model.key_commands import ProbeAuditKey, ProbeEncryptionKey, ProbeSigningKey
from sealyard.model.webhooks import WebhookEvent, WebhookRequest
from tests.support.client_kinds import ADMIN, GATEWAY, PASSPHRASE, OffsetClock
from tests.support.key_holders import unlock
from tests.support.limits import TIMEOUT

PERIOD = 0.5
"""Seconds between two checks of a key."""


async def open_engine(folder: Path, clock: OffsetClock | None = None) -> EngineHandle:
    return await EngineHandle.open(
        folder, purpose="test", key_holder=unlock(PASSPHRASE), work=False, clock=clock, key_check_interval=PERIOD
    )


async def wait_for_failures(client: Client, count: int) -> tuple[KeyCheck, ...]:
    """Wait for events until the workspace has this number of failing keys, and return the failures."""
    events = client.events(await client.cursor())
    async with asyncio.timeout(TIMEOUT):
        while len(failures := (await client.workspace()).key_failures) != count:
            await anext(aiter(events))
    return failures


def hide_keys(folder: Path) -> Path:
    """Move the files of all local keys away, as a failing disk would lose them."""
    hidden = folder / "keys" / "hidden"
    (folder / "keys" / "local").rename(hidden)
    return hidden


def test_promise_24_broken_key_raises_an_alarm_without_a_request(folder: Path) -> None:
    """The alarm reaches clients, webhooks and the audit log; so does the recovery."""

    async def run() -> None:
        engine = await open_engine(folder)
        try:
            admin = engine.client(ADMIN)
            await admin.add_webhook(WebhookRequest(url="https://192.0.2.7/hook", events=(WebhookEvent.KEY_FAILED,)))
            device = await admin.device(GATEWAY)
            hidden = hide_keys(folder)
            failures = await wait_for_failures(admin, 2)
            assert {each.uri for each in failures} == set(device.key_uris)
            assert len(list(engine.engine.repository.list_all(OUTBOX))) == 2
            assert any(failures[0].warning in each for each in (await admin.workspace()).warnings)
            entries = (await admin.audit(AuditFilter(change=AuditAction.FAILED, resource_type="KEY"))).entries
            assert {each.resource for each in entries} == {f"KEY:{uri}" for uri in device.key_uris}
            shutil.rmtree(folder / "keys" / "local", ignore_errors=True)
            hidden.rename(folder / "keys" / "local")
            await wait_for_failures(admin, 0)
            filters = AuditFilter(change=AuditAction.STATUS_CHANGED, resource_type="KEY")
            assert len((await admin.audit(filters)).entries) == 2
        finally:
            await engine.close()

    asyncio.run(run())


def test_promise_24_check_cannot_sign_other_data() -> None:
    """No command for a check contains data to sign: the worker creates the probe itself and returns no signature."""
    assert set(ProbeSigningKey.__struct_fields__) == {"key", "certificate"}
    assert set(ProbeEncryptionKey.__struct_fields__) == {"key"}
    assert set(ProbeAuditKey.__struct_fields__) == {"public_key"}


@pytest.mark.parametrize("offset", [timedelta(days=40 * 365), timedelta(days=-400)], ids=["expired", "not yet valid"])
def test_promise_25_invalid_certificate_raises_an_alarm(folder: Path, offset: timedelta) -> None:
    async def run() -> None:
        clock = OffsetClock()
        clock.ahead = offset
        engine = await open_engine(folder, clock)
        try:
            (failure,) = await wait_for_failures(engine.client(ADMIN), 1)
            assert failure.code == "key-refused"
            assert "certificate of local:gateway-signing version 1" in failure.error
            health = await engine.run(engine.engine.health.health())
            assert [each.name for each in health.failures if each.name != "clock"] == ["signing-key"]
            assert [each.uri for each in engine.engine.repository.list_all(KEY_FAILURES)] == ["local:gateway-signing"]
        finally:
            await engine.close()

    asyncio.run(run())
