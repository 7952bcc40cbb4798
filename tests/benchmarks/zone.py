"""Measure a crypto host against workers on the machine of the engine, and two crypto hosts against one.

Database, object store, engine and crypto hosts run on this machine, so that the network takes no time, and share its
processors. The comparison of two hosts is therefore a simulation: their keys are in a key service that answers slowly.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from sealyard.client.engine_handle import EngineHandle
from sealyard.keys.backends.aws_kms.backend import AwsKmsBackend
from sealyard.model.algorithms import KeyType, SigningAlgorithm
from sealyard.model.requests import PackageRequest, SigningKeyRequest, SigningRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.benchmarks.rates import measure_signing_rate
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import (
    ADMINISTRATOR,
    DEVELOPER,
    DEVICE,
    OWNER,
    create_bench_workspace,
    open_engine,
    populate_bench_workspace,
    random_file,
    temporary_dir,
)
from tests.support.bus_database import create_bus_database
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.ministack import REGION, ROOT, MiniStack, run_ministack
from tests.support.object_store import TestBucket, build_environment
from tests.support.postgres import DURABLE_SETTINGS, PostgresServer, running_server
from tests.support.zone_harness import ZoneHarness

ROUNDS = 5
LATENCY_ROUNDS = 50
SIGNATURES = 400
SLOW_SIGNATURES = 60
FIRMWARE_BYTES = 256 << 20
SERVICE_DELAY = 0.5
"""Seconds until the simulated key service answers."""

KEY = "alias/bench"


def rows() -> Iterator[Row]:
    with temporary_dir() as root, running_server(DURABLE_SETTINGS) as postgres:
        (root / "ministack").mkdir()
        with run_ministack(root / "ministack") as ministack:
            os.environ.update(build_environment())
            yield from asyncio.run(_compare_with_embedded(root, postgres, ministack))
            yield from asyncio.run(_compare_hosts(root / "slow", postgres, ministack))


async def _compare_with_embedded(root: Path, postgres: PostgresServer, ministack: MiniStack) -> list[Row]:
    await create_bench_workspace(root / "embedded")
    firmware = random_file(root / "firmware.bin", FIRMWARE_BYTES)
    zone = await _create_zone(root / "zone", postgres, ministack)
    try:
        async with open_engine(root / "embedded") as embedded, zone.run_engine() as engine:
            engines = (embedded, engine)
            packages = await _measure_alternating(engines, lambda each: _measure_package(each, firmware), ROUNDS)
            latencies = await _measure_alternating(engines, _measure_latency, LATENCY_ROUNDS)
            rates = [await measure_signing_rate(each, SIGNATURES) for each in engines]
    finally:
        zone.close()
    return [
        Row(
            "package of 256 MiB through a crypto host, relative to workers beside the engine",
            packages[1] / packages[0],
            "reported",
        ),
        Row("approval of a signing task to DONE through a crypto host, p50", 1000 * latencies[1], "reported", "ms"),
        Row(
            "approval of a signing task to DONE with workers beside the engine, p50",
            1000 * latencies[0],
            "reported",
            "ms",
        ),
        Row(
            "signing tasks per second through a crypto host, relative to workers beside the engine",
            rates[1] / rates[0],
            "reported",
        ),
        Row("signing tasks per second through a crypto host", rates[1], "reported", "/s"),
    ]


async def _create_zone(root: Path, postgres: PostgresServer, ministack: MiniStack) -> ZoneHarness:
    """Create a workspace with a zone, and start its crypto host."""
    root.mkdir()
    zone = ZoneHarness(root, create_bus_database(postgres), TestBucket(ministack))
    host = await zone.create("bench", ADMINISTRATOR)
    await host.start()
    async with zone.run_engine() as engine:
        await populate_bench_workspace(engine)
    return zone


async def _measure_alternating(
    engines: tuple[EngineHandle, EngineHandle], measure: Callable[[EngineHandle], Awaitable[float]], rounds: int
) -> tuple[float, float]:
    """Return the medians for both engines of rounds that alternate between them."""
    times = [[await measure(engine) for engine in engines] for _ in range(rounds)]
    return statistics.median(first for first, _ in times), statistics.median(second for _, second in times)


async def _measure_package(engine: EngineHandle, firmware: Path) -> float:
    developer = engine.client(DEVELOPER)
    file = await developer.upload(firmware)
    return await _measure_task(engine, await developer.create_package(PackageRequest(config=DEVICE, firmware=(file,))))


async def _measure_latency(engine: EngineHandle) -> float:
    request = SigningRequest(config=DEVICE, message=b"hello")
    return await _measure_task(engine, await engine.client(DEVELOPER).create_signing(request))


async def _measure_task(engine: EngineHandle, task: Task) -> float:
    """Approve a task, and return the seconds until it is done."""
    started_at = time.perf_counter()
    await engine.client(OWNER).decide(task.id, Verdict.APPROVED)
    done = await engine.client(DEVELOPER).wait(task.id)
    assert done.status is TaskStatus.DONE, done.reason
    return time.perf_counter() - started_at


async def _compare_hosts(root: Path, postgres: PostgresServer, ministack: MiniStack) -> list[Row]:
    port = urlsplit(ministack.url).port or 0
    async with CuttableProxy(port, delay=SERVICE_DELAY).listen() as service, AsyncExitStack() as stack:
        zone = await _create_zone_with_service(root, postgres, ministack, service.url)
        stack.callback(zone.close)
        async with zone.run_engine() as engine:
            # The engine has connected to the bus when the first task is done.
            await _measure_latency(engine)
            one = await measure_signing_rate(engine, SLOW_SIGNATURES)
            second = await zone.add_host()
            _write_worker_settings(second.folder, service.url)
            await second.start()
            two = await measure_signing_rate(engine, SLOW_SIGNATURES)
    label = (
        f"signing tasks per second of two crypto hosts, relative to one; simulated key service with {SERVICE_DELAY:g} s"
    )
    return [Row(label, two / one, "reported")]


async def _create_zone_with_service(
    root: Path, postgres: PostgresServer, ministack: MiniStack, endpoint: str
) -> ZoneHarness:
    """Create a workspace with a zone whose signing key is in the key service at ``endpoint``."""
    root.mkdir()
    zone = ZoneHarness(root, create_bus_database(postgres), TestBucket(ministack))
    host = await zone.create("bench", ADMINISTRATOR)
    backend = await AwsKmsBackend.open(ministack.settings(), ROOT)
    await backend.generate(KEY, KeyType.EC_P256)
    await backend.close()
    _write_worker_settings(host.folder, endpoint)
    await host.start()
    async with zone.run_engine() as engine:
        key = SigningKeyRequest(algorithm=SigningAlgorithm.ECC_NIST_P256, uri=f"awskms:{KEY}")
        await populate_bench_workspace(engine, key)
    return zone


def _write_worker_settings(host: Path, endpoint: str) -> None:
    lines = ["[keys.cloud]", 'provider = "awskms"', f'region = "{REGION}"', f'endpoint = "{endpoint}"']
    for name, value in ROOT.values.items():
        path = host / name
        path.write_bytes(value)
        path.chmod(0o600)
        lines.append(f'secrets.{name} = {{ file = "{path}" }}')
    (host / "worker.toml").write_text("\n".join(lines))
