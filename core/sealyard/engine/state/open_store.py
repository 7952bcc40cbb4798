"""Open the store of a workspace for writing, with its key and the generation that the worker state has recorded."""

from __future__ import annotations

from functools import partial

from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.state.tables import INDEXES
from sealyard.jobs.bus import JobBus
from sealyard.model.key_holder_messages import EngineKeys
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.storage.documents import DocumentStore, TinyDocumentStore
from sealyard.storage.frame_chain import StoreCredentials
from sealyard.storage.opening import StoreOpening


async def open_store(
    paths: WorkspacePaths, metadata: WorkspaceMetadata, bus: JobBus
) -> tuple[TinyDocumentStore, EngineKeys]:
    """Open and verify the store, and return it with the keys of the engine. The workspace must be locked.

    The store is loaded while the key holder opens the key store. Raises :class:`KeyStoreLockedError` if it cannot be
    opened, :class:`StoreCorruptedError` if the store is damaged or was changed, :class:`WorkerStateError` if the worker
    state was, and the other errors of :class:`~sealyard.storage.opening.StoreOpening`.
    """
    opening = await run_uncancellable(partial(StoreOpening.start, paths.store))
    try:
        keys = await bus.get_engine_keys()
        recorded = await bus.update_store_generation(None)
    except BaseException:
        opening.cancel()
        raise
    credentials = StoreCredentials(keys.store_key, metadata.id)
    store = await run_uncancellable(partial(TinyDocumentStore.open, opening, INDEXES, credentials, recorded))
    try:
        await record_generation(store, bus)
    except BaseException:
        await run_uncancellable(store.close)
        raise
    return store, keys


async def compact_store(store: DocumentStore, bus: JobBus, audit_moved_to: int) -> None:
    """Compact the store; see :meth:`DocumentStore.compact`. Its generation is recorded before and after.

    The store must not be two generations ahead of the worker state, because the next start would refuse it.
    """
    await record_generation(store, bus)
    await run_uncancellable(partial(store.compact, audit_moved_to))
    await record_generation(store, bus)


async def record_generation(store: DocumentStore, bus: JobBus) -> None:
    """Record the current generation of the store in the worker state, if it is not recorded yet."""
    if store.generation is not None:
        await bus.update_store_generation(store.generation)


def open_store_reader(paths: WorkspacePaths) -> TinyDocumentStore:
    """Open the store for reading, without verifying it; see :meth:`TinyDocumentStore.open_reader`."""
    return TinyDocumentStore.open_reader(paths.store, INDEXES)
