"""Creation of a workspace: its directory, master key, audit key, and initial administrator with permanent rules."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from functools import partial

from msgspec import UNSET, UnsetType

from sealyard.concurrency.clock import SystemClock
from sealyard.concurrency.threads import run_uncancellable
from sealyard.engine.open_engine import open_engine
from sealyard.engine.state.open_artifacts import check_artifacts_url
from sealyard.engine.state.open_state import check_connection_string
from sealyard.engine.workspace import build_key_store_location, create_layout, require_empty
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.model.access import parse_subject
from sealyard.model.audit import AuditAction
from sealyard.model.errors import UsageError
from sealyard.model.workspace import LAYOUT_VERSION, KeyStore, WorkspaceMetadata, WorkspacePaths
from sealyard.model.zones import ZoneSettings, check_zone_name


async def create_workspace(
    paths: WorkspacePaths,
    *,
    name: str,
    administrator: str,
    key_store: KeyStore,
    key_holder: KeyHolderFactory,
    close_key_holder: bool = True,
    demo: bool = False,
    database: str | None = None,
    artifacts: str | None = None,
    zone: str | None = None,
    bus: str | None = None,
) -> WorkspaceMetadata:
    """Create a workspace in an empty or new directory, and return its metadata.

    ``database`` is the connection string of the database for its store and audit log; by default, they are in the
    directory. ``artifacts`` is the URL of the place in S3 for its inputs and results; by default, they are in the
    directory, too. ``zone`` is the name of the crypto zone that executes the tasks, and ``bus`` the connection
    string of its bus database; by default, workers on this machine execute them. A zone needs ``artifacts`` in S3, and
    must be admitted later.

    ``key_holder`` starts the key holder that creates the master key. It is closed at the end, unless
    ``close_key_holder`` is False and no error occurs. If an error occurs, the new directory is removed. Raises
    :class:`WorkspaceError` if the directory is not empty, :class:`UsageError` if ``database`` or ``bus`` is no
    connection string or ``artifacts`` no URL of S3, if they contain credentials, or if the zone lacks a bus database or
    a bucket, :class:`StorageError` if the disk cannot be written
    or the bucket cannot be used, and :class:`KeyStoreLockedError` if the passphrase is missing or the OS keyring does
    not respond.
    """
    if database is not None:
        await run_uncancellable(partial(check_connection_string, database))
    if artifacts is not None:
        await run_uncancellable(partial(check_artifacts_url, artifacts))
    zone_settings = await _build_zone_settings(zone, bus, artifacts)
    metadata = WorkspaceMetadata(
        id=secrets.token_hex(8),
        name=name,
        format=LAYOUT_VERSION,
        demo=demo,
        key_store=key_store,
        administrator=parse_subject(administrator),
        created_at=SystemClock().now(),
        database=UNSET if database is None else database,
        artifacts=UNSET if artifacts is None else artifacts,
        zone=zone_settings,
    )
    require_empty(paths)
    try:
        create_layout(paths, metadata)
        location = build_key_store_location(paths, metadata, create=True)
        await _initialize(paths, metadata, key_holder(location), close_key_holder)
    except BaseException:
        await asyncio.to_thread(shutil.rmtree, paths.root, ignore_errors=True)
        raise
    return metadata


async def _build_zone_settings(zone: str | None, bus: str | None, artifacts: str | None) -> ZoneSettings | UnsetType:
    if zone is None and bus is None:
        return UNSET
    if zone is None or bus is None:
        raise UsageError(
            "A crypto zone needs a name and a bus database.", "Give the name of the zone and a connection string."
        )
    if artifacts is None:
        raise UsageError(
            "The hosts of a crypto zone cannot read inputs in the folder of a workspace.",
            "Give the URL of a place in S3 for inputs and results, too.",
        )
    await run_uncancellable(partial(check_connection_string, bus))
    return ZoneSettings(name=check_zone_name(zone), bus=bus)


async def _initialize(
    paths: WorkspacePaths, metadata: WorkspaceMetadata, key_holder: KeyHolder, close_key_holder: bool
) -> None:
    try:
        await _write_first_entries(paths, metadata, key_holder)
    except BaseException:
        await run_uncancellable(key_holder.close)
        raise
    if close_key_holder:
        await run_uncancellable(key_holder.close)


async def _write_first_entries(paths: WorkspacePaths, metadata: WorkspaceMetadata, key_holder: KeyHolder) -> None:
    engine = await open_engine(paths, purpose="init", key_holder=key_holder, work=False)
    try:
        unit_of_work = engine.repository.begin()
        unit_of_work.audit(
            metadata.administrator,
            AuditAction.CREATED,
            f"WORKSPACE:{metadata.id}",
            f"workspace {metadata.name} created",
            {"demo": metadata.demo},
        )
        engine.access.grant_initial_admin(unit_of_work, metadata.administrator)
        await unit_of_work.commit()
    finally:
        await engine.close()
