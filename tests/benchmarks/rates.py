"""Measure small tasks per second: signing (Ed25519, created to DONE, durable) and packages of 4 KiB."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from pathlib import Path

from sealyard.client.embedded import EmbeddedClient
from sealyard.client.engine_handle import EngineHandle
from sealyard.model.requests import PackageRequest, SigningRequest
from sealyard.model.tasks import Task, TaskStatus, Verdict
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import (
    DEVELOPER,
    DEVICE,
    OWNER,
    create_bench_workspace,
    open_engine,
    random_file,
    temporary_dir,
)

SIGNATURES = 2000
PACKAGES = 300
MAX_PARALLEL = 64


def rows() -> list[Row]:
    with temporary_dir() as root:
        asyncio.run(create_bench_workspace(root / "workspace"))
        random_file(root / "firmware.bin", 4096)
        signing, packing = asyncio.run(_measure(root))
    return [
        Row("signing tasks per second, created to DONE", signing, "at least 500", "/s"),
        Row("packages of 4 KiB per second, created to DONE", packing, "reported", "/s"),
    ]


async def _measure(root: Path) -> tuple[float, float]:
    async with open_engine(root / "workspace") as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        file = await developer.upload(root / "firmware.bin")

        async def pack(number: int) -> Task:
            request = PackageRequest(config=DEVICE, firmware=(file,), name=f"package {number}")
            return await developer.create_package(request)

        signing = await measure_signing_rate(engine, SIGNATURES)
        packing = await _measure_rate(engine, owner, [pack(number) for number in range(PACKAGES)])
        return signing, packing


async def measure_signing_rate(engine: EngineHandle, count: int) -> float:
    """Return how many signing tasks are created, approved and finished per second."""
    developer, owner = engine.client(DEVELOPER), engine.client(OWNER)

    async def sign(number: int) -> Task:
        request = SigningRequest(config=DEVICE, message=b"message %d" % number)
        return await developer.create_signing(request)

    # Start both workers before the measurement.
    await _run_tasks(engine, owner, [sign(-number) for number in range(1, MAX_PARALLEL)])
    return await _measure_rate(engine, owner, [sign(number) for number in range(count)])


async def _measure_rate(
    engine: EngineHandle, owner: EmbeddedClient, creations: list[Coroutine[None, None, Task]]
) -> float:
    started_at = time.perf_counter()
    await _run_tasks(engine, owner, creations)
    return len(creations) / (time.perf_counter() - started_at)


async def _run_tasks(engine: EngineHandle, owner: EmbeddedClient, creations: list[Coroutine[None, None, Task]]) -> None:
    """Create and approve tasks, ``MAX_PARALLEL`` in parallel, and wait until all are finished."""
    slots = asyncio.Semaphore(MAX_PARALLEL)

    async def create_and_approve(creation: Coroutine[None, None, Task]) -> str:
        async with slots:
            task = await creation
            await owner.decide(task.id, Verdict.APPROVED)
            return task.id

    task_ids = await asyncio.gather(*(create_and_approve(each) for each in creations))
    await engine.wait_idle()
    last = await owner.task(task_ids[-1])
    assert last.status is TaskStatus.DONE, last.reason
