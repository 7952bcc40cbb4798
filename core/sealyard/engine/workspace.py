"""A workspace's folder: made once, opened by one writer or any number of readers."""

from __future__ import annotations

import os

import msgspec

from sealyard.model.errors import StorageError, WorkspaceError
from sealyard.model.safe_text import escape_text
from sealyard.model.workspace import LAYOUT_VERSION, WorkspaceMetadata, WorkspacePaths


def load_metadata(places: WorkspacePaths) -> WorkspaceMetadata:
    """Load and check the workspace's metadata.

    Raises :class:`WorkspaceError` if there is no workspace, or it has another layout version.
    """
    try:
        file = msgspec.json.decode(places.file.read_bytes(), type=WorkspaceMetadata)
    except FileNotFoundError:
        raise WorkspaceError(
            f"There is no workspace in {escape_text(str(places.root))}.",
            "Make one with `sealyard init`, or name another with --workspace or --profile.",
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise WorkspaceError(f"{escape_text(str(places.file))} cannot be read: {error}.") from error
    if file.format > LAYOUT_VERSION:
        raise WorkspaceError("The workspace was made by a newer Sealyard.", "Use that version, or a newer one.")
    if file.format < LAYOUT_VERSION:
        raise WorkspaceError(
            f"The workspace was created by an older Sealyard (layout {file.format}; this version needs"
            f" {LAYOUT_VERSION}).",
            "Create a new workspace: sealyard init. Older layouts are not converted.",
        )
    return file


def create_layout(places: WorkspacePaths, file: WorkspaceMetadata) -> None:
    """Makes the folders (mode 0700) and, last of all, the file that makes them a workspace."""
    try:
        _require_empty(places)
        for folder in (places.root, places.store, places.audit, places.artifacts, places.keys):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        places.root.chmod(0o700)
    except OSError as error:
        raise StorageError(
            f"{escape_text(str(error.filename))} cannot be made: {error.strerror}.", "Choose another folder."
        ) from error
    save_metadata(places, file)


def _require_empty(places: WorkspacePaths) -> None:
    """Raises :class:`WorkspaceError`, and ``OSError`` where it cannot be seen."""
    if places.file.exists():
        raise WorkspaceError(
            f"There is a workspace in {escape_text(str(places.root))} already.", "Use it, or choose another folder."
        )
    if places.root.exists() and any(places.root.iterdir()):
        raise WorkspaceError(f"{escape_text(str(places.root))} is not empty.", "Choose an empty or a new folder.")


def save_metadata(places: WorkspacePaths, file: WorkspaceMetadata) -> None:
    temporary = places.file.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as target:
        target.write(msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")
        target.flush()
        os.fsync(target.fileno())
    temporary.rename(places.file)
