"""Run a program in a network namespace of its own, in which one port of loopback leads to a Unix socket outside.

Usage: ``unshare --net python -m tests.support.network_namespace PORT SOCKET COMMAND…`` as root.
"""

from __future__ import annotations

import asyncio
import ctypes
import fcntl
import os
import signal
import socket
import struct
import sys
from pathlib import Path

from tests.support.cuttable_proxy import CuttableProxy

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1
_PR_SET_PDEATHSIG = 1


def main(port: str, socket_path: str, *command: str) -> None:
    _enable_loopback()
    read_fd, write_fd = os.pipe()
    if os.fork() == 0:
        os.close(read_fd)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        asyncio.run(_relay(int(port), Path(socket_path), write_fd))
    os.close(write_fd)
    os.read(read_fd, 1)
    os.execvp(command[0], command)


async def _relay(port: int, target: Path, ready_fd: int) -> None:
    async with CuttableProxy(target).listen(port=port):
        os.write(ready_fd, b"x")
        os.close(ready_fd)
        await asyncio.Event().wait()


def _enable_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(sock, _SIOCGIFFLAGS, request))
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


if __name__ == "__main__":
    main(*sys.argv[1:])
