"""Files in the download folder: safe names, resumable partial files, and no overwriting of existing files."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs import atomic
from sealyard.fs.hashing import file_sha256, hash_into
from sealyard.fs.locks import try_lock
from sealyard.fs.private import make_private_dir
from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text

MAX_NAME_BYTES = 160
"""Maximum length of a name in UTF-8.

Leaves room for a number, a task id and ``.part`` within the usual file system limit of 255 bytes.
"""

MAX_ID_BYTES = 64
MAX_SUFFIX_BYTES = 16

_FORBIDDEN_CHARACTERS = frozenset('/\\:*?"<>|')
_WINDOWS_PORTS = {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}
_WINDOWS_RESERVED_NAMES = {"con", "prn", "aux", "nul", *_WINDOWS_PORTS}


def safe_file_name(file_name: str, task_id: str) -> str:
    """Return a safe local name for the untrusted ``file_name``: printable, not hidden, without path separators.

    The result is never a name that Windows reserves or the name of a partial file. An empty name becomes
    ``task-<id>``.
    """
    return _sanitize_name(file_name, MAX_NAME_BYTES) or f"task-{_sanitize_name(task_id, MAX_ID_BYTES)}"


def part_name(name: str, task_id: str) -> str:
    """Return the name of the partial file for downloading ``name``, the result of the task."""
    return f"{name}.{_sanitize_name(task_id, MAX_ID_BYTES)}.part"


def resolve_dir(folder: Path) -> Path:
    """Return the absolute path of ``folder``.

    Raises :class:`UsageError` if the path is not valid Unicode, because it could be neither displayed nor stored.
    """
    absolute = folder.absolute()
    try:
        str(absolute).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of the folder {escape_text(str(folder))} is not valid Unicode.", "Choose another folder."
        ) from error
    return absolute


def folder_error(error: OSError, folder: Path) -> StorageError:
    """Convert an ``OSError`` from writing to ``folder`` to a :class:`StorageError`."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return atomic.storage_error(error, "writing the download")
    reason = escape_text(error.strerror or str(error))
    return StorageError(f"Cannot write to the folder {escape_text(str(folder))} ({reason}).", "Choose another folder.")


def find_identical(folder: Path, name: str, size: int, sha256: str, check_cancelled: CheckCancelled) -> Path | None:
    """Return the path of a file with this content, named ``name`` or ``name`` with a number; None if there is none."""
    for path in _numbered_names(folder, name):
        if not os.path.lexists(path):
            return None
        if _hash_file_of_size(path, size, check_cancelled) == sha256:
            return path
    return None


def write_unique(folder: Path, name: str, content: bytes) -> Path:
    """Write ``content`` durably to a new file (mode 0600) and return its path.

    A number is added to ``name`` if a file with other content has that name. If the file with that name has
    the same content, it is kept and its path returned. Raises :class:`StorageError` if the file cannot be written.
    """
    digest = hashlib.sha256(content).hexdigest()
    try:
        make_private_dir(folder)
        for path in _numbered_names(folder, name):
            if _hash_file_of_size(path, len(content)) == digest:
                return path
            with suppress(FileExistsError):
                atomic.write_atomic(path, content, overwrite=False)
                return path
    except OSError as error:
        raise folder_error(error, folder) from error
    raise StorageError(f"Too many files named {escape_text(name)}.", "Clean up the folder, or choose another.")


