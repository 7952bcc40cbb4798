"""Operations on a local workspace that need no client: load its metadata, get its passphrase, create it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sealyard.client.config.profiles import (
    Profile,
    add_profile,
    read_profiles,
    require_writable_profiles,
    user_profiles_path,
)
from sealyard.client.log import register_secret
from sealyard.engine.workspace import load_metadata
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.access import parse_subject
from sealyard.model.errors import StorageError
from sealyard.model.hints import Hint, HintCode
from sealyard.model.workspace import KeyStore, WorkspaceMetadata, WorkspacePaths


def load_workspace_metadata(folder: Path) -> WorkspaceMetadata:
    """Return the metadata of the workspace in ``folder``.

    Raises :class:`WorkspaceError` if there is no workspace or its metadata cannot be read.
    """
    return load_metadata(WorkspacePaths(folder))


def passphrase_for(
    folder: Path, environ: Mapping[str, str], ask: Callable[[], str] | None, *, tenant: str = ""
) -> str | None:
    """Return the passphrase of the workspace's key store, or None if the OS keyring holds the master key.

    ``ask`` prompts the user; pass it only if a user is at a terminal. ``tenant`` is the tenant's name on a server
    with several tenants. Raises :class:`WorkspaceError` if the workspace cannot be read, and
    :class:`KeyStoreLockedError` if neither the environment nor the user provides a passphrase.
    """
    if load_workspace_metadata(folder).key_store is not KeyStore.PASSPHRASE:
        return None
    passphrase = find_passphrase(environ, ask, tenant)
    register_secret(passphrase)
    return passphrase


def new_passphrase(environ: Mapping[str, str], ask: Callable[[], str] | None) -> str:
    """Return the passphrase for a new key store. ``ask`` has the same meaning as in :func:`passphrase_for`.

    Raises :class:`KeyStoreLockedError` if neither the environment nor the user provides a passphrase.
    """
    passphrase = find_passphrase(environ, ask)
    register_secret(passphrase)
    return passphrase


async def create_workspace(
    folder: Path, *, name: str, administrator: str, key_store: KeyStore, passphrase: str | None = None
) -> Profile:
    """Create a workspace, and a profile for its administrator, which becomes the user's current profile.

    Returns the profile. Raises :class:`UsageError`, :class:`WorkspaceError`, :class:`StorageError` or
    :class:`KeyStoreLockedError` if the workspace cannot be created.
    """
    from sealyard.engine.create_workspace import create_workspace

    path = folder.absolute()
    identity = parse_subject(administrator)
    require_writable_profiles()
    if passphrase is not None:
        register_secret(passphrase)
    await create_workspace(
        WorkspacePaths(path), name=name, administrator=identity, key_store=key_store, passphrase=passphrase
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
