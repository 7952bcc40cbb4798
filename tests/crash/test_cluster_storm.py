"""Test that clients of two servers and a database survive the loss of each of them, without lost or doubled work.

``SEALYARD_CRASH_SEED`` sets the random seed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from random import Random

import pytest

from sealyard.client.engine_handle import EngineHandle
from sealyard.client.http.client import HttpClient
from sealyard.client.http.transport import Connection, Endpoint
from sealyard.concurrency.clock import SystemClock
from sealyard.model.workspace import WorkspacePaths
from sealyard.storage.postgres.audit import PgAuditReader
from sealyard.storage.postgres.connection import Database
from tests.crash.chaos import MAX_LOSSES
from tests.crash.chaos_workspace import ADMINISTRATOR, create_test_workspace
from tests.crash.client_workload import ClientWorkload, run_developers
from tests.crash.cluster_process import ClusterServer
from tests.crash.invariants import InvariantCheck, load_tasks
from tests.crash.process_faults import ProcessFaults
from tests.crash.workspace_process import PASSPHRASE
from tests.support.balancer import Balancer
from tests.support.cluster import LEASE_SECONDS, SERVICE, ClusterFiles
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.extent import choose_count
from tests.support.key_holders import unlock
from tests.support.postgres import PostgresServer, TestDatabase, running_server
from tests.support.processes import find_workers

EVENTS = choose_count(share=60, full=300)
TIMEOUT = choose_count(share=1200, full=5400)
SEED = int(os.environ.get("SEALYARD_CRASH_SEED", "20261129"))
RETRY_TIMEOUT = 300.0
KIB, MIB = 1024, 1024 * 1024
SIZES = (20 * KIB + 5, 700 * KIB, 5 * MIB + 3)
MAX_LOSS_SECONDS = LEASE_SECONDS + 1.5
"""How long a server is suspended, or cut off from the database, at most: some of these losses cost it its lease."""

EVENT_WEIGHTS = {
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


class ClusterStorm:
    """Two servers, each with a connection to the database that can be cut, and the events that befall them."""

    def __init__(self, servers: list[ClusterServer], proxies: list[CuttableProxy], database: TestDatabase) -> None:
        self.servers = servers
        self._proxies = proxies
        self._database = database
        self.events: Counter[str] = Counter()

    async def run(self, workload: ClientWorkload, faults: ProcessFaults) -> None:
        random = workload.random
        while self.events.total() < EVENTS:
            await asyncio.sleep(random.choice((random.uniform(0, 0.2), random.uniform(0.2, 1.5))))
            (event,) = random.choices(list(EVENT_WEIGHTS), list(EVENT_WEIGHTS.values()))
            running = [server for server in self.servers if server.is_running]
            if running and await self._cause(event, random.choice(running), workload, faults):
                self.events[event] += 1

    async def _cause(self, event: str, server: ClusterServer, workload: ClientWorkload, faults: ProcessFaults) -> bool:
        """Cause an event, and return whether it happened."""
        random = workload.random
        match event:
            case "kill server":
                server.kill()
            case "stop server":
                os.kill(server.pid, signal.SIGTERM)
            case "suspend server":
                await self._suspend(server, random.uniform(0.5, MAX_LOSS_SECONDS))
            case "pause process":
                await asyncio.to_thread(faults.pause_random_process, server.pid)
            case "kill sessions":
                return self._database.disconnect_engines() > 0
            case "cut database":
                await self._cut(random.choice(self._proxies), random.uniform(0.1, MAX_LOSS_SECONDS))
            case "restart database":
                self._restart_database(random.uniform(0, 1.0), signal.SIGINT)
            case "kill database":
                self._restart_database(random.uniform(0, 1.0), signal.SIGKILL)
            case _:
                return self._kill_child(event, server, workload, faults)
        return True

    async def _suspend(self, server: ClusterServer, seconds: float) -> None:
        """Suspend a server, which the other one kills if it has taken over meanwhile."""
        pid = server.pid
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.kill(pid, signal.SIGCONT)

    async def _cut(self, proxy: CuttableProxy, seconds: float) -> None:
        proxy.cut()
        await asyncio.sleep(seconds)
        proxy.restore()

    def _restart_database(self, pause: float, signal_number: int) -> None:
        postgres: PostgresServer = self._database.server
        if signal_number == signal.SIGKILL:
            postgres.kill()
        else:
            postgres.stop()
        time.sleep(pause)
        postgres.start()

    def _kill_child(self, event: str, server: ClusterServer, workload: ClientWorkload, faults: ProcessFaults) -> bool:
        if max(workload.lost_workers.values(), default=0) >= MAX_LOSSES:
            return False
        if event == "kill worker":
            was_killed = faults.kill_random_worker(find_workers(server.pid)) is not None
        else:
            was_killed = faults.kill_key_holder(server.pid)
        for token in workload.lost_workers:
            workload.lost_workers[token] += was_killed
        return was_killed


@pytest.mark.crash
@pytest.mark.timeout(TIMEOUT)
def test_lost_servers_lose_no_task_and_sign_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_server() as postgres:
        database = postgres.create_database()
        asyncio.run(_run_storm(tmp_path, database, monkeypatch))


async def _run_storm(root: Path, database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ClusterFiles(root / "cluster", "storm")
    monkeypatch.setenv("PGSERVICEFILE", str(files.write_service("test", database.connection_string)))
    monkeypatch.setenv("SEALYARD_ANCHORS", str(files.folder / "anchors"))
    paths = WorkspacePaths(root / "workspace")
    device_key, tokens = await create_test_workspace(paths, root / "device.key", f"service={SERVICE}")
    random = Random(SEED)
    firmware = tuple(_write_file(root / f"firmware-{size}.bin", random.randbytes(size)) for size in SIZES)
    started_at = time.monotonic()
    async with _run_servers(paths, files, database) as storm:
        faults = ProcessFaults(random)
        async with Balancer([server.port for server in storm.servers], random).listen() as balancer:

            def connect(subject: str) -> HttpClient:
                endpoint = Endpoint(url=balancer.url, token=tokens[subject])
                return HttpClient(Connection(endpoint), SystemClock(), retry_timeout=RETRY_TIMEOUT)

            workload = ClientWorkload(connect, random, firmware)
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(run_developers(workload))
                    await storm.run(workload, faults)
                    workload.is_finished = True
            finally:
                _print_summary(storm, workload, time.monotonic() - started_at)
        for server in storm.servers:
            assert await server.stop() == server.stop_code
    await _check_workspace(paths, workload, device_key)


@asynccontextmanager
async def _run_servers(
    paths: WorkspacePaths, files: ClusterFiles, database: TestDatabase
) -> AsyncIterator[ClusterStorm]:
    """Run two servers, and start them again when they end. All their processes are killed at the end."""
    async with AsyncExitStack() as stack:
        proxies, servers = [], []
        for name in ("one", "two"):
            folder = files.folder / f"proxy-{name}"
            folder.mkdir()
            socket_name = ".s.PGSQL.5432"
            proxy = CuttableProxy(database.server.folder / socket_name)
            proxies.append(await stack.enter_async_context(proxy.listen(folder / socket_name)))
            connection_string = f"host={folder} dbname={database.name} user=engine"
            servers.append(ClusterServer(paths.root, files, name, connection_string))
            stack.callback(servers[-1].close)
        supervisors = [asyncio.create_task(server.supervise()) for server in servers]
        for server in servers:
            await server.wait_until_listening()
        yield ClusterStorm(servers, proxies, database)
        await asyncio.gather(*supervisors)


def _print_summary(storm: ClusterStorm, workload: ClientWorkload, seconds: float) -> None:
    events = ", ".join(f"{count} × {event}" for event, count in sorted(storm.events.items()))
    exits = ", ".join(f"{server.name}: {dict(server.exit_codes)}" for server in storm.servers)
    takeovers = sum(server.takeovers for server in storm.servers)
    load = f"{takeovers} takeovers; {len(workload.accepted)} tasks, {len(workload.downloads)} downloads"
    sys.stdout.write(f"SEALYARD_CRASH_SEED={SEED}: {events}; exit codes {exits}; {load} in {seconds:.0f} s\n")


async def _check_workspace(paths: WorkspacePaths, workload: ClientWorkload, device_key: bytes) -> None:
    engine = await EngineHandle.open(paths.root, purpose="check", key_holder=unlock(PASSPHRASE))
    try:
        client = engine.client(ADMINISTRATOR)
        audit = PgAuditReader(Database(f"service={SERVICE}"), engine.engine.metadata.id)
        check = InvariantCheck(paths, device_key, audit)
        tasks = await load_tasks(client)
        stopped = {each: time.time() for each in workload.rejected}
        await client.verify_audit()
        check.check_accepted(tasks, workload.accepted, workload.expected, stopped)
        check.check_acknowledged(tasks, workload.finished, workload.downloads)
        check.check_signed_once(tasks, stopped)
        check.check_trails(tasks)
        check.check_no_leftover_files(tasks)
        await check.check_results(client, tasks, workload.expected)
        await check.check_proofs(client)
        audit.close()
    finally:
        await engine.close()


def _write_file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
