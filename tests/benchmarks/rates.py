"""How many small tasks a second: signing (Ed25519, create to DONE, durable) and packages of 4 KiB."""

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
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, OWNER, folder, found, opened, random_file

SIGNATURES = 2000
PACKAGES = 300
AT_ONCE = 64


def rows() -> list[Row]:
    with folder() as root:
        asyncio.run(found(root / "workspace"))
        random_file(root / "firmware.bin", 4096)
        signing, packing = asyncio.run(_measure(root))
    return [
        Row("signing tasks a second, create to DONE", signing, "at least 500", "/s"),
        Row("packages of 4 KiB a second, create to DONE", packing, "reported", "/s"),
    ]


async def _measure(root: Path) -> tuple[float, float]:
    async with opened(root / "workspace") as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        file = await developer.upload(root / "firmware.bin")

        async def sign(number: int) -> Task:
            request = SigningRequest(config=DEVICE, message=b"message %d" % number)
            return await developer.create_signing(request)

        async def pack(number: int) -> Task:
            request = PackageRequest(config=DEVICE, firmware=(file,), name=f"package {number}")
            return await developer.create_package(request)

        # Both workers are up before anything is counted.
        await _through(engine, owner, [sign(-number) for number in range(1, AT_ONCE)])
        signing = await _rate(engine, owner, [sign(number) for number in range(SIGNATURES)])
        packing = await _rate(engine, owner, [pack(number) for number in range(PACKAGES)])
        return signing, packing


async def _rate(engine: EngineHandle, owner: EmbeddedClient, creations: list[Coroutine[None, None, Task]]) -> float:
    begun = time.perf_counter()
    await _through(engine, owner, creations)
    return len(creations) / (time.perf_counter() - begun)


async def _through(engine: EngineHandle, owner: EmbeddedClient, creations: list[Coroutine[None, None, Task]]) -> None:
    """Creates and approves ``AT_ONCE`` at a time, then waits until all is done."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(creation: Coroutine[None, None, Task]) -> str:
        async with slots:
            task = await creation
            await owner.decide(task.id, Verdict.APPROVED)
            return task.id

    made = await asyncio.gather(*(one(each) for each in creations))
    await engine.wait_idle()
    last = await owner.task(made[-1])
    assert last.status is TaskStatus.DONE, last.reason
