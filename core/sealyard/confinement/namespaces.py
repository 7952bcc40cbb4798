"""Namespaces of a confined process: its own users, network, System V IPC and host name."""

from __future__ import annotations

import os
from pathlib import Path

from sealyard.confinement import syscalls

CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def enter_user_namespace() -> None:
    """Move the process to a user namespace in which only its own user and group exist.

    Must be called before the first thread is started and while the process is dumpable.
    """
    # A child tries it first: AppArmor can permit the namespace but not the id map, and there is no way back from a
    # namespace in which the files of all users seem to belong to the same one.
    child = os.fork()
    if child == 0:
        try:
            _create_user_namespace()
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:
            os._exit(1)
        os._exit(0)
    if number := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(abs(number), os.strerror(abs(number)))
    _create_user_namespace()


def _create_user_namespace() -> None:
    user, group = os.geteuid(), os.getegid()
    syscalls.unshare(CLONE_NEWUSER)
    Path("/proc/self/setgroups").write_text("deny")
    # Ids are mapped to themselves, because the worker compares the owners of files with its own user.
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def leave_network() -> None:
    """Move the process to network, IPC and UTS namespaces of its own, which have no devices, objects and host name."""
    syscalls.unshare(CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS)


def leave_host() -> None:
    """Like :func:`leave_network`, for a process that uses the network."""
    syscalls.unshare(CLONE_NEWIPC | CLONE_NEWUTS)
