"""The folder of a crypto host: created once from an enrollment, then opened by its agent.

It has the layout of a workspace (:class:`~sealyard.model.workspace.WorkspacePaths`), with ``host.json`` in place of
``workspace.json``, and neither a store nor an audit log.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.jobs.key_holder import KeyHolder
from sealyard.keys.master_key import KEYRING_FILE
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import InvalidInputError, WorkspaceError
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.model.zones import ENROLLMENT_VERSION, CryptoHostSettings, Enrollment, ZoneIdentity
from sealyard.storage.postgres.connection import Database

StartKeyHolder = Callable[[KeyStoreLocation, Enrollment], KeyHolder]
"""Starts the key holder that creates the key store, or opens the copied one, and pins the enrollment in it."""


async def create_host(
    folder: Path,
    enrollment: Enrollment,
    bus: str,
    start_key_holder: StartKeyHolder,
    now: datetime,
    *,
    copied_keys: Path | None = None,
) -> ZoneIdentity:
    """Create the folder of a crypto host, and return the identity of its zone, which the server has to admit.

    ``bus``: connection string of the bus database for crypto hosts, without a password. ``copied_keys``: a copy of the
    folder ``keys`` of another host of the zone; without it, the host is the first one and creates the keys of the zone.

    Removes what it has created if it fails. Raises :class:`WorkspaceError` if the folder is in use,
    :class:`UsageError` if ``bus`` is not valid, :class:`InvalidInputError` if ``copied_keys`` cannot be used, the
    errors of the key holder, and :class:`StorageError` if a file cannot be written.
    """
    Database(bus)
    paths = WorkspacePaths(folder.absolute())
    _require_unused(paths.root)
    existed = paths.root.exists()
    try:
        for directory in (paths.root, paths.keys, paths.artifacts, paths.worker_log.parent):
            make_private_dir(directory)
        paths.root.chmod(0o700)
        if copied_keys is not None:
            _copy_keys(copied_keys, paths.keys)
        location = build_host_location(paths, enrollment, create=copied_keys is None)
        identity = await _pin_enrollment(location, enrollment, start_key_holder)
        settings = CryptoHostSettings(enrollment=enrollment, bus=bus, created_at=now)
        # Written last, because it is what makes the folder a crypto host.
        write_atomic(paths.host, msgspec.json.format(msgspec.json.encode(settings), indent=2) + b"\n")
    except OSError as error:
        _remove(paths.root, keep_folder=existed)
        raise storage_error(error, "creating the folder of the crypto host") from error
    except BaseException:
        _remove(paths.root, keep_folder=existed)
        raise
    return identity


def load_host(folder: Path) -> CryptoHostSettings:
    """Load ``host.json``. Raises :class:`WorkspaceError` if the folder is not that of a crypto host."""
    path = WorkspacePaths(folder).host
    try:
        settings = msgspec.json.decode(path.read_bytes(), type=CryptoHostSettings)
    except FileNotFoundError:
        raise WorkspaceError(
            f"{escape_text(str(folder))} is not the folder of a crypto host.", "Enroll the crypto host first."
        ) from None
    except OSError as error:
        raise WorkspaceError(
            f"Cannot read {escape_text(str(path))}: {error.strerror}.", "Run the agent as the owner of the folder."
        ) from error
    except JSON_ERRORS as error:
        raise WorkspaceError(
            f"{escape_text(str(path))} is damaged: {escape_text(str(error))}.", "Restore it from a backup."
        ) from error
    if settings.enrollment.version > ENROLLMENT_VERSION:
        raise WorkspaceError(
            "The crypto host was enrolled by a newer version of Sealyard.", "Use that version or a newer one."
        )
    return settings


def build_host_location(paths: WorkspacePaths, enrollment: Enrollment, *, create: bool = False) -> KeyStoreLocation:
    """Return what the key holder of a crypto host needs. ``create``: whether to create the master key."""
    return KeyStoreLocation(
        workspace=str(paths.root),
        workspace_id=enrollment.workspace_id,
        key_store=KeyStore.PASSPHRASE,
        create=create,
        crypto_host=True,
    )


def verify_pinned(settings: CryptoHostSettings, identity: ZoneIdentity) -> None:
    """Raise :class:`WorkspaceError` if ``host.json`` has another enrollment than the key store has pinned."""
    if settings.enrollment != identity.enrollment:
        raise WorkspaceError(
            "host.json has another enrollment than the key store of this crypto host.",
            "Find out which program changed it, and restore it from a backup.",
        )


async def _pin_enrollment(
    location: KeyStoreLocation, enrollment: Enrollment, start_key_holder: StartKeyHolder
) -> ZoneIdentity:
    key_holder = start_key_holder(location, enrollment)
    try:
        return await key_holder.get_zone_identity()
    finally:
        key_holder.close()


def _require_unused(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise WorkspaceError(
            f"{escape_text(str(folder))} is not an empty folder.", "Choose a new folder for the crypto host."
        )


def _copy_keys(source: Path, target: Path) -> None:
    """Copy a folder ``keys``. Raises :class:`InvalidInputError` if it is not one, or contains other than files."""
    if not (source / KEYRING_FILE).is_file():
        raise InvalidInputError(
            f"{escape_text(str(source))} is not a copy of the folder keys of a crypto host: it has no {KEYRING_FILE}.",
            "Copy the whole folder keys of the first host of the zone.",
        )
    for path in sorted(source.rglob("*")):
        copy = target / path.relative_to(source)
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise InvalidInputError(
                f"{escape_text(str(path))} is neither a file nor a folder.", "Copy the folder keys again."
            )
        if path.is_dir():
            make_private_dir(copy)
        else:
            write_atomic(copy, path.read_bytes())


def _remove(folder: Path, *, keep_folder: bool) -> None:
    """Remove the content of the folder, and the folder itself unless it existed before."""
    if not keep_folder:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        shutil.rmtree(path, ignore_errors=True)
