"""What create, page and filter cost at 100,000 tasks against 1,000, and how long a start takes."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.tables import INDEXES, TASKS
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from sealyard.storage.documents import TinyDocumentStore, WriteBatch
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, folder, found, opened

FEW, MANY = 1_000, 100_000
TRIES = 200


def rows() -> list[Row]:
    few, many = _measured(FEW), _measured(MANY)
    none = _measured(0)
    return [
        Row("creating a task at 100,000 tasks against 1,000", many["create"] / few["create"], "at most 1.5"),
        Row("a page at 100,000 tasks against 1,000", many["page"] / few["page"], "at most 1.5"),
        Row("a filtered page at 100,000 tasks against 1,000", many["filter"] / few["filter"], "at most 1.5"),
        Row("counting the tasks of each state at 100,000", 1000 * many["count"], "at most 5", "ms"),
        Row("start of the engine at 1,000 tasks against none", few["start"] / none["start"], "reported"),
        Row("start of the engine at 100,000 tasks against none", many["start"] / none["start"], "reported"),
        Row("start of the engine at 100,000 tasks", many["start"], "reported", "s"),
        Row("`sealyard tasks` at 1,000 tasks", few["command"], "a few tenths", "s"),
        Row("`sealyard tasks` at 100,000 tasks", many["command"], "reported", "s"),
    ]


def _measured(count: int) -> dict[str, float]:
    with folder() as root:
        workspace = root / "workspace"
        asyncio.run(found(workspace))
        fill(workspace, count)
        figures = asyncio.run(_use(workspace))
        return {**figures, "command": _command(workspace)}


def fill(workspace: Path, count: int) -> None:
    """Ended signing tasks, as they would lie there, a second apart; compacted as the engine would have done."""
    if count == 0:
        return
    model = asyncio.run(_one_task(workspace))
    store = TinyDocumentStore.open(workspace / "store", INDEXES, write=True)
    begun = datetime.now(UTC) - timedelta(seconds=count + 1)
    last = None
    for first in range(0, count, 1000):
        puts = []
        for number in range(first, min(first + 1000, count)):
            at = begun + timedelta(seconds=number)
            ended = TaskStatus.FAILED if number % 100 == 0 else TaskStatus.CANCELLED
            task = msgspec.structs.replace(model, id=new_id(), status=ended, created_at=at, updated_at=at)
            puts.append((TASKS.name, task.id, msgspec.to_builtins(task)))
        last = store.submit(WriteBatch(puts=tuple(puts)))
    assert last is not None
    last.result()
    store.compact(1 << 50)
    store.close()


async def _one_task(workspace: Path) -> Task:
    async with opened(workspace) as engine:
        return await engine.client(DEVELOPER).create_signing(SigningRequest(config=DEVICE, message=b"model"))


async def _use(workspace: Path) -> dict[str, float]:
    begun = time.perf_counter()
    async with opened(workspace) as engine:
        start = time.perf_counter() - begun
        developer = engine.client(DEVELOPER)
        create = [await _timed(developer.create_signing(_request(number))) for number in range(TRIES)]
        page = [await _timed(developer.tasks(TaskFilter())) for _ in range(TRIES)]
        failed = TaskFilter(status=TaskStatus.FAILED, created_by=DEVELOPER)
        narrow = [await _timed(developer.tasks(failed, limit=10)) for _ in range(TRIES)]
        count = [await _timed(developer.counts()) for _ in range(TRIES)]
    return {
        "start": start,
        "count": statistics.median(count),
        "create": statistics.median(create),
        "page": statistics.median(page),
        "filter": statistics.median(narrow),
    }


def _request(number: int) -> SigningRequest:
    return SigningRequest(config=DEVICE, message=b"message %d" % number)


async def _timed(work: Coroutine[None, None, object]) -> float:
    begun = time.perf_counter()
    await work
    return time.perf_counter() - begun


def _command(workspace: Path) -> float:
    """Seconds of `sealyard tasks` as a whole process, the median of five."""
    sealyard = [str(Path(sys.executable).parent / "sealyard"), "--workspace", str(workspace)]
    adding = [*sealyard, "profile", "add", "bench", "--identity", DEVELOPER, "--shared"]
    subprocess.run(adding, check=True, capture_output=True)

    def once() -> float:
        begun = time.perf_counter()
        subprocess.run([*sealyard, "--profile", "bench", "tasks"], check=True, capture_output=True)
        return time.perf_counter() - begun

    return statistics.median(once() for _ in range(5))
