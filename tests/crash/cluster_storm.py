"""A storm over servers of one workspace in a database: the servers, and the random events that befall them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import ClassVar

from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.workspace import WorkspacePaths
from tests.crash.chaos import MAX_LOSSES
from tests.crash.client_workload import ClientWorkload, run_developers
from tests.crash.cluster_process import ClusterServer
from tests.crash.process_faults import ProcessFaults
from tests.crash.supervised_process import SupervisedProcess
from tests.support.balancer import Balancer
from tests.support.cluster import LEASE_SECONDS, SERVICE, ClusterFiles
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.postgres import PostgresServer, TestDatabase
from tests.support.processes import find_workers

RETRY_TIMEOUT = 300.0
KIB, MIB = 1024, 1024 * 1024
SIZES = (20 * KIB + 5, 700 * KIB, 5 * MIB + 3)
MAX_LOSS_SECONDS = LEASE_SECONDS + 1.5
"""How long a server is suspended, or cut off from the database, at most: some of these losses cost it its lease."""

SOCKET_NAME = ".s.PGSQL.5432"


class ClusterStorm:
    """Two servers, each with a connection to the database that can be cut, and the events that befall them."""

    weights: ClassVar[Mapping[str, int]] = {
        "kill server": 6,
        "stop server": 2,
        "suspend server": 3,
        "pause process": 3,
        "kill worker": 3,
        "kill key holder": 1,
        "kill sessions": 5,
        "cut database": 4,
        "restart database": 1,
        "kill database": 1,
    }
    """The events and their weights."""
    events_per_task: ClassVar[int | None] = None
    """After how many events at least one more task must be finished before the next event; None: no limit."""

    def __init__(self, servers: list[ClusterServer], proxies: list[CuttableProxy], database: TestDatabase) -> None:
        self.servers = servers
        self._proxies = proxies
        self._database = database
        self.events: Counter[str] = Counter()

    @property
    def processes(self) -> Sequence[SupervisedProcess]:
        """The processes that run at the end, in the order in which they are stopped."""
        return self.servers

    def __str__(self) -> str:
        events = ", ".join(f"{count} × {event}" for event, count in sorted(self.events.items()))
        exits = ", ".join(f"{process.name}: {dict(process.exit_codes)}" for process in self.processes)
        takeovers = sum(server.takeovers for server in self.servers)
        return f"{events}; exit codes {exits}; {takeovers} takeovers"

    async def run(self, count: int, workload: ClientWorkload, faults: ProcessFaults) -> None:
        """Cause ``count`` events."""
        random = workload.random
        while self.events.total() < count:
            await self._wait_for_tasks(workload)
            await asyncio.sleep(random.choice((random.uniform(0, 0.2), random.uniform(0.2, 1.5))))
            (event,) = random.choices(list(self.weights), list(self.weights.values()))
            running = [server for server in self.servers if server.is_running]
            if running and await self._cause(event, random.choice(running), workload, faults):
                self.events[event] += 1

    async def _wait_for_tasks(self, workload: ClientWorkload) -> None:
        """Wait until enough tasks are finished, because on a slow machine all of them could wait for the end."""
        while self.events_per_task and len(workload.finished) < self.events.total() // self.events_per_task:
            await asyncio.sleep(0.05)

    async def _cause(self, event: str, server: ClusterServer, workload: ClientWorkload, faults: ProcessFaults) -> bool:
        """Cause an event, and return whether it happened."""
        random = workload.random
        match event:
            case "kill server":
                server.kill()
            case "stop server":
                send_signal([server.pid], signal.SIGTERM)
            case "suspend server":
                await suspend([server.pid], random.uniform(0.5, MAX_LOSS_SECONDS))
            case "pause process":
                await asyncio.to_thread(faults.pause_random_process, server.pid)
            case "kill sessions":
                return self._database.disconnect_engines() > 0
            case "cut database":
                await cut(random.choice(self._proxies), random.uniform(0.1, MAX_LOSS_SECONDS))
            case "restart database":
                restart_database(self._database.server, random.uniform(0, 1.0), signal.SIGINT)
            case "kill database":
                restart_database(self._database.server, random.uniform(0, 1.0), signal.SIGKILL)
            case _:
                return self._kill_child(event, server, workload, faults)
        return True

    def _kill_child(
        self, event: str, owner: SupervisedProcess, workload: ClientWorkload, faults: ProcessFaults
    ) -> bool:
        if not may_lose_worker(workload):
            return False
        if event == "kill worker":
            was_killed = faults.kill_random_worker(find_workers(owner.pid)) is not None
        else:
            was_killed = faults.kill_key_holder(owner.pid)
        if was_killed:
            count_lost_worker(workload)
        return was_killed


def may_lose_worker(workload: ClientWorkload) -> bool:
    """Return whether each unfinished task survives the loss of its worker."""
    return max(workload.lost_workers.values(), default=0) < MAX_LOSSES


def count_lost_worker(workload: ClientWorkload) -> None:
    """Count a loss for each unfinished task, because any of them may have lost its worker."""
    for token in workload.lost_workers:
        workload.lost_workers[token] += 1


async def suspend(pids: Sequence[int], seconds: float) -> None:
    """Suspend processes for some time. A server is killed by the other one if that has taken over meanwhile."""
    send_signal(pids, signal.SIGSTOP)
    await asyncio.sleep(seconds)
    send_signal(pids, signal.SIGCONT)


def send_signal(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to those of the processes that have not ended."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


async def cut(proxy: CuttableProxy, seconds: float) -> None:
    """Cut all connections through a proxy for some time."""
    proxy.cut()
    await asyncio.sleep(seconds)
    proxy.restore()


def restart_database(server: PostgresServer, pause: float, signal_number: signal.Signals) -> None:
    if signal_number == signal.SIGKILL:
        server.kill()
    else:
        server.stop()
    time.sleep(pause)
    server.start()


@asynccontextmanager
async def run_servers(
    paths: WorkspacePaths, files: ClusterFiles, database: TestDatabase
) -> AsyncIterator[ClusterStorm]:
    """Run two servers, and start them again when they end. All their processes are killed at the end."""
    async with AsyncExitStack() as stack:
        proxies, servers = [], []
        for name in ("one", "two"):
            proxy = await listen_for_database(stack, files.folder / f"proxy-{name}", database.server)
            proxies.append(proxy)
            connection_string = f"host={files.folder / f'proxy-{name}'} dbname={database.name} user=engine"
            servers.append(ClusterServer(paths.root, files, name, {SERVICE: connection_string}))
        await stack.enter_async_context(supervise(servers))
        yield ClusterStorm(servers, proxies, database)


async def listen_for_database(stack: AsyncExitStack, folder: Path, server: PostgresServer) -> CuttableProxy:
    """Return a proxy for the socket of a database server; its own socket is in ``folder``."""
    folder.mkdir()
    proxy = CuttableProxy(server.folder / SOCKET_NAME)
    return await stack.enter_async_context(proxy.listen(folder / SOCKET_NAME))


@asynccontextmanager
async def supervise(processes: Sequence[SupervisedProcess]) -> AsyncIterator[None]:
    """Run the processes, and start them again when they end. They are killed at the end, if they still run."""
    async with asyncio.TaskGroup() as group:
        try:
            for process in processes:
                group.create_task(process.supervise())
            for process in processes:
                await process.wait_until_listening()
            yield
        finally:
            for process in processes:
                process.close()


async def run_storm(
    storm: ClusterStorm, tokens: Mapping[str, str], events: int, random: Random, firmware: tuple[Path, ...]
) -> ClientWorkload:
    """Let clients complete tasks while events befall the servers, then stop the servers."""
    started_at = time.monotonic()
    async with Balancer([server.port for server in storm.servers], random).listen() as balancer:

        def connect(subject: str) -> HttpClient:
            endpoint = Endpoint(url=balancer.url, token=tokens[subject])
            return HttpClient(Connection(endpoint), SystemClock(), retry_timeout=RETRY_TIMEOUT)

        workload = ClientWorkload(connect, random, firmware)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_developers(workload))
                await storm.run(events, workload, ProcessFaults(random))
                workload.is_finished = True
        finally:
            load = f"{len(workload.accepted)} tasks, {len(workload.downloads)} downloads"
            sys.stdout.write(f"{storm}; {load} in {time.monotonic() - started_at:.0f} s\n")
    for process in storm.processes:
        assert await process.stop() == process.stop_code
    return workload


def write_firmware(folder: Path, random: Random) -> tuple[Path, ...]:
    """Write a file of each size in :data:`SIZES`."""
    paths = tuple(folder / f"firmware-{size}.bin" for size in SIZES)
    for path, size in zip(paths, SIZES, strict=True):
        path.write_bytes(random.randbytes(size))
    return paths
