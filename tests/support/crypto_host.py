"""Crypto hosts for tests: a folder with keys, and the agent in this process with real workers."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from sealyard.agent.host_folder import build_host_location, create_host, load_host
from sealyard.agent.service import Agent, AgentOptions
from sealyard.concurrency.clock import SystemClock
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.key_holder_messages import KeyStoreLocation, PassphraseSource
from sealyard.model.keys import KeyInfo
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zones import Enrollment, ZonePublicKeys
from tests.support.bus_database import ZONE
from tests.support.worker_harness import NOW, PASSPHRASE, create_test_workspace
from tests.support.zone_engine import ZoneEngine


class EnrolledHost(NamedTuple):
    """The folder of a host with the keys of the worker harness, of which tests get copies."""

    folder: Path
    public_keys: ZonePublicKeys
    keys: dict[str, KeyInfo]


def start_key_holder(location: KeyStoreLocation, enrollment: Enrollment | None = None) -> KeyHolder:
    read_fd, write_fd = os.pipe()
    try:
        os.write(write_fd, PASSPHRASE.encode())
        os.close(write_fd)
        return KeyHolder.start(
            location, source=PassphraseSource.DESCRIPTOR, passphrase_fd=read_fd, enrollment=enrollment
        )
    finally:
        os.close(read_fd)


def enroll_host(folder: Path) -> EnrolledHost:
    """Create a host that is enrolled for the workspace of :class:`ZoneEngine`."""
    keys = create_test_workspace(folder / "source")
    enrollment = msgspec.structs.replace(ZoneEngine().enrollment, zone=ZONE)
    identity = asyncio.run(
        create_host(
            folder / "host", enrollment, "service=bus", start_key_holder, NOW, copied_keys=folder / "source" / "keys"
        )
    )
    return EnrolledHost(folder / "host", identity.keys, keys)


class RunningHost:
    """A host whose agent runs. ``stopping``: set it to let the agent finish its jobs; set it again to stop them."""

    def __init__(self, paths: WorkspacePaths, agent: Agent, key_holder: KeyHolder) -> None:
        self.paths = paths
        self.agent = agent
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(agent.run(self.stopping))
        self._key_holder = key_holder

    @property
    def worker_pids(self) -> tuple[int, ...]:
        return self.agent._pool.pids

    async def close(self) -> None:
        """Stop the agent at once."""
        self.task.cancel()
        await asyncio.wait({self.task})
        self._key_holder.close()


@asynccontextmanager
async def running_host(folder: Path, bus: str, options: AgentOptions | None = None) -> AsyncIterator[RunningHost]:
    """Run the agent of a host. ``bus``: the connection string of the bus database."""
    paths = WorkspacePaths(folder)
    settings = msgspec.structs.replace(load_host(folder), bus=bus)
    key_holder = start_key_holder(build_host_location(paths, settings.enrollment))
    try:
        agent = await Agent.open(paths, settings, key_holder, SystemClock(), options or AgentOptions())
    except BaseException:
        key_holder.close()
        raise
    host = RunningHost(paths, agent, key_holder)
    try:
        yield host
    finally:
        await host.close()


def copy_host(enrolled: EnrolledHost, folder: Path) -> Path:
    return Path(shutil.copytree(enrolled.folder, folder))
