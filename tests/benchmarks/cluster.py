"""Measure two servers for one workspace in PostgreSQL: events at the other server's clients, handover and failover."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx

from sealyard.client.http.client import HttpClient
from sealyard.model.requests import SigningRequest
from tests.benchmarks.rows import Row
from tests.benchmarks.server import create_client, create_tokens, measure_event_latencies
from tests.benchmarks.workspaces import DEVELOPER, DEVICE, OWNER, PASSPHRASE, temporary_dir
from tests.crash.cluster_process import ClusterServer
from tests.crash.workspace_process import START_TIMEOUT
from tests.support.cluster import LEASE_SECONDS, SERVICE, ClusterFiles
from tests.support.postgres import DURABLE_SETTINGS, TestDatabase, running_server

ROUNDS = 5


def rows() -> Iterator[Row]:
    with running_server(DURABLE_SETTINGS) as postgres, temporary_dir() as root:
        yield from asyncio.run(_measure(root, postgres.create_database()))


async def _measure(root: Path, database: TestDatabase) -> list[Row]:
    files = ClusterFiles(root / "cluster", "bench")
    os.environ["PGSERVICEFILE"] = str(files.write_services("bench", {SERVICE: database.connection_string}))
    tokens = await create_tokens(root / "workspace", f"service={SERVICE}")
    async with _run_servers(root / "workspace", files, database) as (active, standby):
        same_latency = await _measure_latency(active, active, tokens)
        other_latency = await _measure_latency(active, standby, tokens)
        failover = await _measure_pause((active, standby), tokens[DEVELOPER], signal.SIGKILL)
        handover = await _measure_pause((active, standby), tokens[DEVELOPER], signal.SIGTERM)
    return [
        Row("creation of a task to its event at a client of the same server, p50", same_latency, "reported", "ms"),
        Row("creation of a task to its event at a client of another server, p50", other_latency, "reported", "ms"),
        Row(f"pause after kill -9 of the active server, lease of {LEASE_SECONDS:g} s", failover, "reported", "s"),
        Row("pause after SIGTERM of the active server", handover, "reported", "s"),
    ]


async def _measure_latency(sending: ClusterServer, receiving: ClusterServer, tokens: dict[str, str]) -> float:
    """Return the median milliseconds from the request for a task to its event at a client of another server."""
    sender, receiver = create_client(sending.url, tokens[DEVELOPER]), create_client(receiving.url, tokens[OWNER])
    latencies = await measure_event_latencies(sender, receiver)
    await sender.close()
    await receiver.close()
    return 1000 * statistics.median(latencies)


@asynccontextmanager
async def _run_servers(
    workspace: Path, files: ClusterFiles, database: TestDatabase
) -> AsyncIterator[tuple[ClusterServer, ClusterServer]]:
    """Run two servers. The first one is active."""
    async with AsyncExitStack() as stack:
        servers = []
        for name in ("one", "two"):
            server = ClusterServer(workspace, files, name, {SERVICE: database.connection_string}, passphrase=PASSPHRASE)
            stack.callback(server.close)
            await _start(server)
            servers.append(server)
        yield servers[0], servers[1]


async def _start(server: ClusterServer) -> None:
    server.launch()
    deadline = time.monotonic() + START_TIMEOUT
    while not await _is_ready(server, ""):
        assert time.monotonic() < deadline, "the server did not become ready"
        await asyncio.sleep(0.05)


async def _is_ready(server: ClusterServer, query: str) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"{server.url}/readyz{query}")).is_success
        except httpx.TransportError:
            return False


async def _measure_pause(
    servers: tuple[ClusterServer, ClusterServer], token: str, signal_number: signal.Signals
) -> float:
    """Stop the active server several times. Return the median seconds until the other one has created a task."""
    pauses = []
    for _ in range(ROUNDS):
        stopped, remaining = servers if await _is_ready(servers[0], "?active") else servers[::-1]
        client = create_client(remaining.url, token)
        await _create_task(client)
        began_at = time.monotonic()
        os.kill(stopped.pid, signal_number)
        await _create_task(client)
        pauses.append(time.monotonic() - began_at)
        await client.close()
        await stopped.wait()
        await _start(stopped)
    return statistics.median(pauses)


async def _create_task(client: HttpClient) -> None:
    await client.create_signing(SigningRequest(config=DEVICE, message=b"hello"))
