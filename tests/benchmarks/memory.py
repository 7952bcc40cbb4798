"""Measure the peak memory of the engine and of its workers while they create a package of 4 GiB."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
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

MEBIBYTE = 1024.0
SIZE = (4 << 30) - (1 << 20)
"""A segment of se-1 holds at most 4 GiB - 1, padding and IV included."""


def rows(size: int = SIZE) -> list[Row]:
    """Measure in a separate process, so that memory of other measurements is not counted."""
    with temporary_dir() as root:
        random_file(root / "firmware.bin", size)
        asyncio.run(create_bench_workspace(root / "workspace"))
        result = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.memory", root], check=True, capture_output=True, text=True
        )
    engine, worker = (float(each) for each in result.stdout.split())
    return [
        Row("peak memory of the engine, 4 GiB package", engine, "at most 150", "MiB"),
        Row("peak memory of a worker, 4 GiB package", worker, "at most 150", "MiB"),
    ]


async def _create_package(root: Path) -> tuple[float, float]:
    async with open_engine(root / "workspace") as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        file = await developer.upload(root / "firmware.bin")
        task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(file,)))
        await owner.decide(task.id, Verdict.APPROVED)
        done = await developer.wait(task.id, within=1200)
        assert done.status is TaskStatus.DONE, done.reason
        return peak_memory("self"), max(peak_memory(str(pid)) for pid in engine.worker_pids)


def peak_memory(process: str) -> float:
    """Return the peak resident memory reported by the kernel, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / MEBIBYTE
    raise AssertionError("VmHWM is missing")


if __name__ == "__main__":
    print(*asyncio.run(_create_package(Path(sys.argv[1]))))
