"""Key holders that receive their passphrase through a descriptor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealyard.engine.workspace import build_key_store_location, load_metadata
from sealyard.jobs.key_holder import KeyHolder, KeyHolderFactory
from sealyard.keys.file_keyring import Argon2Params, EncryptedFileKeyring
from sealyard.keys.master_key import KEYRING_FILE
from sealyard.model.key_holder_messages import KeyStoreLocation, PassphraseSource
from sealyard.model.workspace import KeyStore, WorkspacePaths
from sealyard.model.zones import Enrollment

LOW_COST = Argon2Params(iterations=1, lanes=1, memory_kib=8)
"""Cost of deriving the key of a keyring file that only tests use: each key holder derives it at its start."""


def unlock(passphrase: str, *, may_recover: bool = False, enrollment: Enrollment | None = None) -> KeyHolderFactory:
    """Return a function that starts a key holder with this passphrase. ``enrollment``: see :class:`OpenKeyHolder`."""

    def start(location: KeyStoreLocation) -> KeyHolder:
        if location.create and location.key_store == KeyStore.PASSPHRASE:
            create_keyring_file(WorkspacePaths(Path(location.workspace)).keys / KEYRING_FILE, passphrase)
        read_fd, write_fd = os.pipe()
        try:
            os.write(write_fd, passphrase.encode())
            os.close(write_fd)
            return KeyHolder.start(
                location,
                source=PassphraseSource.DESCRIPTOR,
                passphrase_fd=read_fd,
                may_recover=may_recover,
                enrollment=enrollment,
            )
        finally:
            os.close(read_fd)

    return start


@contextmanager
def open_key_holder(folder: Path, passphrase: str, *, may_recover: bool = False) -> Iterator[KeyHolder]:
    """Start the key holder of a workspace, and close it at the end of the block."""
    paths = WorkspacePaths(folder)
    key_holder = unlock(passphrase, may_recover=may_recover)(build_key_store_location(paths, load_metadata(paths)))
    try:
        yield key_holder
    finally:
        key_holder.close()


def create_keyring_file(path: Path, passphrase: str) -> None:
    """Create a keyring file without passwords, unless there is one. It keeps its low cost when a key holder writes."""
    if path.exists():
        return
    keyring = EncryptedFileKeyring(path, passphrase, LOW_COST)
    keyring.set_password("test", "test", "")
    keyring.delete_password("test", "test")
