"""The enrollment that the key store of a crypto host has pinned: the engine whose orders its workers execute.

It is stored beside the master key, encrypted and authenticated under the passphrase. So it cannot be changed or removed
without the passphrase, and a second host of the zone, which gets a copy of the key store, has it already.
"""

from __future__ import annotations

import msgspec

from sealyard.keys.derived_keys import derive_zone_keys
from sealyard.keys.master_key import OpenedKeyStore
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import ConflictError, KeyStoreCorruptedError
from sealyard.model.key_holder_messages import OpenKeyHolder
from sealyard.model.workspace import WorkspacePaths
from sealyard.model.zones import Enrollment, ZoneIdentity


def open_zone(request: OpenKeyHolder, key_store: OpenedKeyStore, paths: WorkspacePaths) -> ZoneIdentity | None:
    """Return the zone of the key store, None for that of a workspace. Pins the enrollment in ``request`` before.

    Raises :class:`ConflictError` if another enrollment is pinned, and :class:`KeyStoreCorruptedError` if a crypto host
    has none.
    """
    if request.enrollment is not None:
        _pin(request.enrollment, request.location.workspace_id, key_store)
        if not paths.worker_state.exists():
            # The key store can be a copy of another host's, whose worker state stays there.
            key_store.delete_state_epoch()
    enrollment = _load(key_store)
    if enrollment is not None:
        return ZoneIdentity(enrollment=enrollment, keys=derive_zone_keys(key_store.master_key).public)
    if request.location.crypto_host:
        raise KeyStoreCorruptedError(
            "The key store of this crypto host has no enrollment, so it cannot verify orders.",
            "Restore the folder from a backup, or enroll a new crypto host.",
        )
    return None


def _pin(enrollment: Enrollment, workspace_id: str, key_store: OpenedKeyStore) -> None:
    pinned = _load(key_store)
    if enrollment.workspace_id != workspace_id or pinned not in (None, enrollment):
        raise ConflictError(
            "The key store is enrolled for another workspace, zone or engine.",
            "Use the enrollment with which the first host of the zone was enrolled.",
        )
    if pinned is None:
        key_store.save_enrollment(msgspec.json.encode(enrollment).decode())


def _load(key_store: OpenedKeyStore) -> Enrollment | None:
    text = key_store.load_enrollment()
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Enrollment)
    except JSON_ERRORS:
        raise KeyStoreCorruptedError(
            "The enrollment in the key store cannot be read.", "Restore the folder from a backup."
        ) from None
