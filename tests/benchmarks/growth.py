"""Measure operations at 100,000 tasks, relative to 1,000: creating, paging, filtering, and the start of the engine."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import msgspec

from sealyard.engine.state.ids import new_id
from sealyard.engine.state.open_store import compact_store
from sealyard.engine.state.tables import TASKS
from sealyard.model.requests import SigningRequest, TaskFilter
from sealyard.model.tasks import Task, TaskStatus
from sealyard.storage.documents import DocumentStore, WriteBatch
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, create_bench_workspace, open_engine, temporary_dir

FEW, MANY = 1_000, 100_000
TRIES = 200


def rows() -> list[Row]:
    few, many = _measure(FEW), _measure(MANY)
    empty = _measure(0)
    return [
        Row("create a task at 100,000 tasks, relative to 1,000", many["create"] / few["create"], "at most 1.5"),
        Row("a page of tasks at 100,000 tasks, relative to 1,000", many["page"] / few["page"], "at most 1.5"),
        Row(
            "a filtered page of tasks at 100,000 tasks, relative to 1,000",
            many["filter"] / few["filter"],
            "at most 1.5",
        ),
        Row("count tasks by status at 100,000 tasks", 1000 * many["count"], "at most 5", "ms"),
        Row("start of the engine at 1,000 tasks, relative to none", few["start"] / empty["start"], "reported"),
        Row("start of the engine at 100,000 tasks, relative to none", many["start"] / empty["start"], "reported"),
        Row("start of the engine at 100,000 tasks", many["start"], "reported", "s"),
        Row("`sealyard tasks` at 1,000 tasks", few["command"], "a few tenths", "s"),
        Row("`sealyard tasks` at 100,000 tasks", many["command"], "reported", "s"),
    ]


def _measure(count: int) -> dict[str, float]:
    with temporary_dir() as root:
        workspace = root / "workspace"
        asyncio.run(create_bench_workspace(workspace))
        fill(workspace, count)
        seconds = asyncio.run(_measure_engine(workspace))
        return {**seconds, "command": _measure_command(workspace)}


def fill(workspace: Path, count: int) -> None:
    """Store `count` finished signing tasks, one second apart, and compact the store as the engine does."""
    if count == 0:
        return
    asyncio.run(_fill(workspace, count))


async def _fill(workspace: Path, count: int) -> None:
    async with open_engine(workspace) as engine:
        model = await engine.client(DEVELOPER).create_signing(SigningRequest(config=DEVICE, message=b"model"))
        await asyncio.to_thread(_insert_tasks, engine.engine.store, model, count)
        await engine.run(compact_store(engine.engine.store, engine.engine.bus, 1 << 50))


def _insert_tasks(store: DocumentStore, model: Task, count: int) -> None:
    last_commit = None
    tasks = generate_tasks(model, count)
    while batch := list(islice(tasks, 1000)):
        puts = tuple((TASKS.name, task.id, msgspec.to_builtins(task)) for task in batch)
        last_commit = store.submit(WriteBatch(puts=puts))
    assert last_commit is not None
    last_commit.result()


def generate_tasks(model: Task, count: int) -> Iterator[Task]:
    """Yield finished tasks like ``model``, one second apart."""
    started_at = datetime.now(UTC) - timedelta(seconds=count + 1)
    for number in range(count):
        created_at = started_at + timedelta(seconds=number)
        status = TaskStatus.FAILED if number % 100 == 0 else TaskStatus.CANCELLED
        yield msgspec.structs.replace(model, id=new_id(), status=status, created_at=created_at, updated_at=created_at)


async def _measure_engine(workspace: Path) -> dict[str, float]:
    started_at = time.perf_counter()
    async with open_engine(workspace) as engine:
        start = time.perf_counter() - started_at
        developer = engine.client(DEVELOPER)
        create = [await _measure_seconds(developer.create_signing(_request(number))) for number in range(TRIES)]
        page = [await _measure_seconds(developer.tasks(TaskFilter())) for _ in range(TRIES)]
        failed = TaskFilter(status=TaskStatus.FAILED, created_by=DEVELOPER)
        filtered = [await _measure_seconds(developer.tasks(failed, limit=10)) for _ in range(TRIES)]
        count = [await _measure_seconds(developer.counts()) for _ in range(TRIES)]
    return {
        "start": start,
        "count": statistics.median(count),
        "create": statistics.median(create),
        "page": statistics.median(page),
        "filter": statistics.median(filtered),
    }


def _request(number: int) -> SigningRequest:
    return SigningRequest(config=DEVICE, message=b"message %d" % number)


async def _measure_seconds(work: Coroutine[None, None, object]) -> float:
    started_at = time.perf_counter()
    await work
    return time.perf_counter() - started_at


def _measure_command(workspace: Path) -> float:
    """Return the median seconds of five runs of `sealyard tasks`, including the start of the process."""
    sealyard = [str(Path(sys.executable).parent / "sealyard"), "--workspace", str(workspace)]
    add_profile = [*sealyard, "profile", "add", "bench", "--identity", DEVELOPER, "--shared"]
    subprocess.run(add_profile, check=True, capture_output=True)

    def run_tasks_command() -> float:
        started_at = time.perf_counter()
        subprocess.run([*sealyard, "--profile", "bench", "tasks"], check=True, capture_output=True)
        return time.perf_counter() - started_at

    return statistics.median(run_tasks_command() for _ in range(5))
