"""Start the key holder of a local workspace: the process that reads the passphrase and holds the master key."""

from __future__ import annotations

from pathlib import Path

import msgspec

from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.jobs.key_holder_start import forget_passphrases, open_key_holder
from sealyard.model.key_holder_messages import NO_ANCHOR, KeyStoreLocation, PassphraseSource
from sealyard.model.workspace import WorkspacePaths

__all__ = [
    "KeyHolder",
    "KeyHolderFactory",
    "forget_passphrases",
    "new_key_holder",
    "random_key_holder",
    "start_key_holder",
]


def start_key_holder(
    folder: Path,
    *,
    may_prompt: bool,
    tenant: str = "",
    prompt: str = "",
    attempts: int = 1,
    anchors: str = "",
    may_recover: bool = False,
) -> KeyHolder:
    """Start the key holder of the workspace in ``folder``. If it prompts the user, wait for the answer.

    ``may_prompt``: whether it may prompt on the terminal if the passphrase has no other source. ``tenant``: the
    tenant's name on a server with several tenants. ``attempts``: how often the user may enter a wrong passphrase.
    ``anchors``: the folder of the freshness anchor; by default that of SEALYARD_ANCHORS, or the place recorded in the
    workspace. ``may_recover``: whether the key holder accepts a recovery.

    Raises :class:`WorkspaceError` if the workspace cannot be read, :class:`KeyStoreLockedError` if the user enters no
    passphrase or only wrong ones, and :class:`WorkerError` if the process cannot be started.
    """
    paths = WorkspacePaths(folder.absolute())
    location = msgspec.structs.replace(build_key_store_location(paths, load_metadata(paths)), anchors=anchors)
    return open_key_holder(
        location, may_prompt=may_prompt, tenant=tenant, prompt=prompt, attempts=attempts, may_recover=may_recover
    )


def new_key_holder(*, may_prompt: bool, attempts: int = 1) -> KeyHolderFactory:
    """Return a function that starts the key holder of a new workspace, with a new passphrase if it needs one.

    ``may_prompt``: whether the key holder may ask the user for it. The function raises the errors of
    :func:`start_key_holder`.
    """

    def start(location: KeyStoreLocation) -> KeyHolder:
        return open_key_holder(location, may_prompt=may_prompt, attempts=attempts)

    return start


def random_key_holder(location: KeyStoreLocation) -> KeyHolder:
    """Start the key holder of a new key store, with a random passphrase that only the key holder knows.

    It keeps no freshness anchor: no other process can open an older copy of such a workspace.
    """
    location = msgspec.structs.replace(location, anchors=NO_ANCHOR)
    return KeyHolder.start(location, source=PassphraseSource.RANDOM)
