"""Operations on a local workspace that need no client: load its metadata, create it."""

from __future__ import annotations

import re
from pathlib import Path

from msgspec import UNSET

from sealyard.client.config.key_holder import KeyHolderFactory
from sealyard.client.config.profiles import (
    Profile,
    add_profile,
    read_profiles,
    require_writable_profiles,
    user_profiles_path,
)
from sealyard.engine.workspace import load_metadata
from sealyard.model.access import parse_subject
from sealyard.model.errors import StorageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.workspace import KeyStore, WorkspaceMetadata, WorkspacePaths


def load_workspace_metadata(folder: Path) -> WorkspaceMetadata:
    """Return the metadata of the workspace in ``folder``.

    Raises :class:`WorkspaceError` if there is no workspace or its metadata cannot be read.
    """
    return load_metadata(WorkspacePaths(folder))


def has_database(folder: Path) -> bool:
    """Return whether the store of the workspace is in a database.

    Raises :class:`WorkspaceError` if there is no workspace or its metadata cannot be read.
    """
    return load_workspace_metadata(folder).database is not UNSET


async def create_workspace(
    folder: Path,
    *,
    name: str,
    administrator: str,
    key_store: KeyStore,
    key_holder: KeyHolderFactory,
    close_key_holder: bool = True,
    database: str | None = None,
    artifacts: str | None = None,
    zone: str | None = None,
    bus: str | None = None,
) -> Profile:
    """Create a workspace, and a profile for its administrator, which becomes the user's current profile.

    ``key_holder`` starts the key holder that creates the master key; ``close_key_holder``: whether to close it at the
    end. ``database``: the connection string of the database for its store and audit log, unless they are in the folder.
    ``artifacts``: the URL of the place in S3 for its inputs and results, unless they are in the folder.
    ``zone`` and ``bus``: the name of the crypto zone that executes its tasks, and the connection string of the bus
    database, unless workers on this machine do. Returns the profile. Raises :class:`UsageError`,
    :class:`WorkspaceError`, :class:`StorageError` or :class:`KeyStoreLockedError` if the workspace cannot be created.
    """
    from sealyard.engine.create_workspace import create_workspace

    path = folder.absolute()
    identity = parse_subject(administrator)
    require_writable_profiles()
    await create_workspace(
        WorkspacePaths(path),
        name=name,
        administrator=identity,
        key_store=key_store,
        key_holder=key_holder,
        close_key_holder=close_key_holder,
        database=database,
        artifacts=artifacts,
        zone=zone,
        bus=bus,
    )
    profile_name = read_profiles(user_profiles_path()).free_name(name, lambda profile: profile.workspace == str(path))
    profile = Profile(name=profile_name, identity=identity, workspace=str(path))
    try:
        add_profile(user_profiles_path(), profile, current=True)
    except StorageError as error:
        raise StorageError(
            f"The workspace was created, but not its profile {profile_name}. {error.message}",
            Hint.of(HintCode.ADD_PROFILE),
        ) from error
    return profile


def detect_key_store() -> KeyStore:
    """Return OS_KEYRING if this machine has a trusted OS keyring, else PASSPHRASE.

    May block for up to five seconds while the keyring is probed.
    """
    from sealyard.keys.master_key import os_keyring_available

    return KeyStore.OS_KEYRING if os_keyring_available() else KeyStore.PASSPHRASE


def default_workspace_path() -> Path:
    """Return the default folder of a user's workspace, in the XDG data directory."""
    from platformdirs import user_data_path

    return user_data_path("sealyard") / "workspace"


def current_user_name() -> str:
    """Return the user's account name, with characters replaced that are invalid in a subject name."""
    import getpass

    return re.sub(r"[^A-Za-z0-9._@+-]", "-", getpass.getuser()).lstrip("._@+-")[:64] or "administrator"
