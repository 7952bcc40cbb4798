"""Find out whether a program has a file open for writing, by asking the kernel for a lease (Linux, fcntl(2))."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import sys
from pathlib import Path

from sealyard.fs.mounts import is_on_network


def is_open_for_writing(path: Path) -> bool:
    """Return whether a program has the file open for writing.

    Only Linux reports it, and only for files of this user on local file systems; otherwise the result is False. Raises
    ``OSError`` if the file cannot be opened.
    """
    if sys.platform != "linux":
        return False
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # A program that opens the file for writing waits until the lease is released, and the kernel sends a signal to
        # this process: SIGIO by default, which would terminate it. SIGURG is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        # NFS and SMB return EAGAIN for any file that the server has not delegated to this machine.
        return error.errno == errno.EAGAIN and not is_on_network(fd)
    finally:
        os.close(fd)  # releases the lease
    return False
