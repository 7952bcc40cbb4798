"""Files that nothing else can reach: regular, with one name, owned by this user, not behind a symbolic link."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sealyard.model.errors import IntegrityError
from sealyard.model.safe_text import escape_text

_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # opening a FIFO must not wait
_ADVICE = "Check which programs can write to the workspace, then upload the files again and request a new task."


def open_regular(path: Path | str, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> int:
    """Open an existing file and return its descriptor.

    Raises :class:`IntegrityError` if the name is a symbolic link, not a regular file, one of several names of the
    file (a hard link), or belongs to another user. Raises ``OSError`` as :func:`os.open` does.
    """
    try:
        fd = os.open(path, flags | _FLAGS, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _refused(path, "is a symbolic link") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise _refused(path, "is not a regular file") from None
        raise
    if problem := _problem(os.fstat(fd)):
        os.close(fd)
        raise _refused(path, problem)
    return fd


def create_regular(name: str, *, dir_fd: int) -> int:
    """Create a file of mode 0600 in a directory and return its descriptor. Raises ``FileExistsError``."""
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _FLAGS, 0o600, dir_fd=dir_fd)


def open_directory(path: Path) -> int:
    """Open a directory of this user without following a symbolic link, and return its descriptor.

    Raises :class:`IntegrityError`, ``OSError``.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _refused(path, "is not a directory") from None
        raise
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise _refused(path, "belongs to another user")
    return fd


def _problem(found: os.stat_result) -> str:
    if not stat.S_ISREG(found.st_mode):
        return "is not a regular file"
    if found.st_nlink != 1:
        return "has another name (a hard link)"
    if found.st_uid != os.geteuid():
        return "belongs to another user"
    return ""


def _refused(path: Path | str, problem: str) -> IntegrityError:
    name = escape_text(Path(path).name)
    return IntegrityError(f"The file {name} in the workspace {problem}; it was not used.", _ADVICE)
