"""Tests of the checks of key providers: their states in health checks, statistics, and the workspace."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from sealyard.engine.devices.provider_monitor import FIRST_CHECK_SECONDS
from sealyard.engine.health import KEY_PROVIDER, collect_stats
from sealyard.model.backend_keys import ProviderKeys
from sealyard.model.errors import KeyProviderError, KeyProviderUnavailableError
from sealyard.model.health import HealthCheck
from sealyard.model.key_commands import ProbeProviders
from tests.support.engine_harness import EngineHarness
from tests.support.limits import TIMEOUT

pytestmark = pytest.mark.anyio

ERROR = KeyProviderUnavailableError("The token seal was removed.", "Insert it.")
WARNING = "The key provider seal does not work: The token seal was removed. Insert it."


def set_up_provider(harness: EngineHarness, error: KeyProviderError | None = None, section: str = "seal") -> None:
    info = None if error is None else error.to_info()
    harness.shelf.provider_keys = (ProviderKeys(section=section, scheme="pkcs11", error=info),)


async def test_failure_and_recovery_are_published_once(harness: EngineHarness) -> None:
    set_up_provider(harness, ERROR)
    monitor = harness.engine.provider_monitor
    cursors = [harness.engine.events.cursor]
    for error in (ERROR, ERROR, None, None):
        set_up_provider(harness, error)
        await monitor.check()
        assert [failure.warning for failure in monitor.failures] == ([WARNING] if error else [])
        cursors.append(harness.engine.events.cursor)
    changes = [new - old for old, new in pairwise(cursors)]
    assert [bool(change) for change in changes] == [True, False, True, False]


async def test_failing_provider_is_a_warning_of_the_health_check(harness: EngineHarness) -> None:
    set_up_provider(harness, ERROR)
    health = await harness.engine.health.health()
    assert health.ready
    assert [check for check in health.checks if check.name == KEY_PROVIDER] == [
        HealthCheck(name=KEY_PROVIDER, passed=True, subject="seal", warning=WARNING)
    ]


async def test_invalid_settings_are_a_warning_of_the_health_check(harness: EngineHarness) -> None:
    set_up_provider(harness, KeyProviderError("worker.toml is not valid TOML.", "Correct it."), section="")
    health = await harness.engine.health.health()
    assert [check.warning for check in health.checks if check.name == KEY_PROVIDER] == [
        "worker.toml is not valid TOML. Correct it."
    ]


async def test_provider_that_does_not_answer_does_not_delay_the_health_check(
    harness: EngineHarness,
) -> None:
    set_up_provider(harness)
    monitor = harness.engine.provider_monitor
    harness.bus.gate = asyncio.Event()
    (state,) = await monitor.check_within(0)
    assert state.warning == "The key providers do not answer. See the log of the workers."
    harness.bus.gate.set()
    assert [state.error for state in await monitor.check_within(10)] == [None]


async def test_statistics_contain_the_states_of_providers(harness: EngineHarness) -> None:
    engine = harness.engine
    for error in (ERROR, None):
        set_up_provider(harness, error)
        await engine.provider_monitor.check()
        stats = await collect_stats(engine.store, engine.scheduler, engine.bus, engine.provider_monitor)
        assert stats.key_providers == {"seal": error is None}


async def test_first_check_waits_until_commands_have_ended(harness: EngineHarness) -> None:
    set_up_provider(harness, ERROR)
    monitor = harness.engine.provider_monitor
    loop = asyncio.create_task(monitor.run())
    await asyncio.sleep(0)
    harness.clock.advance(seconds=FIRST_CHECK_SECONDS - 1)
    await asyncio.sleep(0)
    assert not [command for command in harness.bus.commands if isinstance(command, ProbeProviders)]
    harness.clock.advance(seconds=1)
    async with asyncio.timeout(TIMEOUT):
        while not monitor.failures:
            await asyncio.sleep(0)
    loop.cancel()
