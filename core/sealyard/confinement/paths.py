"""The files and directories that a confined process can reach."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from sealyard.model.workspace import WorkspacePaths

SYSTEM_PATHS = (
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ssl",
    "/etc/pki",
    "/etc/crypto-policies",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/sys/devices/system/cpu",
    "/dev/urandom",
)
"""Paths of the system that libraries read: programs, time zone, configuration of OpenSSL and number of processors.

The rest of ``/etc`` is left out, because it can contain secrets of other services.
"""


PROVIDER_SYSTEM_PATHS = (
    *SYSTEM_PATHS,
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/group",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/opensc",
    "/etc/passwd",
    "/etc/pkcs11",
    "/etc/protocols",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/softhsm",
    "/etc/softhsm2.conf",
    "/dev/random",
)
"""Paths of the system that modules of tokens and clients of key services read: configuration, host names, users."""


class ReachablePaths:
    """``readable``: files and directories with read access. ``writable``: directories with full access.

    ``devices``: device files that can also be controlled by ioctl(2).
    """

    def __init__(self, readable: Iterable[Path], writable: Iterable[Path], devices: Iterable[Path] = ()) -> None:
        self.readable = tuple(dict.fromkeys(path for path in readable if path.exists()))
        self.writable = tuple(dict.fromkeys(path for path in writable if path.exists()))
        self.devices = tuple(dict.fromkeys(path for path in devices if path.exists()))


def worker_paths(workspace: WorkspacePaths) -> ReachablePaths:
    """Return the paths that a worker of ``workspace`` needs. Paths that do not exist are left out."""
    return ReachablePaths(
        readable=(workspace.artifacts / "inputs", workspace.audit, *_python_paths(), *map(Path, SYSTEM_PATHS)),
        writable=(workspace.artifacts / "work", workspace.keys),
    )


def provider_paths(readable: Iterable[Path], reachable: Iterable[Path]) -> ReachablePaths:
    """Return the paths that a key provider needs besides ``readable`` and ``reachable``, which it can also change.

    No workspace is among them. Paths that do not exist are left out.
    """
    devices = tuple(path for path in reachable if path.is_relative_to("/dev"))
    return ReachablePaths(
        readable=(*readable, *_python_paths(), *map(Path, PROVIDER_SYSTEM_PATHS)),
        writable=(path for path in reachable if path not in devices),
        devices=(Path(os.devnull), *devices),
    )


def _python_paths() -> Iterable[Path]:
    """Return the directories from which Python modules are still imported, such as formats of other packages."""
    # Without the option -P the first entry is the current directory, which can be the home of the user.
    entries = sys.path if sys.flags.safe_path else sys.path[1:]
    yield from (path for path in map(Path, entries) if path.is_absolute())
    yield from (Path(sys.prefix), Path(sys.base_prefix))
