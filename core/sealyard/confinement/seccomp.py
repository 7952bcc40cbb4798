"""A seccomp filter that denies the system calls that a confined process never needs, see seccomp(2).

The filter is a deny list: a new version of Python or of the C library may need a call that is not on any list of
today, and the process must not fail with it. What matters is denied explicitly: sockets, programs, other processes,
mounts, keyrings, and interfaces of the kernel with a history of vulnerabilities.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable
from enum import Enum

from sealyard.confinement import syscalls

DENIED_CALLS: dict[str, tuple[int | None, int | None]] = {
    # name: number on x86_64 and on aarch64
    # sockets; those that exist already, such as the pair that wakes the event loop, keep working
    "accept": (43, 202),
    "accept4": (288, 242),
    "bind": (49, 200),
    "connect": (42, 203),
    "listen": (50, 201),
    "socket": (41, 198),
    "socketpair": (53, 199),
    # programs; clone and clone3 are restricted below
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    # other processes
    "kcmp": (312, 272),
    "kill": (62, 129),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
    # file systems and files by handle; truncate is not covered by Landlock before Linux 6.2
    "chroot": (161, 51),
    "fanotify_init": (300, 262),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "pivot_root": (155, 41),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "truncate": (76, 45),
    "umount2": (166, 39),
    # namespaces and privileges
    "capset": (126, 91),
    "setfsgid": (123, 152),
    "setfsuid": (122, 151),
    "setgid": (106, 144),
    "setgroups": (116, 159),
    "setns": (308, 268),
    "setregid": (114, 143),
    "setresgid": (119, 149),
    "setresuid": (117, 147),
    "setreuid": (113, 145),
    "setuid": (105, 146),
    "unshare": (272, 97),
    # keyrings and other kernel interfaces
    "add_key": (248, 217),
    "bpf": (321, 280),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "request_key": (249, 218),
    "semget": (64, 190),
    "shmget": (29, 194),
    "userfaultfd": (323, 282),
    # the machine
    "acct": (163, 89),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "init_module": (175, 105),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "lookup_dcookie": (212, 18),
    "modify_ldt": (154, None),
    "personality": (135, 92),
    "reboot": (169, 142),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "settimeofday": (164, 170),
    "syslog": (103, 116),
    "vhangup": (153, 58),
}


class SocketAccess(Enum):
    """Which new sockets a process can open. It accepts no connections in any case.

    ``NONE``: none. ``UNIX``: only Unix sockets. ``ANY``: all.
    """

    NONE = frozenset[str]()
    UNIX = frozenset({"connect", "socket", "socketpair"})
    ANY = frozenset({"bind", "connect", "socket", "socketpair"})

    @property
    def permitted_calls(self) -> frozenset[str]:
        return self.value


CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
TGKILL = {"x86_64": 234, "aarch64": 131}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

_AF_UNIX = 1
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000

_LOAD_WORD, _JUMP_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # instructions of classic BPF
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data; the lower half of the argument
_ALLOW, _KILL_PROCESS, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000

_SET_MODE_FILTER = 1
_FLAG_TSYNC = 1  # for all threads

_Instruction = tuple[int, int, int, int]


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install_filter(sockets: SocketAccess = SocketAccess.NONE) -> None:
    """Install the filter for all threads, irrevocably. Denied calls fail with EPERM.

    Raises ``OSError`` if the kernel refuses it, and ``ValueError`` on an architecture without a list of calls.
    """
    machine = syscalls.machine()
    if machine not in _AUDIT_ARCH:
        raise ValueError(f"not supported on {machine}")
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in build_filter(machine, os.getpid(), sockets))
    program = _Program(len(code) // 8, code)
    # A positive result is the number of a thread that could not be included.
    if syscalls.call(_SECCOMP[machine], _SET_MODE_FILTER, _FLAG_TSYNC, ctypes.byref(program)) > 0:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def build_filter(machine: str, pid: int, sockets: SocketAccess = SocketAccess.NONE) -> list[_Instruction]:
    """Return the BPF program for an architecture. ``pid``: the only process to which signals can be sent."""
    column = 0 if machine == "x86_64" else 1
    denied = (numbers[column] for name, numbers in DENIED_CALLS.items() if name not in sockets.permitted_calls)
    return [
        (_LOAD_WORD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCH[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _NUMBER),
        # The x32 variant of a call has another number, which would pass the list.
        *([(_JUMP_ANY_BIT, 0, 1, _X32_BIT), (_RETURN, 0, 0, _KILL_PROCESS)] if machine == "x86_64" else []),
        *_deny(number for number in denied if number is not None),
        *(_permit_unix_sockets_only(DENIED_CALLS["socket"][column]) if sockets is SocketAccess.UNIX else []),
        # The flags of clone3 are in memory, which a filter cannot read. With ENOSYS the C library uses clone.
        (_JUMP_EQUAL, 0, 1, CLONE3),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        # Only threads can be created.
        (_JUMP_EQUAL, 0, 4, CLONE[machine]),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
        # A process may abort itself.
        (_JUMP_EQUAL, 0, 3, TGKILL[machine]),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, pid),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _permit_unix_sockets_only(socket_call: int | None) -> list[_Instruction]:
    assert socket_call is not None
    return [
        (_JUMP_EQUAL, 0, 4, socket_call),
        (_LOAD_WORD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_EQUAL, 1, 0, _AF_UNIX),
        (_RETURN, 0, 0, _ERRNO | errno.EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _deny(numbers: Iterable[int]) -> Iterable[_Instruction]:
    for number in numbers:
        yield (_JUMP_EQUAL, 0, 1, number)
        yield (_RETURN, 0, 0, _ERRNO | errno.EPERM)
