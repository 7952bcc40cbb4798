"""Create files and directories that only their owner can access."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.fs import atomic
from sealyard.model.errors import InvalidInputError
from sealyard.model.safe_text import escape_text


def make_private_dir(folder: Path) -> None:
    """Create ``folder`` and its missing parents with mode 0700, durably. Raises ``OSError`` if this fails."""
    for directory in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
        directory.mkdir(mode=0o700, exist_ok=True)
        atomic.sync_folder(directory.parent)


def create_private_file(path: Path) -> int:
    """Create a file of mode 0600 and return a descriptor to write it.

    Raises :class:`InvalidInputError` if the file already exists or cannot be created.
    """
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot create {escape_text(str(path))}: {error.strerror}.",
            "Choose a new file in a folder that you can write to.",
        ) from error


def open_log(path: Path) -> int:
    """Open the log file for appending, and return its descriptor; open the null device if that is not possible."""
    try:
        make_private_dir(path.parent)
        return open_private_append(path)
    except OSError:
        return os.open(os.devnull, os.O_RDWR)


def write_private_file(path: Path, content: bytes) -> None:
    """Create a file of mode 0600 with ``content``, without syncing it.

    Raises :class:`InvalidInputError` as :func:`create_private_file` does. If the content cannot be written, removes the
    file and raises :class:`StorageError`.
    """
    fd = create_private_file(path)
    try:
        atomic.write_all(fd, content)
    except OSError as error:
        atomic.remove_quietly(path)
        raise atomic.storage_error(error, f"creating {escape_text(path.name)}") from error
    finally:
        os.close(fd)


def open_private_append(path: Path) -> int:
    """Open the file for reading and appending, and return its descriptor; create a missing file with mode 0600.

    Raises ``OSError`` if the file cannot be opened or created.
    """
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
