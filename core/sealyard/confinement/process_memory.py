"""Keep the memory of a process from core dumps, and from other processes of the same user."""

from __future__ import annotations

import resource

from sealyard.confinement import syscalls

_PR_SET_DUMPABLE = 4


def forbid_core_dumps() -> None:
    """Write no core dump. Child processes inherit this. Raises ``OSError`` if the kernel refuses it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def forbid_memory_access() -> None:
    """Make the process not dumpable: no core dump, and no access to it by ptrace or ``/proc/PID/mem``.

    Only a process with CAP_SYS_PTRACE, such as root, keeps this access. Only Linux supports it. Raises ``OSError`` if
    the kernel refuses it.
    """
    syscalls.prctl(_PR_SET_DUMPABLE, 0)
