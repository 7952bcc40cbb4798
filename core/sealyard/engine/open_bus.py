"""Open the job bus of a workspace: to workers on this machine, or to a crypto zone."""

from __future__ import annotations

from msgspec import UNSET

from sealyard.engine.state.open_state import require_postgres_packages
from sealyard.engine.workspace import build_key_store_location
from sealyard.jobs.bus import JobBus
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.jobs.pipe_bus import PipeBus
from sealyard.model.clock import Clock
from sealyard.model.errors import WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.model.zones import ZoneSettings


async def open_bus(
    paths: WorkspacePaths,
    metadata: WorkspaceMetadata,
    key_holder: KeyHolder | KeyHolderFactory,
    clock: Clock,
    workers: int,
) -> JobBus:
    """Open the bus. It connects to a bus database when it is used.

    ``workers``: number of worker slots on this machine. A crypto zone does not use them for tasks. Raises
    :class:`WorkspaceError` if the packages for a bus database are not installed, or if the workspace has a zone, but no
    bucket, and :class:`UsageError` if the connection string of the bus database cannot be used.
    """
    zone = metadata.zone
    if zone is UNSET:
        return PipeBus.open(key_holder, build_key_store_location(paths, metadata), clock, workers)
    _require_bucket(zone, metadata)
    with require_postgres_packages():
        from sealyard.jobs.zone.bus import ZoneBus

    local = PipeBus.open(key_holder, build_key_store_location(paths, metadata), clock, workers)
    try:
        return ZoneBus.open(zone, metadata.id, local, clock)
    except BaseException:
        await local.close()
        raise


def _require_bucket(zone: ZoneSettings, metadata: WorkspaceMetadata) -> None:
    if metadata.artifacts is UNSET:
        raise WorkspaceError(
            f"The hosts of the crypto zone {escape_text(zone.name)} cannot read inputs in the folder of the workspace.",
            "Keep inputs and results in S3: set the URL of the artifacts in workspace.json.",
        )
