"""Crypto zones for tests: a bus database, a workspace with a zone, and crypto hosts whose agents run as processes."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from sealyard.agent.host_folder import create_host
from sealyard.client.engine_handle import EngineHandle
from sealyard.concurrency.clock import SystemClock
from sealyard.engine.admit_zone import admit_zone, build_enrollment
from sealyard.engine.create_workspace import create_workspace
from sealyard.engine.workspace import load_metadata
from sealyard.model.workspace import KeyStore, WorkspacePaths
from tests.support.bus_database import ZONE, BusDatabase, create_bus_database
from tests.support.key_holders import open_key_holder, unlock
from tests.support.limits import TIMEOUT
from tests.support.object_store import TestBucket
from tests.support.processes import descendants_of, find_key_holder, find_workers, kill_all, suspend
from tests.support.root import ALLOW_ROOT
from tests.support.server_harness import ADMIN, PASSPHRASE, wait_until

BUS_SERVICE = "bus"
"""The service of libpq that names the bus database in workspaces whose servers have service files of their own."""

HOST_PASSPHRASE = "a canary among passphrases of hosts"


def start_agent(
    folder: Path, log_fd: int, environment: Mapping[str, str] | None = None, command_prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the agent of the crypto host in ``folder`` as a process of its own.

    ``command_prefix``: the start of a command that runs it elsewhere, for example in a namespace.
    """
    return subprocess.Popen(
        [*command_prefix, sys.executable, "-m", "sealyard.cli.main", "worker", "run", *ALLOW_ROOT, str(folder)],
        env={**os.environ, "SEALYARD_PASSPHRASE": HOST_PASSPHRASE, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=log_fd,
        stderr=log_fd,
        start_new_session=True,
        cwd=Path(__file__).parents[2],
    )


class CryptoHost:
    """A crypto host, and its agent while it runs. ``name``: that of the running agent in the bus database."""

    def __init__(self, folder: Path, bus: BusDatabase) -> None:
        self.folder = folder
        self.paths = WorkspacePaths(folder)
        self.log = folder.parent / f"{folder.name}.log"
        self.name = ""
        self.command_prefix: tuple[str, ...] = ()
        self._bus = bus
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def workers(self) -> set[int]:
        return find_workers(self.pid)

    @property
    def key_holder(self) -> int:
        key_holder = find_key_holder(self.pid)
        assert key_holder is not None
        return key_holder

    async def start(self) -> None:
        """Start the agent, and wait until it has connected to the bus."""
        earlier = await asyncio.to_thread(self.list_names)
        with self.log.open("ab") as log:
            self._process = start_agent(self.folder, log.fileno(), command_prefix=self.command_prefix)

        async def has_connected() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, self.log.read_text(errors="replace")[-3000:]
            new = await asyncio.to_thread(self.list_names) - earlier
            self.name = next(iter(new), "")
            return bool(new)

        await wait_until(has_connected, f"{self.folder.name} has connected to the bus")

    def kill(self) -> None:
        """Kill the agent alone; its key holder and its workers must exit."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    async def stop(self) -> int:
        """Stop the agent with SIGTERM; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self._process.wait, TIMEOUT)

    async def stop_at_once(self) -> int:
        """Stop the agent without waiting for its jobs; return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)

        async def is_draining() -> bool:
            rows = self._bus.execute("SELECT draining FROM bus.host WHERE name = %s", (self.name,))
            return rows == [(True,)]

        await wait_until(is_draining, f"{self.folder.name} takes no more jobs")
        return await self.stop()

    def suspend(self) -> None:
        """Suspend the agent, its key holder and its workers, as if the machine hung."""
        self._suspended = [self.pid, *descendants_of(self.pid)]
        for pid in self._suspended:
            suspend(pid)

    def resume(self) -> None:
        for pid in self._suspended:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def set_bus(self, connection_string: str) -> None:
        """Change the connection string of the agent, for its next start."""
        _change_json(self.folder / "host.json", {"bus": connection_string})

    def close(self) -> None:
        """Kill the agent and all its processes, if they run."""
        if self._process is not None and self._process.poll() is None:
            kill_all([self.pid, *descendants_of(self.pid)])
            self._process.wait()

    def list_names(self) -> set[str]:
        """Return the names of all agents that have ever connected to the bus."""
        return {str(name) for (name,) in self._bus.execute("SELECT name FROM bus.host")}


class ZoneHarness:
    """A workspace with a crypto zone. The crypto hosts in ``hosts`` are enrolled, and the zone is admitted."""

    def __init__(
        self,
        root: Path,
        bus: BusDatabase,
        bucket: TestBucket,
        *,
        database: str | None = None,
        bus_string: str = "",
        endpoint: str = "",
    ) -> None:
        """Prepare a zone in the folder ``root``.

        ``database``: the connection string of the store; None for a store in files. ``bus_string``: the connection
        string of the engines to the bus, by default a direct one. ``endpoint``: that of the object store, if a proxy is
        in between.
        """
        self.root = root
        self.bus = bus
        self.bucket = bucket
        self.paths = WorkspacePaths(root / "workspace")
        self.hosts: list[CryptoHost] = []
        self._database = database
        self._bus_string = bus_string or bus.engine
        self._artifacts_url = bucket.build_url(endpoint or bucket.server.url)

    async def create(self, name: str = "yard", administrator: str = ADMIN) -> CryptoHost:
        """Create the workspace, and a crypto host whose agent does not run yet."""
        await create_workspace(
            self.paths,
            name=name,
            administrator=administrator,
            key_store=KeyStore.PASSPHRASE,
            key_holder=unlock(PASSPHRASE),
            database=self._database,
            artifacts=self._artifacts_url,
            zone=ZONE,
            bus=self._bus_string,
        )
        return await self.add_host()

    async def add_host(self) -> CryptoHost:
        """Enroll a crypto host: the first one is admitted, and each other one gets a copy of its keys."""
        host = CryptoHost(self.root / f"host-{len(self.hosts) + 1}", self.bus)
        with open_key_holder(self.paths.root, PASSPHRASE) as key_holder:
            enrollment = await build_enrollment(self.paths, key_holder)
        identity = await create_host(
            host.folder,
            enrollment,
            self.bus.agent,
            lambda location, enrollment: unlock(HOST_PASSPHRASE, enrollment=enrollment)(location),
            SystemClock().now(),
            copied_keys=self.hosts[0].paths.keys if self.hosts else None,
        )
        if not self.hosts:
            with open_key_holder(self.paths.root, PASSPHRASE) as key_holder:
                await admit_zone(self.paths, identity.keys, key_holder)
        self.hosts.append(host)
        return host

    @property
    def workspace_id(self) -> str:
        return load_metadata(self.paths).id

    def copy(self, root: Path, bucket: TestBucket) -> ZoneHarness:
        """Return a copy of the stopped zone in the folder ``root``, with another bucket and bus database."""
        copy = ZoneHarness(root, create_bus_database(self.bus.server), bucket)
        _copy_folder(self.paths.root, copy.paths.root)
        _change_json(copy.paths.file, {"artifacts": bucket.url, "zone": {"bus": copy.bus.engine}})
        for host in self.hosts:
            copy.hosts.append(CryptoHost(_copy_folder(host.folder, root / host.folder.name), copy.bus))
            copy.hosts[-1].set_bus(copy.bus.agent)
        return copy

    def list_objects(self) -> list[str]:
        """Return the keys of the inputs and results in the bucket, without prefix and workspace."""
        return self.bucket.keys(self.workspace_id)

    def download_object(self, key: str, path: Path) -> None:
        self.bucket.client.download_file(self.bucket.name, f"yard/{self.workspace_id}/{key}", str(path))

    async def open_engine(self) -> EngineHandle:
        return await EngineHandle.open(self.paths.root, purpose="test", key_holder=unlock(PASSPHRASE))

    @asynccontextmanager
    async def run_engine(self) -> AsyncIterator[EngineHandle]:
        engine = await self.open_engine()
        try:
            yield engine
        finally:
            await engine.close()

    def close(self) -> None:
        for host in self.hosts:
            host.close()


def _copy_folder(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target, ignore=shutil.ignore_patterns("socket")))


def _change_json(path: Path, changes: dict[str, Any]) -> None:
    """Change values of a JSON file. Those of ``changes`` that are objects are merged into the existing ones."""
    content = json.loads(path.read_text())
    for name, value in changes.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    path.write_text(json.dumps(content))
