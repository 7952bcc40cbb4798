"""Files with keys: read those to import, and create those for exported keys.

Clients open these files themselves. The engine and the crypto worker receive and return only their contents.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sealyard.fs import atomic
from sealyard.fs.private import create_private_file
from sealyard.model.errors import InvalidInputError, InvalidKeyError
from sealyard.model.keys import MAX_KEY_FILE_BYTES
from sealyard.model.requests import CertificateContent, KeyContent, KeyImport
from sealyard.model.safe_text import escape_text


def load_key_content(request: KeyImport) -> KeyContent:
    """Read the files of ``request``. Raises the errors of :func:`read_key_file`."""
    return KeyContent(
        uri=request.uri,
        kind=request.kind,
        purpose=request.purpose,
        content=read_key_file(Path(request.path)),
        password=request.password,
        certificate=read_key_file(Path(request.certificate)) if request.certificate else None,
        wrapping_key=request.wrapping_key,
    )


def load_certificate_content(uri: str, path: Path) -> CertificateContent:
    """Read a certificate file for the key ``uri``. Raises the errors of :func:`read_key_file`."""
    return CertificateContent(uri=uri, content=read_key_file(path))


def read_key_file(path: Path) -> bytes:
    """Return the content of a key or certificate file, unchecked.

    Raises :class:`InvalidInputError` if the file is unreadable or not a regular file, and :class:`InvalidKeyError` if
    it is too large.
    """
    try:
        data = _read_regular(path)
    except OSError as error:
        raise InvalidInputError(
            f"Cannot read the file: {error.strerror}.", "Check its path and permissions."
        ) from error
    if len(data) > MAX_KEY_FILE_BYTES:
        raise InvalidKeyError("The file is larger than any key or certificate.", "Choose a key or certificate file.")
    return data


def _read_regular(path: Path) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # O_NONBLOCK: opening a FIFO must not block
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise InvalidInputError(f"{escape_text(str(path))} is not a regular file.", "Save the key to a file first.")
        with os.fdopen(fd, "rb", closefd=False) as file:
            return file.read(MAX_KEY_FILE_BYTES + 1)
    finally:
        os.close(fd)


@contextmanager
def new_key_file(path: Path) -> Iterator[int]:
    """Create a file of mode 0600 for an exported key, and yield its descriptor. Removes the file if the block fails.

    Raises :class:`InvalidInputError` if the file already exists or cannot be created, and :class:`StorageError` if the
    key cannot be written.
    """
    fd = create_private_file(path)
    try:
        yield fd
    except BaseException as error:
        atomic.remove_quietly(path)
        if isinstance(error, OSError):
            raise atomic.storage_error(error, f"creating {escape_text(path.name)}") from error
        raise
    finally:
        os.close(fd)