class PartialFile:
    """A partially downloaded file (mode 0600). A lock on the file lets only one process use it at a time."""

    def __init__(self, path: Path, fd: int) -> None:
        """Use :meth:`acquire` to create instances."""
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path) -> PartialFile | None:
        """Open or create the file and lock it.

        Returns None if another process, or another instance in this process, has locked the file. Raises
        :class:`StorageError` if the file cannot be opened.
        """
        try:
            make_private_dir(path.parent)
            return cls._open_locked(path)
        except OSError as error:
            raise folder_error(error, path.parent) from error

    @classmethod
    def _open_locked(cls, path: Path) -> PartialFile | None:
        while True:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                if not try_lock(fd):
                    os.close(fd)
                    return None
                if _is_same_file(fd, path):
                    os.fchmod(fd, 0o600)
                    return cls(path, fd)
            except OSError:
                os.close(fd)
                raise
            # The previous lock holder has meanwhile renamed or removed the file: open the path again.
            os.close(fd)

    def hash_into(self, hasher: hashlib._Hash, size: int, check_cancelled: CheckCancelled) -> int:
        """Update ``hasher`` with the content of the file and return its length in bytes.

        A file longer than ``size`` bytes cannot belong to the download, and is truncated to 0 bytes.
        """
        try:
            length = os.fstat(self._fd).st_size
            if length > size:
                atomic.truncate(self._fd, 0)
                return 0
            os.lseek(self._fd, 0, os.SEEK_SET)
            with os.fdopen(self._fd, "rb", buffering=0, closefd=False) as file:
                hash_into(hasher, file, check_cancelled)
        except OSError as error:
            raise folder_error(error, self.path.parent) from error
        return length

    def append(self, chunk: bytes) -> None:
        try:
            atomic.write_all(self._fd, chunk)
        except OSError as error:
            raise folder_error(error, self.path.parent) from error

    def commit(self, name: str) -> Path:
        """Rename the file durably to ``name``, with a number if that name is in use, and return the new path.

        Raises :class:`StorageError` if the file cannot be renamed.
        """
        folder = self.path.parent
        try:
            atomic.sync(self._fd)
            for target in _numbered_names(folder, name):
                with suppress(FileExistsError):
                    atomic.rename_exclusive(self.path, target)
                    atomic.sync_folder(folder)
                    return target
        except OSError as error:
            raise folder_error(error, folder) from error
        raise StorageError(f"Too many files named {escape_text(name)}.", "Clean up the download folder.")

    def remove(self) -> None:
        atomic.remove_quietly(self.path)

    def close(self) -> None:
        """Release the lock and close the file. Removes an empty file."""
        if not os.fstat(self._fd).st_size and _is_same_file(self._fd, self.path):
            self.remove()
        os.close(self._fd)


def _sanitize_name(text: str, max_bytes: int) -> str:
    """Return a safe file name made from ``text``, at most ``max_bytes`` bytes long in UTF-8; may be empty."""
    printable_chars = ("_" if char in _FORBIDDEN_CHARACTERS or not char.isprintable() else char for char in text)
    name = "".join(printable_chars).lstrip(". -~")
    if name.partition(".")[0].rstrip().lower() in _WINDOWS_RESERVED_NAMES:
        name = f"_{name}"
    name = _shorten_name(name, max_bytes).rstrip(". ")
    return f"{name[:-5]}_part" if name.lower().endswith(".part") else name


def _shorten_name(name: str, max_bytes: int) -> str:
    """Shorten ``name`` to at most ``max_bytes`` bytes in UTF-8. A short suffix is kept."""
    if len(name.encode()) <= max_bytes:
        return name
    suffix = Path(name).suffix
    if len(suffix.encode()) > MAX_SUFFIX_BYTES:
        suffix = ""
    stem = name.encode()[: max_bytes - len(suffix.encode())].decode(errors="ignore")
    return stem + suffix


def _numbered_names(folder: Path, name: str) -> Iterator[Path]:
    """Yield the path of ``name`` in ``folder``, then of ``name`` with each number from 2 to 9,999."""
    yield folder / name
    path = Path(name)
    for number in range(2, 10_000):
        yield folder / f"{path.stem} ({number}){path.suffix}"


def _hash_file_of_size(path: Path, size: int, check_cancelled: CheckCancelled | None = None) -> str | None:
    """Return the SHA-256 (hex) of the regular file at ``path``.

    Returns None if the file does not have ``size`` bytes, is not regular or cannot be read.
    """
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            file_status = os.fstat(fd)
            if not stat.S_ISREG(file_status.st_mode) or file_status.st_size != size:
                return None
            return file_sha256(file, check_cancelled)
    return None


def _is_same_file(fd: int, path: Path) -> bool:
    """Return whether ``path`` still names the open file ``fd``."""
    try:
        file_status = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), file_status)
