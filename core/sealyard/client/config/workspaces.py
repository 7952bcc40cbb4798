"""What a front end does before it has a client: finds a workspace, unlocks it, or founds one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

from sealyard.client.config.profiles import Profile, add_profile, read_profiles, user_profiles_path
from sealyard.client.log import register_secret
from sealyard.engine.workspace import load_metadata
from sealyard.keys.passphrase import find_passphrase
from sealyard.model.access import parse_subject
from sealyard.model.workspace import KeyStore, WorkspaceMetadata, WorkspacePaths


def load_workspace_metadata(folder: Path) -> WorkspaceMetadata:
    """What the workspace says of itself. Raises :class:`WorkspaceError` where there is none that can be read."""
    return load_metadata(WorkspacePaths(folder))


def passphrase_for(
    folder: Path, environ: Mapping[str, str], ask: Callable[[], str] | None, *, tenant: str = ""
) -> str | None:
    """What opens the workspace's key store; None where the OS keyring holds the master key.

    ``tenant``: its name where a server has several. ``ask`` only where a person sits at a terminal. Raises
    :class:`WorkspaceError`, and :class:`KeyStoreLockedError` where nobody says the passphrase.
    """
    if load_workspace_metadata(folder).key_store is not KeyStore.PASSPHRASE:
        return None
    passphrase = find_passphrase(environ, ask, tenant)
    register_secret(passphrase)
    return passphrase


def new_passphrase(environ: Mapping[str, str], ask: Callable[[], str] | None) -> str:
    """What a new key store is to be closed with; ``ask`` as in :func:`passphrase_for`.

    Raises :class:`KeyStoreLockedError` where nobody says one.
    """
    passphrase = find_passphrase(environ, ask)
    register_secret(passphrase)
    return passphrase


async def create_workspace(
    folder: Path, *, name: str, administrator: str, key_store: KeyStore, passphrase: str | None = None
) -> Profile:
    """A new workspace, and the person's profile of its administrator, made current.

    Raises :class:`UsageError`, :class:`WorkspaceError`, :class:`StorageError`, :class:`KeyStoreLockedError`.
    """
    from sealyard.engine.create_workspace import create_workspace

    place = folder.absolute()
    identity = parse_subject(administrator)
    if passphrase is not None:
        register_secret(passphrase)
    await create_workspace(
        WorkspacePaths(place), name=name, administrator=identity, key_store=key_store, passphrase=passphrase
    )
    free = read_profiles(user_profiles_path()).free_name(name, lambda taken: taken.workspace == str(place))
    profile = Profile(name=free, identity=identity, workspace=str(place))
    add_profile(user_profiles_path(), profile, current=True)
    return profile


def detect_key_store() -> KeyStore:
    """The OS keyring where there is one. Asking for it may block for up to five seconds."""
    from sealyard.keys.master_key import os_keyring_available

    return KeyStore.OS_KEYRING if os_keyring_available() else KeyStore.PASSPHRASE


def default_workspace_path() -> Path:
    """Where a person's workspace lies when nothing else is said (XDG)."""
    from platformdirs import user_data_path

    return user_data_path("sealyard") / "workspace"


def current_user_name() -> str:
    """The account's name, as a subject may be called."""
    import getpass

    return re.sub(r"[^A-Za-z0-9._@+-]", "-", getpass.getuser()).lstrip("._@+-")[:64] or "administrator"
