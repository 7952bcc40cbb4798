"""Open workspace files only if no other path or user can modify them.

Only a regular file that has a single name, belongs to this user and is not a symbolic link is accepted.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from sealyard.model.errors import IntegrityError
from sealyard.model.safe_text import escape_text

_OPEN_FLAGS = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: opening a FIFO must not block
_HINT = "Check which programs can write to the workspace, then upload the files again and create a new task."


def open_regular(path: Path | str, flags: int = os.O_RDONLY, *, dir_fd: int | None = None) -> int:
    """Open an existing file and return its descriptor.

    Raises :class:`IntegrityError` if the file is a symbolic link, is not a regular file, has several names (hard
    links), or belongs to another user. Raises ``OSError`` as :func:`os.open` does.
    """
    try:
        fd = os.open(path, flags | _OPEN_FLAGS, dir_fd=dir_fd)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _integrity_error(path, "is a symbolic link") from None
        if error.errno in (errno.EISDIR, errno.ENXIO):
            raise _integrity_error(path, "is not a regular file") from None
        raise
    if problem := _find_problem(os.fstat(fd)):
        os.close(fd)
        raise _integrity_error(path, problem)
    return fd


def create_regular(name: str, *, dir_fd: int) -> int:
    """Create a file of mode 0600 in the directory ``dir_fd``, and return its descriptor.

    Raises ``FileExistsError`` if the name already exists.
    """
    return os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS, 0o600, dir_fd=dir_fd)


def open_directory(path: Path) -> int:
    """Open a directory that belongs to this user, without following a symbolic link, and return its descriptor.

    Raises :class:`IntegrityError` if ``path`` is a symbolic link, is not a directory, or belongs to another user.
    Raises ``OSError`` as :func:`os.open` does.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _integrity_error(path, "is not a directory") from None
        raise
    if os.fstat(fd).st_uid != os.geteuid():
        os.close(fd)
        raise _integrity_error(path, "belongs to another user")
    return fd


def _find_problem(status: os.stat_result) -> str:
    if not stat.S_ISREG(status.st_mode):
        return "is not a regular file"
    if status.st_nlink != 1:
        return "has more than one name (a hard link)"
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    return ""


def _integrity_error(path: Path | str, problem: str) -> IntegrityError:
    name = escape_text(Path(path).name)
    return IntegrityError(f"The file {name} in the workspace {problem}; it was not used.", _HINT)
