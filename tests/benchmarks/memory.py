"""Peak memory of the engine's process and of its workers while 4 GiB are packed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from sealyard.model.requests import PackageRequest
from sealyard.model.tasks import TaskStatus, Verdict
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, OWNER, folder, found, opened, random_file

MEBIBYTE = 1024.0
SIZE = (4 << 30) - (1 << 20)
"""A segment of se-1 holds at most 4 GiB - 1, padding and IV included."""


def rows(size: int = SIZE) -> list[Row]:
    """Measured in a process of its own, so that nothing of the other measurements counts."""
    with folder() as root:
        random_file(root / "firmware.bin", size)
        asyncio.run(found(root / "workspace"))
        outcome = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.memory", root], check=True, capture_output=True, text=True
        )
    engine, worker = (float(each) for each in outcome.stdout.split())
    return [
        Row("peak memory of the engine, 4 GiB package", engine, "at most 150", "MiB"),
        Row("peak memory of a worker, 4 GiB package", worker, "at most 150", "MiB"),
    ]


async def _pack(root: Path) -> tuple[float, float]:
    async with opened(root / "workspace") as engine:
        developer, owner = engine.client(DEVELOPER), engine.client(OWNER)
        file = await developer.upload(root / "firmware.bin")
        task = await developer.create_package(PackageRequest(config=DEVICE, firmware=(file,)))
        await owner.decide(task.id, Verdict.APPROVED)
        done = await developer.wait(task.id, within=1200)
        assert done.status is TaskStatus.DONE, done.reason
        return _peak("self"), max(_peak(str(pid)) for pid in engine.worker_pids)


def _peak(process: str) -> float:
    """The kernel's high-water mark of resident memory, in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / MEBIBYTE
    raise AssertionError("the kernel says no VmHWM")


if __name__ == "__main__":
    print(*asyncio.run(_pack(Path(sys.argv[1]))))
