"""Downloads as files: harmless names, parts that can be taken up again, and nothing ever overwritten."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sealyard.concurrency.threads import CheckCancelled
from sealyard.fs import atomic as disk
from sealyard.model.errors import StorageError, UsageError
from sealyard.model.safe_text import escape_text

LONGEST_NAME = 160
"""Bytes of UTF-8: leaves room for a number, a task id and ``.part`` within the 255 of the usual file systems."""

LONGEST_ID = 64
LONGEST_SUFFIX = 16
CHUNK = 4 << 20

_UNWANTED = frozenset('/\\:*?"<>|')
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


def safe_file_name(file_name: str, task_id: str) -> str:
    """A name for a file of that (foreign) name, harmless in any folder: not hidden, no path, nothing unprintable.

    Names that Windows reserves and names of parts are changed too; an empty one becomes ``task-<id>``.
    """
    return _plain(file_name, LONGEST_NAME) or f"task-{_plain(task_id, LONGEST_ID)}"


def part_name(name: str, task_id: str) -> str:
    """The name under which a file is downloaded."""
    return f"{name}.{_plain(task_id, LONGEST_ID)}.part"


def resolve_dir(folder: Path) -> Path:
    """Raises :class:`UsageError` where its name is not valid Unicode: it could be neither shown nor noted."""
    absolute = folder.absolute()
    try:
        str(absolute).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"The name of the folder {escape_text(str(folder))} is not valid Unicode.", "Choose another folder."
        ) from error
    return absolute


def folder_error(error: OSError, folder: Path) -> StorageError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return disk.storage_error(error, "the download")
    reason = escape_text(error.strerror or str(error))
    return StorageError(
        f"The folder {escape_text(str(folder))} cannot be written ({reason}).", "Choose another folder."
    )


def find_identical(folder: Path, name: str, size: int, sha256: str, go_on: CheckCancelled) -> Path | None:
    """The file of this name, or of this name with a number, that holds exactly this content."""
    for path in _numbered_names(folder, name):
        if not os.path.lexists(path):
            return None
        if _sha256(path, size, go_on) == sha256:
            return path
    return None


def write_unique(folder: Path, name: str, content: bytes) -> Path:
    """A new file (mode 0600) of this name, or of this name with a number where it is taken; durable on return.

    A file that holds exactly this already is left as it is, and named. Raises :class:`StorageError`.
    """
    digest = hashlib.sha256(content).hexdigest()
    try:
        disk.make_private_dir(folder)
        for path in _numbered_names(folder, name):
            if _sha256(path, len(content), lambda _: None) == digest:
                return path
            with suppress(FileExistsError):
                _write_exclusive(path, content)
                disk.sync_folder(folder)
                return path
    except OSError as error:
        raise folder_error(error, folder) from error
    raise StorageError(f"There are too many files named {escape_text(name)}.", "Clear the folder, or choose another.")


class PartialFile:
    """A file on its way down (mode 0600), held by one process at a time through a lock on the part itself."""

    def __init__(self, path: Path, fd: int) -> None:
        """Use :meth:`hold`."""
        self.path = path
        self._fd = fd

    @classmethod
    def acquire(cls, path: Path) -> PartialFile | None:
        """Opens or makes the part; None while another one holds it. Raises :class:`StorageError`."""
        try:
            disk.make_private_dir(path.parent)
            return cls._hold(path)
        except OSError as error:
            raise folder_error(error, path.parent) from error

    @classmethod
    def _hold(cls, path: Path) -> PartialFile | None:
        while True:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_at(fd, path):
                    os.fchmod(fd, 0o600)
                    return cls(path, fd)
            except BlockingIOError:
                os.close(fd)
                return None
            except OSError:
                os.close(fd)
                raise
            # Whoever held it has given it its final name meanwhile.
            os.close(fd)

    def hash_into(self, digest: hashlib._Hash, size: int, go_on: CheckCancelled) -> int:
        """Feeds what is there already; its length. What is longer than ``size`` is no part of it: emptied."""
        try:
            length = os.fstat(self._fd).st_size
            if length > size:
                disk.truncate(self._fd, 0)
                return 0
            os.lseek(self._fd, 0, os.SEEK_SET)
            while chunk := os.read(self._fd, CHUNK):
                digest.update(chunk)
                go_on(len(chunk))
        except OSError as error:
            raise folder_error(error, self.path.parent) from error
        return length

    def append(self, chunk: bytes) -> None:
        try:
            disk.write_all(self._fd, chunk)
        except OSError as error:
            raise folder_error(error, self.path.parent) from error

    def commit(self, name: str) -> Path:
        """Gives it its final name, or that with a number where the name is taken; durable on return."""
        folder = self.path.parent
        try:
            os.fsync(self._fd)
            for target in _numbered_names(folder, name):
                with suppress(FileExistsError):
                    rename_exclusive(self.path, target)
                    disk.sync_folder(folder)
                    return target
        except OSError as error:
            raise folder_error(error, folder) from error
        raise StorageError(f"There are too many files named {escape_text(name)}.", "Clear the download folder.")

    def remove(self) -> None:
        disk.remove_quietly(self.path)

    def close(self) -> None:
        """Lets go of it; an empty one is removed."""
        if not os.fstat(self._fd).st_size and _is_at(self._fd, self.path):
            self.remove()
        os.close(self._fd)


def _plain(text: str, longest: int) -> str:
    """At most ``longest`` bytes; may be empty."""
    shown = "".join("_" if char in _UNWANTED or not char.isprintable() else char for char in text).lstrip(". -~")
    if shown.partition(".")[0].rstrip().lower() in _RESERVED:
        shown = f"_{shown}"
    plain = _cut(shown, longest).rstrip(". ")
    return f"{plain[:-5]}_part" if plain.lower().endswith(".part") else plain


def _cut(name: str, longest: int) -> str:
    """At most ``longest`` bytes; the suffix stays where it is a short one."""
    if len(name.encode()) <= longest:
        return name
    suffix = Path(name).suffix
    if len(suffix.encode()) > LONGEST_SUFFIX:
        suffix = ""
    stem = name.encode()[: longest - len(suffix.encode())].decode(errors="ignore")
    return stem + suffix


def _numbered_names(folder: Path, name: str) -> Iterator[Path]:
    yield folder / name
    path = Path(name)
    for number in range(2, 10_000):
        yield folder / f"{path.stem} ({number}){path.suffix}"


def _sha256(path: Path, size: int, go_on: CheckCancelled) -> str | None:
    """None for what is no readable file of that size."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(fd, "rb", buffering=0) as file:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size != size:
                return None
            digest = hashlib.sha256()
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                go_on(len(chunk))
            return digest.hexdigest()
    return None


def _write_exclusive(path: Path, content: bytes) -> None:
    """What cannot be written whole leaves no file. Raises ``OSError``."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        disk.write_all(fd, content)
        os.fsync(fd)
    except OSError:
        disk.remove_quietly(path)
        raise
    finally:
        os.close(fd)


def _is_at(fd: int, path: Path) -> bool:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), found)


def rename_exclusive(source: Path, target: Path) -> None:
    """Raises :class:`FileExistsError` rather than replacing ``target``."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # A file system without hard links: the name is claimed first.
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
        disk.rename(source, target)
        return
    source.unlink()
