"""Key commands to a zone."""

from __future__ import annotations

import asyncio

import pytest

from sealyard.jobs.zone import commands
from sealyard.model.algorithms import KeyPurpose, KeyType
from sealyard.model.errors import IntegrityError, InvalidKeyError, WorkerError, ZoneUnavailableError
from sealyard.model.key_commands import AuditPublicKey, DescribeKey, ExportKey, GenerateKey, ProbeProviders, RotateKey
from sealyard.model.worker_messages import KeyResponse
from sealyard.model.zone_messages import CommandFailed, SealedResponse
from tests.support.zone_bus import Engine, ZoneHarness, make_task

GENERATE = GenerateKey(
    uri="local:k", kind=KeyType.ED25519, purpose=KeyPurpose.DATA, subject="CN=k", created_by="USER:a"
)


async def start(engine: Engine) -> None:
    """Receive reports, which include responses."""
    await engine.reserve(make_task("other"))


async def test_command_is_encrypted_both_ways(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        request = asyncio.create_task(engine.bus.request(ExportKey(uri="local:secret-name", version=1)))
        received = await host.take_command()
        assert received.command == ExportKey(uri="local:secret-name", version=1)
        assert not received.request.changes_keys
        await host.respond(received, KeyResponse(request_id=received.request.request_id, secret=b"the secret"))
        assert (await request).secret == b"the secret"
        await engine.wait_written()
        stored = zone.database.execute("SELECT string_agg(encode(body, 'escape'), '') FROM bus.instruction")
        assert stored == [(None,)]
        assert zone.database.execute("SELECT count(*) FROM bus.report") == [(0,)]


async def test_error_of_the_worker_is_raised(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        request = asyncio.create_task(engine.bus.request(ProbeProviders()))
        received = await host.take_command()
        error = InvalidKeyError("No such key.").to_info()
        await host.respond(received, KeyResponse(request_id=received.request.request_id, error=error))
        with pytest.raises(InvalidKeyError, match="No such key"):
            await request


async def test_failure_of_the_agent_is_raised(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        request = asyncio.create_task(engine.bus.request(RotateKey(uri="local:k")))
        received = await host.take_command()
        error = WorkerError("No worker can be started.").to_info()
        await host.send(CommandFailed(request_id=received.request.request_id, error=error))
        with pytest.raises(WorkerError, match="No worker"):
            await request


async def test_idempotent_command_is_sent_again_once(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        request = asyncio.create_task(engine.bus.request(DescribeKey(uri="local:k")))
        received = await host.take_command()
        error = WorkerError("The worker exited.").to_info()
        await host.send(CommandFailed(request_id=received.request.request_id, error=error))
        again = await host.take_command()
        await host.respond(again, KeyResponse(request_id=again.request.request_id, text="done"))
        assert (await request).text == "done"


async def test_response_to_another_request_is_rejected(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        request = asyncio.create_task(engine.bus.request(ProbeProviders()))
        received = await host.take_command()
        await host.report(SealedResponse(request_id=received.request.request_id + 1, ciphertext=b"x"))
        await host.respond(received, KeyResponse(request_id=received.request.request_id + 1))
        with pytest.raises(IntegrityError, match="invalid"):
            await request


async def test_key_changes_are_serialized(zone: ZoneHarness) -> None:
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        requests = [asyncio.create_task(engine.bus.request(GENERATE)) for _ in range(2)]
        first = await host.take_command()
        assert first.request.changes_keys
        assert not await host.has_queued()
        await host.respond(first, KeyResponse(request_id=first.request.request_id, text="1"))
        second = await host.take_command()
        await host.respond(second, KeyResponse(request_id=second.request.request_id, text="2"))
        assert {response.text for response in await asyncio.gather(*requests)} == {"1", "2"}


async def test_command_without_a_response_fails(zone: ZoneHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "REQUEST_TIMEOUT", 0.3)
    async with zone.engine() as engine, zone.host() as host:
        await start(engine)
        with pytest.raises(WorkerError, match="did not respond"):
            await engine.bus.request(ProbeProviders())
        await engine.wait_written()
        assert not await host.has_queued()


async def test_command_without_hosts_fails(zone: ZoneHarness) -> None:
    async with zone.engine() as engine:
        with pytest.raises(ZoneUnavailableError, match="No host"):
            await engine.bus.request(ProbeProviders())


async def test_command_to_a_zone_that_is_not_admitted_fails(zone: ZoneHarness) -> None:
    async with zone.engine(admitted=False) as engine:
        with pytest.raises(ZoneUnavailableError, match="not admitted"):
            await engine.bus.request(ProbeProviders())


async def test_audit_commands_stay_on_the_server(zone: ZoneHarness) -> None:
    async with zone.engine() as engine:
        assert (await engine.bus.request(AuditPublicKey())).text
        assert engine.local.commands == [AuditPublicKey()]
