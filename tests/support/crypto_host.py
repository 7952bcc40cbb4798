"""Crypto hosts for tests: a folder with keys, and the agent in this process with real workers."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sealyard.agent.host_folder import build_host_location, create_host, load_host
from sealyard.agent.service import Agent, AgentOptions
from sealyard.concurrency.clock import SystemClock
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.key_holder_messages import KeyStoreLocation, PassphraseSource
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zones import Enrollment
from tests.support.scripted_engine import ScriptedEngine
from tests.support.worker_harness import NOW, PASSPHRASE


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


async def enroll(folder: Path, engine: ScriptedEngine, keys: Path) -> WorkspacePaths:
    """Create the folder of a host with a copy of the folder ``keys``, and admit its zone."""
    identity = await create_host(folder, engine.enrollment, engine.bus.agent, start_key_holder, NOW, copied_keys=keys)
    engine.zone_keys = identity.keys
    return WorkspacePaths(folder)


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
        return self.agent._pool.pids  # the agent itself has no need to show it

    async def close(self) -> None:
        """Stop the agent at once."""
        self.task.cancel()
        await asyncio.wait({self.task})
        self._key_holder.close()


@asynccontextmanager
async def running_host(paths: WorkspacePaths, options: AgentOptions | None = None) -> AsyncIterator[RunningHost]:
    settings = load_host(paths.root)
    key_holder = start_key_holder(build_host_location(paths, settings.enrollment))
    agent = await Agent.open(paths, settings, key_holder, SystemClock(), options or AgentOptions())
    host = RunningHost(paths, agent, key_holder)
    try:
        yield host
    finally:
        await host.close()


def copy_host(source: WorkspacePaths, folder: Path) -> WorkspacePaths:
    """Copy the folder of a host that is not running."""
    shutil.copytree(source.root, folder)
    return WorkspacePaths(folder)
