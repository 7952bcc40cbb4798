"""A storm over a workspace with a crypto zone: two servers, two crypto hosts, two databases and an object store."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, ClassVar, NamedTuple

from tests.crash.client_workload import ClientWorkload
from tests.crash.cluster_process import ClusterServer
from tests.crash.cluster_storm import (
    ClusterStorm,
    count_lost_worker,
    cut,
    may_lose_worker,
    restart_database,
    send_signal,
    suspend,
)
from tests.crash.crypto_host_process import CryptoHostProcess
from tests.crash.process_faults import ProcessFaults
from tests.crash.supervised_process import SupervisedProcess
from tests.support.bus_database import BUS_AGENT, BUS_ENGINE, BusDatabase
from tests.support.cuttable_proxy import CuttableProxy
from tests.support.postgres import TestDatabase
from tests.support.processes import descendants_of
from tests.support.small_disk import SmallDisk, mount_small_disk
from tests.support.zone_harness import CryptoHost

MAX_LOSS_SECONDS = 10.0
"""How long a crypto host is suspended or cut off, at most: after 8 seconds, the engine gives its jobs to another."""

SHORT_LOSS_SECONDS = 2.0
LONG_LOSS_PROBABILITY = 0.2
HOST_DISK_SIZE = 96 * 1024 * 1024
MAX_FULL_SECONDS = 2.0


class ZoneConnections(NamedTuple):
    """The connections of a zone that can be cut: of the servers and the hosts to the bus, and to the object store."""

    bus: BusDatabase
    bus_proxies: Sequence[CuttableProxy]
    object_store: CuttableProxy


class ZoneStorm(ClusterStorm):
    """The servers and crypto hosts, and the events that befall them."""

    weights: ClassVar[Mapping[str, int]] = {
        "kill server": 4,
        "stop server": 2,
        "suspend server": 2,
        "kill sessions": 2,
        "cut database": 2,
        "kill database": 1,
        "kill agent": 5,
        "stop agent": 2,
        "suspend agent": 3,
        "suspend host": 2,
        "pause process": 3,
        "kill worker": 5,
        "kill key holder": 2,
        "kill bus sessions": 5,
        "cut bus": 4,
        "kill bus": 1,
        "cut object store": 3,
        "fill disk": 3,
    }
    events_per_task = 8

    def __init__(
        self,
        servers: list[ClusterServer],
        proxies: list[CuttableProxy],
        database: TestDatabase,
        hosts: list[CryptoHostProcess],
        connections: ZoneConnections,
        host_disk: SmallDisk,
    ) -> None:
        """Prepare a storm. ``host_disk``: the disk of one of the hosts."""
        super().__init__(servers, proxies, database)
        self.hosts = hosts
        self._connections = connections
        self._host_disk = host_disk

    @property
    def processes(self) -> Sequence[SupervisedProcess]:
        return (*self.servers, *self.hosts)

    async def _cause(self, event: str, server: ClusterServer, workload: ClientWorkload, faults: ProcessFaults) -> bool:
        random = workload.random
        bus, bus_proxies, object_store = self._connections
        host = random.choice(self.hosts)
        match event:
            case "kill bus sessions":
                return bus.disconnect(random.choice((BUS_ENGINE, BUS_AGENT))) > 0
            case "kill bus":
                restart_database(bus.server, random.uniform(0, 1.0), signal.SIGKILL)
            case "cut bus":
                return await self._lose_host(cut(random.choice(bus_proxies), _choose_loss(random)), workload)
            case "cut object store":
                await cut(object_store, _choose_loss(random))
            case "fill disk":
                await self._fill_disk(random.uniform(0.1, MAX_FULL_SECONDS))
            case "suspend agent" if host.is_running:
                return await self._lose_host(suspend([host.pid], _choose_loss(random)), workload)
            case "suspend host" if host.is_running:
                pids = [host.pid, *descendants_of(host.pid)]
                return await self._lose_host(suspend(pids, _choose_loss(random)), workload)
            case "kill agent" | "stop agent" if host.is_running:
                number = signal.SIGKILL if event == "kill agent" else signal.SIGTERM
                return await self._lose_host(_end(host, number), workload)
            case "pause process" if host.is_running:
                await asyncio.to_thread(faults.pause_random_process, host.pid)
            case "kill worker" | "kill key holder" if host.is_running:
                return self._kill_child(event, host, workload, faults)
            case _ if event in ClusterStorm.weights:
                return await super()._cause(event, server, workload, faults)
            case _:
                return False
        return True

    async def _fill_disk(self, seconds: float) -> None:
        await asyncio.to_thread(self._host_disk.fill)
        await asyncio.sleep(seconds)
        self._host_disk.free()

    async def _lose_host(self, loss: Coroutine[Any, Any, None], workload: ClientWorkload) -> bool:
        """Let a host be lost, if no task fails by that."""
        if not may_lose_worker(workload):
            loss.close()
            return False
        count_lost_worker(workload)
        await loss
        return True


@contextmanager
def move_to_small_disk(host: CryptoHost) -> Iterator[SmallDisk]:
    """Let the agent of a host run on a small disk, and move the folder of the host back at the end."""
    with mount_small_disk(host.folder, HOST_DISK_SIZE) as disk:
        shutil.copytree(host.folder, disk.view, dirs_exist_ok=True)
        host.command_prefix = disk.command_prefix
        yield disk
        content = Path(shutil.copytree(disk.view, host.folder.with_name(f"{host.folder.name}-disk")))
    shutil.rmtree(host.folder)
    content.rename(host.folder)


def _choose_loss(random: Random) -> float:
    """Return for how long something is lost: mostly for a short time, but sometimes so long that its jobs are lost."""
    longest = MAX_LOSS_SECONDS if random.random() < LONG_LOSS_PROBABILITY else SHORT_LOSS_SECONDS
    return random.uniform(0.1, longest)


async def _end(host: CryptoHostProcess, number: signal.Signals) -> None:
    send_signal([host.pid], number)
