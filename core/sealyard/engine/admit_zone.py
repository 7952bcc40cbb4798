"""Connect a workspace with its crypto zone: describe the workspace to hosts, and pin the public keys of the zone."""

from __future__ import annotations

import msgspec
from msgspec import UNSET

from sealyard.crypto.signed_messages import derive_public_key
from sealyard.engine.open_engine import open_engine
from sealyard.engine.workspace import load_metadata, save_metadata
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.access import SYSTEM_SUBJECT
from sealyard.model.audit import AuditAction
from sealyard.model.errors import ConflictError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import WorkspaceMetadata, WorkspacePaths
from sealyard.model.zone_codes import compute_fingerprint
from sealyard.model.zones import Enrollment, ZonePublicKeys, ZoneSettings

PURPOSE = "admit"


async def build_enrollment(paths: WorkspacePaths, key_holder: KeyHolder) -> Enrollment:
    """Return what a crypto host has to know about the workspace.

    The workspace can be open in another process. Raises :class:`ConflictError` if it has no zone, and
    :class:`KeyStoreLockedError` if the key store cannot be opened.
    """
    metadata = load_metadata(paths)
    zone = _require_zone(metadata)
    keys = await key_holder.get_engine_keys()
    return Enrollment(
        workspace_id=metadata.id,
        workspace_name=metadata.name,
        zone=zone.name,
        order_key=derive_public_key(keys.order_key),
    )


async def admit_zone(
    paths: WorkspacePaths, keys: ZonePublicKeys, key_holder: KeyHolder, *, replace: bool = False
) -> None:
    """Accept the reports of the zone with these keys from the next start of the engine.

    ``replace``: whether to replace other keys. Repeatable. Raises :class:`ConflictError` if the workspace has no zone,
    or one with other keys, and the errors of :func:`~sealyard.engine.open_engine.open_engine`, for example
    :class:`WorkspaceLockedError` if the workspace is open.
    """
    _check_keys(_require_zone(load_metadata(paths)), keys, replace=replace)
    engine = await open_engine(paths, purpose=PURPOSE, key_holder=key_holder, work=False)
    try:
        zone = _require_zone(engine.metadata)
        _check_keys(zone, keys, replace=replace)
        if zone.keys == keys:
            return
        fingerprint = compute_fingerprint(keys)
        unit_of_work = engine.repository.begin()
        unit_of_work.audit(
            SYSTEM_SUBJECT,
            AuditAction.UPDATED,
            f"WORKSPACE:{engine.metadata.id}",
            f"crypto zone {escape_text(zone.name)} admitted, fingerprint {fingerprint}",
            {"zone": zone.name, "fingerprint": fingerprint, "replaced": zone.keys is not UNSET},
        )
        # Audited first: after a crash in between, the zone is not admitted without an entry.
        await unit_of_work.commit()
        admitted_zone = msgspec.structs.replace(zone, keys=keys)
        save_metadata(paths, msgspec.structs.replace(engine.metadata, zone=admitted_zone))
    finally:
        await engine.close()


def _require_zone(metadata: WorkspaceMetadata) -> ZoneSettings:
    if metadata.zone is UNSET:
        raise ConflictError(
            "The workspace has no crypto zone: workers on this machine execute its tasks.",
            "Create a workspace with a crypto zone.",
        )
    return metadata.zone


def _check_keys(zone: ZoneSettings, keys: ZonePublicKeys, *, replace: bool) -> None:
    """Raise :class:`ConflictError` if the zone has other keys, unless they may be replaced."""
    if zone.keys is UNSET or zone.keys == keys or replace:
        return
    raise ConflictError(
        f"The crypto zone {escape_text(zone.name)} is admitted with other keys, fingerprint"
        f" {compute_fingerprint(zone.keys)}.",
        "Replace them only if the zone was set up again.",
    )
