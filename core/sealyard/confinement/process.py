"""Measures that change attributes of the process: privileges and capabilities."""

from __future__ import annotations

import ctypes
import signal

from sealyard.confinement import syscalls

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38

_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITY_VERSION_3 = 0x20080522


def forbid_new_privileges() -> None:
    """Prevent that a program gains privileges. Landlock and seccomp require this of an ordinary user."""
    syscalls.prctl(PR_SET_NO_NEW_PRIVS, 1)


def end_with_parent() -> None:
    """Have the kernel kill the process when its parent ends, even if it is stopped or blocked.

    Must be called after the process has entered a user namespace, which resets it.
    """
    syscalls.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


def drop_capabilities() -> None:
    """Drop all capabilities: those of root, and those that the creator of a user namespace has inside it."""
    number = _CAPSET.get(syscalls.machine())
    if number is None:
        raise ValueError(f"not supported on {syscalls.machine()}")
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    no_capabilities = (ctypes.c_uint32 * 6)()
    syscalls.call(number, ctypes.byref(header), ctypes.byref(no_capabilities))
