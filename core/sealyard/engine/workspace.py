"""Create the directory of a workspace, and read and write its metadata file."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import msgspec

from sealyard.concurrency.threads import run_uncancellable
from sealyard.fs.atomic import remove_stale_files, storage_error, write_atomic
from sealyard.fs.lock_fencing import acquire_fenced_lock
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.base import JSON_ERRORS
from sealyard.model.errors import StorageError, WorkspaceError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.key_holder_messages import KeyStoreLocation
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import LAYOUT_VERSION, WorkspaceMetadata, WorkspacePaths

_FORMER_KEY_TRANSFER = "passing"
"""The folder in ``keys`` through which earlier releases passed key files to the worker, in plain text."""


def load_metadata(paths: WorkspacePaths) -> WorkspaceMetadata:
    """Load and check the metadata of a workspace.

    Raises :class:`WorkspaceError` if there is no workspace, its metadata cannot be read, or it has another layout
    version.
    """
    try:
        metadata = msgspec.json.decode(paths.file.read_bytes(), type=WorkspaceMetadata)
    except FileNotFoundError:
        raise WorkspaceError(
            f"No workspace in {escape_text(str(paths.root))}.",
            Hint.of(HintCode.CREATE_WORKSPACE),
        ) from None
    except (OSError, *JSON_ERRORS) as error:
        raise WorkspaceError(f"Cannot read {escape_text(str(paths.file))}: {error}.") from error
    if metadata.format > LAYOUT_VERSION:
        raise WorkspaceError(
            "The workspace was created by a newer version of Sealyard.", "Use that version or a newer one."
        )
    if metadata.format < LAYOUT_VERSION:
        raise WorkspaceError(
            f"The workspace was created by an older version of Sealyard (layout {metadata.format}; this version needs"
            f" {LAYOUT_VERSION}), and older layouts are not converted.",
            Hint.of(HintCode.CREATE_WORKSPACE),
        )
    return metadata


def create_layout(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> None:
    """Create the directories of a workspace (mode 0700), and then its metadata file.

    The metadata file is written last, because it is what makes the directory a workspace. Raises :class:`StorageError`
    if a directory or the file cannot be created.
    """
    try:
        for directory in (paths.root, paths.store, paths.audit, paths.artifacts, paths.keys):
            directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.root.chmod(0o700)
    except OSError as error:
        raise _creation_error(error) from error
    save_metadata(paths, metadata)


def _creation_error(error: OSError) -> StorageError:
    return StorageError(
        f"Cannot create {escape_text(str(error.filename))}: {error.strerror}.", "Choose another folder."
    )


def require_empty(paths: WorkspacePaths) -> None:
    """Raise :class:`WorkspaceError` if the directory of a new workspace is not empty.

    Raises :class:`StorageError` if it cannot be read.
    """
    try:
        has_workspace = paths.file.exists()
        has_entries = paths.root.exists() and any(paths.root.iterdir())
    except OSError as error:
        raise _creation_error(error) from error
    if has_workspace:
        raise WorkspaceError(
            f"{escape_text(str(paths.root))} already contains a workspace.", "Use it, or choose another folder."
        )
    if has_entries:
        raise WorkspaceError(f"{escape_text(str(paths.root))} is not empty.", "Choose an empty or new folder.")


def remove_crash_leftovers(paths: WorkspacePaths) -> None:
    """Remove what a killed process left: temporary files, and key files that an earlier release passed to the worker.

    Ignores errors. Must be called with the workspace lock held.
    """
    shutil.rmtree(paths.keys / _FORMER_KEY_TRANSFER, ignore_errors=True)
    key_folders = (Path(folder) for folder, _, _ in os.walk(paths.keys))
    remove_stale_files((paths.root, paths.audit, *key_folders))


def save_metadata(paths: WorkspacePaths, metadata: WorkspaceMetadata) -> None:
    """Write the metadata file (mode 0600), replacing an existing one atomically. It is durable on return.

    Raises :class:`StorageError` if it cannot be written.
    """
    content = msgspec.json.format(msgspec.json.encode(metadata), indent=2) + b"\n"
    try:
        write_atomic(paths.file, content)
    except OSError as error:
        raise storage_error(error, "writing the metadata of the workspace") from error


async def lock_workspace(paths: WorkspacePaths, purpose: str, *, has_lease: bool) -> WorkspaceLock:
    """Lock the workspace for writing.

    ``has_lease``: whether this process holds the lease of the workspace, so that no other process may hold the lock.
    Raises the errors of :func:`~sealyard.fs.lock_fencing.acquire_fenced_lock`.
    """
    acquire = acquire_fenced_lock if has_lease else WorkspaceLock.acquire
    return await run_uncancellable(partial(acquire, paths.lock, purpose))


def build_key_store_location(
    paths: WorkspacePaths, metadata: WorkspaceMetadata, *, create: bool = False
) -> KeyStoreLocation:
    """Return what a key holder needs to open the workspace's keys. ``create``: whether to create a master key."""
    return KeyStoreLocation(
        workspace=str(paths.root), workspace_id=metadata.id, key_store=metadata.key_store, create=create
    )
