"""Measure workspaces in PostgreSQL, relative to files: tasks per second, the start of the engine, and its memory.

The database server runs on the same machine, and syncs its files.
"""

from __future__ import annotations

import asyncio
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from sealyard.model.requests import SigningRequest
from sealyard.model.tasks import Task
from sealyard.storage.frame_chain import StoreCredentials
from tests.benchmarks.growth import fill, generate_tasks
from tests.benchmarks.memory import peak_memory
from tests.benchmarks.postgres_tasks import insert_tasks
from tests.benchmarks.rates import measure_signing_rate
from tests.benchmarks.rows import Row
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, create_bench_workspace, open_engine, temporary_dir
from tests.support.postgres import DURABLE_SETTINGS, PostgresServer, TestDatabase, running_server

ROUNDS = 3
SIGNATURES = 1000
STARTS = 3
SIZES = (10_000, 100_000, 1_000_000)
"""Numbers of tasks in the workspace of one database, one after the other."""

MEMORY_RESERVE = 2.0
"""A size is measured if this multiple of the memory that it is expected to need is available."""


class Start(NamedTuple):
    """The start of an engine: its duration in seconds, and the peak memory of its process in MiB."""

    seconds: float
    memory: float


def rows() -> Iterator[Row]:
    with running_server(DURABLE_SETTINGS) as server, temporary_dir() as root:
        yield from _measure_rates(server, root)
        yield from _measure_starts(server, root)


# ---- tasks per second


def _measure_rates(server: PostgresServer, root: Path) -> Iterator[Row]:
    """Yield medians of rounds that alternate between files and database."""
    files, workspace, database = root / "rate-files", root / "rate-postgres", server.create_database()
    asyncio.run(create_bench_workspace(files))
    asyncio.run(create_bench_workspace(workspace, database.connection_string))
    rates = [(asyncio.run(_measure_rate(files)), asyncio.run(_measure_rate(workspace))) for _ in range(ROUNDS)]
    ratio = statistics.median(in_database / in_files for in_files, in_database in rates)
    yield Row("signing tasks per second in PostgreSQL, relative to files", ratio, "at least 0.35")
    yield Row("signing tasks per second in PostgreSQL", statistics.median(each[1] for each in rates), "reported", "/s")
    yield Row("signing tasks per second in files", statistics.median(each[0] for each in rates), "reported", "/s")
    yield from _measure_log(workspace, database)


async def _measure_rate(workspace: Path) -> float:
    async with open_engine(workspace) as engine:
        return await measure_signing_rate(engine, SIGNATURES)


def _measure_log(workspace: Path, database: TestDatabase) -> Iterator[Row]:
    """Yield how long a start takes with the trees of the audit log, and without them: then it reads all entries."""
    entries = database.execute("SELECT count(*) FROM sealyard.audit_entry")[0][0]
    with_trees, without_trees = [], []
    for _ in range(STARTS):
        with_trees.append(_measure_start(workspace).seconds)
        database.execute("UPDATE sealyard.audit_checkpoint SET frontier = NULL")
        without_trees.append(_measure_start(workspace).seconds)
        asyncio.run(_add_checkpoint(workspace))
    ratio = statistics.median(with_trees) / statistics.median(without_trees)
    yield Row(f"start of the engine after {entries:,} audit entries, relative to reading them", ratio, "reported")


async def _add_checkpoint(workspace: Path) -> None:
    """Have a checkpoint signed, with which the tree is stored again."""
    async with open_engine(workspace) as engine:
        await engine.client(DEVELOPER).create_signing(SigningRequest(config=DEVICE, message=b"another"))


# ---- start and memory


def _measure_starts(server: PostgresServer, root: Path) -> Iterator[Row]:
    """Yield start and memory for a growing workspace, and for the same number of tasks in files."""
    workspace, database = root / "growing", server.create_database()
    asyncio.run(create_bench_workspace(workspace, database.connection_string))
    empty = _measure_start(workspace)
    count, start = 0, empty
    for size in SIZES:
        needed = empty.memory + (start.memory - empty.memory) * size / count if count else 0.0
        if needed * MEMORY_RESERVE > _available_memory():
            seconds = empty.seconds + (start.seconds - empty.seconds) * size / count
            yield Row(f"start in PostgreSQL at {size:,} tasks, extrapolated from {count:,}", seconds, "reported", "s")
            yield Row(f"its peak memory, extrapolated from {count:,} tasks", needed, "reported", "MiB")
            return
        credentials, model = asyncio.run(_read_credentials(workspace))
        tasks = generate_tasks(model, size - count)
        insert_tasks(database, credentials, ((task.id, msgspec.json.encode(task)) for task in tasks))
        count, start = size, _median_start(workspace)
        yield Row(f"start in PostgreSQL at {size:,} tasks", start.seconds, "reported", "s")
        yield Row(f"peak memory of the engine at its start at {size:,} tasks", start.memory, "reported", "MiB")
        if size < SIZES[-1]:
            yield _compare_with_files(root / f"files-{size}", size, start)


def _compare_with_files(workspace: Path, size: int, start: Start) -> Row:
    asyncio.run(create_bench_workspace(workspace))
    fill(workspace, size)
    ratio = start.seconds / _median_start(workspace).seconds
    return Row(f"start in PostgreSQL at {size:,} tasks, relative to files", ratio, "reported")


async def _read_credentials(workspace: Path) -> tuple[StoreCredentials, Task]:
    """Return the key of the store, and a task as a model for others."""
    async with open_engine(workspace) as engine:
        keys = await engine.run(engine.engine.bus.get_engine_keys())
        model = await engine.client(DEVELOPER).create_signing(SigningRequest(config=DEVICE, message=b"model"))
        return StoreCredentials(keys.store_key, engine.engine.metadata.id), model


def _median_start(workspace: Path) -> Start:
    starts = [_measure_start(workspace) for _ in range(STARTS)]
    return Start(statistics.median(each.seconds for each in starts), statistics.median(each.memory for each in starts))


def _measure_start(workspace: Path) -> Start:
    """Start the engine in a process of its own, so that no other memory is counted."""
    command = [sys.executable, "-m", "tests.benchmarks.postgres", str(workspace)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    seconds, memory = (float(each) for each in result.stdout.split())
    return Start(seconds, memory)


async def _start(workspace: Path) -> tuple[float, float]:
    began_at = time.perf_counter()
    async with open_engine(workspace):
        return time.perf_counter() - began_at, peak_memory("self")


def _available_memory() -> float:
    """Return the memory that processes can still allocate, in MiB."""
    found = re.search(r"^MemAvailable: +(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    print(*asyncio.run(_start(Path(sys.argv[1]))))
