"""Open the engine of a workspace, for writing or for reading only."""

from __future__ import annotations

import asyncio
import contextlib

from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.devices.key_monitor import CHECK_INTERVAL
from sealyard.engine.engine import Engine
from sealyard.engine.open_bus import open_bus
from sealyard.engine.state.open_artifacts import open_artifacts, open_artifacts_reader
from sealyard.engine.state.open_state import acquire_lease, open_reader_state, open_state
from sealyard.engine.workspace import load_metadata, lock_workspace
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.clock import Clock
from sealyard.model.cluster import LeaseSettings
from sealyard.model.errors import WorkspaceLockedError
from sealyard.model.workspace import WorkspacePaths


async def open_engine(
    paths: WorkspacePaths,
    *,
    purpose: str,
    key_holder: KeyHolder | KeyHolderFactory,
    work: bool = True,
    clock: Clock | None = None,
    workers: int = 2,
    key_check_interval: float = CHECK_INTERVAL,
    lease: LeaseSettings | None = None,
) -> Engine:
    """Open and start the engine of a workspace, as its only writer.

    If the workspace has a crypto zone, its hosts execute the tasks; the engine starts without them, too.

    ``key_holder``: stays open when the engine is closed; a function starts one that the engine closes. ``work``:
    whether to start the scheduler. ``workers``: number of worker slots. ``key_check_interval``: seconds between two
    checks of a key. ``lease``: how this engine holds the lease of a workspace in a database as one of several servers.
    The call must not be cancelled: a partially opened engine leaves threads running.

    Raises :class:`WorkspaceLockedError` if another process has the workspace open for writing,
    :class:`KeyStoreLockedError` if the key store cannot be opened, :class:`StoreCorruptedError` if the store is damaged
    or was changed, :class:`AuditVerificationError` if the audit log was changed or does not belong to the store,
    :class:`ArtifactStoreError` if the bucket of its artifacts cannot be used, and other subclasses of
    :class:`SealyardError` if the workspace cannot be opened for another reason.
    """
    metadata = load_metadata(paths)
    clock = clock or SystemClock()
    async with contextlib.AsyncExitStack() as resources:
        opening = await acquire_lease(metadata, lease)
        if opening is not None:
            resources.push_async_callback(run_uncancellable, opening.cancel)
        lock = await lock_workspace(paths, purpose, has_lease=opening is not None)
        resources.callback(lock.release)
        if load_metadata(paths) != metadata:
            raise WorkspaceLockedError("The workspace was moved at this moment.", "Try again.")
        bus = await open_bus(paths, metadata, key_holder, clock, workers)
        resources.push_async_callback(bus.close)
        state = await open_state(paths, metadata, bus, opening)
        resources.push_async_callback(run_uncancellable, state.close)
        engine = Engine(metadata, paths, await open_artifacts(paths, metadata), bus, clock, state)
        resources.pop_all()  # the engine closes them from here on
    try:
        await engine.start(lock, work=work, key_check_interval=key_check_interval)
    except BaseException:
        await engine.close()
        raise
    return engine


async def open_reader(paths: WorkspacePaths, *, clock: Clock | None = None) -> Engine:
    """Open a read-only engine. It needs no lock and no key store: it does not verify the documents.

    Raises :class:`WorkspaceError` if there is no workspace in the folder, and the errors of
    :func:`~sealyard.engine.state.open_state.open_reader_state`.
    """
    metadata, clock = load_metadata(paths), clock or SystemClock()
    state = await asyncio.to_thread(open_reader_state, paths, metadata)
    bus = PipeBus(None, paths.worker_log, clock)
    return Engine(metadata, paths, open_artifacts_reader(paths, metadata), bus, clock, state)
