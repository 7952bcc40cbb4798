"""Where the freshness anchor of a workspace is kept: an item of the OS keyring, or a file outside the workspace."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Protocol

from sealyard.fs.atomic import storage_error, write_atomic
from sealyard.fs.private import make_private_dir
from sealyard.keys.master_key import OS_KEYRING, OpenedKeyStore
from sealyard.model.errors import AnchorError, StorageError, UsageError
from sealyard.model.key_holder_messages import NO_ANCHOR, KeyStoreLocation
from sealyard.model.safe_text import escape_text

FOLDER_VARIABLE = "SEALYARD_ANCHORS"
"""The environment variable with the folder of the anchors, or ``none``."""

KEYRING_LOCATION = "OS keyring"
MAX_ANCHOR_BYTES = 4096


class AnchorStore(Protocol):
    """Keeps one anchor. ``location``: describes the place in messages and in the worker state."""

    location: str

    def load(self) -> bytes | None:
        """Return the stored anchor, None if there is none. Raises a :class:`SealyardError` if it cannot be read."""
        ...

    def save(self, content: bytes) -> None:
        """Replace the anchor, atomically and durably. Raises a :class:`SealyardError` if this fails."""
        ...

    def delete(self) -> None:
        """Remove the anchor, if there is one. Raises a :class:`SealyardError` if this fails."""
        ...


class FileAnchorStore:
    """Keeps the anchor in a file (mode 0600)."""

    def __init__(self, path: Path) -> None:
        self.location = str(path)
        self._path = path

    def load(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_ANCHOR_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._unavailable_error(error) from error

    def save(self, content: bytes) -> None:
        try:
            make_private_dir(self._path.parent)
            write_atomic(self._path, content)
        except OSError as error:
            raise self._unavailable_error(error) from error

    def delete(self) -> None:
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise self._unavailable_error(error) from error

    def _unavailable_error(self, error: OSError) -> StorageError:
        cause = storage_error(error, f"using the freshness anchor {escape_text(self.location)}")
        hint = f"Make the folder writable, or set {FOLDER_VARIABLE} to another folder outside the workspace."
        return type(cause)(cause.message, hint)


class KeyringAnchorStore:
    """Keeps the anchor in the OS keyring, beside the master key."""

    location = KEYRING_LOCATION

    def __init__(self, key_store: OpenedKeyStore) -> None:
        self._key_store = key_store

    def load(self) -> bytes | None:
        text = self._key_store.load_anchor()
        return None if text is None else text.encode()

    def save(self, content: bytes) -> None:
        self._key_store.save_anchor(content.decode())

    def delete(self) -> None:
        self._key_store.delete_anchor()


class AnchorPlaces:
    """Selects where the anchor of a workspace is kept.

    A configured folder has precedence, then the place that the worker state has recorded, then the default one: the OS
    keyring if it stores the master key, else a file below ``$XDG_STATE_HOME``.
    """

    def __init__(self, location: KeyStoreLocation, key_store: OpenedKeyStore, environ: Mapping[str, str]) -> None:
        """Raises :class:`UsageError` if the configured folder is not an absolute path."""
        self._name = _select_name(location)
        self._uses_keyring = location.key_store == OS_KEYRING
        self._key_store = key_store
        self._folder = location.anchors or environ.get(FOLDER_VARIABLE, "")
        if self._folder not in ("", NO_ANCHOR):
            _require_outside(Path(self._folder), Path(location.workspace))

    @property
    def is_disabled(self) -> bool:
        """Whether the configuration says that no anchor is kept."""
        return self._folder == NO_ANCHOR

    def select(self, recorded: str | None) -> AnchorStore:
        """Return the place of the anchor. ``recorded``: the one in the worker state, None if it has none."""
        if self._folder:
            return FileAnchorStore(Path(self._folder) / self._name)
        if recorded is not None:
            return self.open(recorded)
        if self._uses_keyring:
            return KeyringAnchorStore(self._key_store)
        from platformdirs import user_state_path

        return FileAnchorStore(user_state_path("sealyard") / "anchors" / self._name)

    def open(self, location: str) -> AnchorStore:
        """Return the place that the worker state has recorded.

        Raises :class:`AnchorError` if it is the OS keyring, and the workspace does not use it.
        """
        if location != KEYRING_LOCATION:
            return FileAnchorStore(Path(location))
        if not self._uses_keyring:
            raise AnchorError("The freshness anchor is kept in the OS keyring, but the master key is not.")
        return KeyringAnchorStore(self._key_store)


def _select_name(location: KeyStoreLocation) -> str:
    """Return the name of the anchor. Hosts of a zone on one machine have the same workspace, but one state each."""
    if not location.crypto_host:
        return location.workspace_id
    digest = sha256(os.fsencode(os.path.realpath(location.workspace))).hexdigest()
    return f"{location.workspace_id}-{digest[:16]}"


def _require_outside(folder: Path, workspace: Path) -> None:
    if not folder.is_absolute():
        raise UsageError(
            f"The folder of the freshness anchors, {escape_text(str(folder))}, is not an absolute path.",
            f"Set {FOLDER_VARIABLE} or the server's setting `anchors` to an absolute path.",
        )
    if Path(os.path.realpath(folder)).is_relative_to(os.path.realpath(workspace)):
        raise UsageError(
            f"The folder of the freshness anchors, {escape_text(str(folder))}, is inside the workspace: it would be"
            " put back together with an older copy of the workspace.",
            f"Choose a folder outside the workspace. `{NO_ANCHOR}` keeps no anchor.",
        )
