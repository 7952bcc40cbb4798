"""Restriction of file access by Landlock (Linux 5.13 or later), see landlock(7)."""

from __future__ import annotations

import ctypes
import os
import stat
from pathlib import Path

from sealyard.confinement import syscalls
from sealyard.confinement.paths import ReachablePaths

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
REFER, TRUNCATE, IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15

READ = READ_FILE | READ_DIR
WRITE = READ | WRITE_FILE | REMOVE_DIR | REMOVE_FILE | MAKE_DIR | MAKE_REG | REFER | TRUNCATE
DEVICE = READ | WRITE_FILE | IOCTL_DEVICE
_FILE_RIGHTS = IOCTL_DEVICE | READ_FILE | WRITE_FILE | TRUNCATE

_LAST_RIGHT = {1: 12, 2: 13, 3: 14, 4: 14}
"""Number of the last file right by ABI version. From version 5 on, it is 15 (ioctl on devices)."""


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("fd", ctypes.c_int32))


def restrict_files(paths: ReachablePaths, *, permits_network: bool = False) -> None:
    """Deny access to all files except ``paths``, and what else the kernel's version of Landlock can deny.

    These are signals and abstract Unix sockets of processes outside and, unless ``permits_network`` is true, TCP
    connections. Raises ``OSError`` if the kernel has no Landlock.
    """
    version = syscalls.call(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    handled = (1 << (_LAST_RIGHT.get(version, 15) + 1)) - 1
    ruleset = _create_ruleset(version, handled, net=0 if permits_network else 0b11)
    try:
        for path in paths.readable:
            _add_rule(ruleset, path, READ & handled)
        for path in paths.writable:
            _add_rule(ruleset, path, WRITE & handled)
        for path in paths.devices:
            _add_rule(ruleset, path, DEVICE & handled)
        syscalls.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _create_ruleset(version: int, handled: int, net: int) -> int:
    attributes = _RulesetAttributes(fs=handled, net=net, scoped=0b11)
    # Older kernels reject fields that they do not know, so pass only those of their version.
    size = 8 if version < 4 else 16 if version < 6 else 24  # noqa: PLR2004 - versions of the interface
    return syscalls.call(_CREATE_RULESET, ctypes.byref(attributes), size, 0)


def _add_rule(ruleset: int, path: Path, rights: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _FILE_RIGHTS
        rule = _PathBeneath(allowed=rights, fd=fd)
        syscalls.call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(fd)
