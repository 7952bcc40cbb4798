"""Calls of Linux that the Python library has no function for."""

from __future__ import annotations

import ctypes
import os
import platform
from functools import cache
from typing import Any


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def machine() -> str:
    """Return the name of the processor architecture: ``x86_64``, ``aarch64`` or another one."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(name := platform.machine().lower(), name)


def call(number: int, *arguments: Any) -> int:
    """Make a system call and return its result. Raises ``OSError`` if it fails."""
    return _check(_libc().syscall(ctypes.c_long(number), *map(_to_c, arguments)))


def prctl(option: int, *arguments: int) -> int:
    """Call prctl(2) and return its result. Raises ``OSError`` if it fails."""
    padded = (*arguments, 0, 0, 0, 0)[:4]
    return _check(_libc().prctl(ctypes.c_int(option), *map(ctypes.c_ulong, padded)))


def unshare(flags: int) -> None:
    """Call unshare(2). Raises ``OSError`` if it fails."""
    _check(_libc().unshare(ctypes.c_int(flags)))


def _to_c(argument: Any) -> Any:
    return ctypes.c_ulong(argument) if isinstance(argument, int) else argument


def _check(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
