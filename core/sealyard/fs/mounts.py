"""Find out whether a file is on a network file system.

Other machines can change files there without any notice to this one, so that neither change events nor leases are
reliable.
"""

from __future__ import annotations

from pathlib import Path

NETWORK_TYPES = frozenset(
    {"9p", "afs", "ceph", "cifs", "gfs2", "gpfs", "lustre", "nfs", "nfs4", "ocfs2", "prl_fs", "smb3", "smbfs"}
    | {"vboxsf", "virtiofs", "vmhgfs"}
)
"""Types of network file systems, and of folders that a virtual machine shares with its host, as in mountinfo."""

FUSE_PREFIX = "fuse."
"""Prefix of the types of file systems in user space, most of which are remote (sshfs, rclone, s3fs)."""


def is_on_network(fd: int) -> bool:
    """Return whether the open file ``fd`` is on a network file system.

    Returns False if the system does not report the type of the file system (only Linux does).
    """
    fs_type = _find_type(fd)
    return fs_type in NETWORK_TYPES or fs_type.startswith(FUSE_PREFIX)


def _find_type(fd: int) -> str:
    """Return the type of the file system of ``fd``, or an empty string.

    See proc_pid_fdinfo(5) and proc_pid_mountinfo(5).
    """
    try:
        fd_info = Path(f"/proc/self/fdinfo/{fd}").read_text()
        mounts = Path("/proc/self/mountinfo").read_bytes().decode(errors="replace")
    except OSError:
        return ""
    mount_id = next((line.split()[1] for line in fd_info.splitlines() if line.startswith("mnt_id:")), "")
    line = next((line for line in mounts.splitlines() if line.partition(" ")[0] == mount_id), "")
    return line.partition(" - ")[2].partition(" ")[0]
