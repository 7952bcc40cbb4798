"""Restrict what this process may do while it sends a notification.

A third-party library resolves the host names of chat services and connects to URLs that users have entered. An audit
hook therefore checks the IP address of every connection, so that neither a redirect nor a changed DNS answer can reach
an internal machine. The hook also rejects child processes and access to files other than those of Python and the
system, and memory is limited. A hook cannot be removed, so install it only in a short-lived process.
"""

from __future__ import annotations

import os
import resource
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from sealyard.server.delivery.ssrf import is_public_address

PROCESS_EVENTS = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})
SOCKET_EVENTS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

SYSTEM_FOLDERS = ("/etc", "/usr")
"""Folders with certificates, time zones and the like."""

MAX_MEMORY_BYTES = 512 * 1024**2
"""Maximum size of the memory of a process."""

WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class NetworkGuard:
    """The restrictions of a process. ``allow_private``: allow connections to all IP addresses."""

    def __init__(self, *, allow_private: bool) -> None:
        self.has_refused_address = False
        """Whether a connection was refused."""
        self._allow_private = allow_private
        self._readable_folders = _list_readable_folders()
        self._certificates = os.environ.get("REQUESTS_CA_BUNDLE", "")

    def install(self) -> None:
        """Apply the restrictions from now on; they cannot be lifted."""
        # The library reads a response completely, however long it is.
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
        sys.addaudithook(self._check)

    def _check(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in SOCKET_EVENTS:
            self._check_address(arguments[1])
        elif event in PROCESS_EVENTS:
            raise PermissionError("Processes cannot be started.")
        elif event == "open":
            self._check_file(*arguments)

    def _check_address(self, address: object) -> None:
        if not self._is_allowed(address):
            self.has_refused_address = True
            raise PermissionError("Address not allowed.")

    def _is_allowed(self, address: object) -> bool:
        """Return whether ``address`` is the socket address of an allowed IP address. Names are resolved before."""
        if not isinstance(address, tuple) or not address:
            return False
        try:
            host = str(ip_address(address[0]))
        except ValueError:
            return False
        return self._allow_private or is_public_address(host)

    def _check_file(self, path: object, mode: object, flags: int) -> None:
        if isinstance(path, int):
            return
        name = os.fsdecode(path) if isinstance(path, str | bytes) else ""
        is_write = (isinstance(mode, str) and not set(mode).isdisjoint("wax+")) or bool(flags & WRITE_FLAGS)
        if is_write or not self._is_readable(name):
            raise PermissionError("File not allowed.")

    def _is_readable(self, name: str) -> bool:
        path = os.path.realpath(name)
        return path == os.path.realpath(self._certificates) or path.startswith(self._readable_folders)


def _list_readable_folders() -> tuple[str, ...]:
    """Return the folders of Python and its packages, each with a trailing separator."""
    folders = (sys.prefix, sys.base_prefix, *SYSTEM_FOLDERS, *sys.path)
    real_folders = {os.path.realpath(folder) for folder in folders if folder}
    return tuple(f"{folder}/" for folder in real_folders if Path(folder) != Path("/"))
