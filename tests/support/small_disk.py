"""A small disk in a mount namespace of its own, which a test fills, frees, and makes read-only."""

from __future__ import annotations

import errno
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.processes import killed_at_exit
from tests.support.programs import require, skip_missing

MOUNT_SCRIPT = 'mount -t tmpfs -o size="$1" tmpfs "$0" && echo mounted && exec sleep infinity'
REMOUNT_TIMEOUT = 60.0
FILLER = "filler"
CHUNK_SIZES = (1 << 20, 4096)


class SmallDisk:
    """Programs started with :attr:`command_prefix` see the disk at ``folder``, this process at :attr:`view`."""

    def __init__(self, folder: Path, pid: int) -> None:
        """``pid``: a process in the namespace."""
        self._folder = folder
        self.command_prefix = (
            "nsenter",
            *_user_options("--user", "--preserve-credentials"),
            "--mount",
            "--wd",
            f"-t{pid}",
        )
        self.view = Path(f"/proc/{pid}/root{folder}")

    def fill(self) -> None:
        fd = os.open(self.view / FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            for size in CHUNK_SIZES:
                _write_until_full(fd, bytes(size))
        finally:
            os.close(fd)

    def free(self) -> None:
        (self.view / FILLER).unlink(missing_ok=True)

    def remount(self, option: str) -> None:
        """Remount the disk with ``ro`` or ``rw``. Waits while a process that is ending has a file open for writing."""
        command = [*self.command_prefix, "mount", "-o", f"remount,{option}", str(self._folder)]
        deadline = time.monotonic() + REMOUNT_TIMEOUT
        while (result := subprocess.run(command, check=False, capture_output=True, text=True)).returncode:
            assert time.monotonic() < deadline, result.stderr
            time.sleep(0.1)


@contextmanager
def mount_small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount a disk of ``size`` bytes at ``folder``, which must exist. Skips the test if that is not possible."""
    require("unshare")
    require("nsenter")
    options = ("unshare", *_user_options("--map-root-user"), "--mount")
    command = [*options, "sh", "-c", MOUNT_SCRIPT, str(folder), str(size)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2])
    with killed_at_exit(process):
        assert process.stdout is not None
        assert process.stderr is not None
        if process.stdout.readline() != b"mounted\n":
            skip_missing(f"cannot mount: {process.stderr.read().decode(errors='replace').strip()}")
        yield SmallDisk(folder, process.pid)


def _user_options(*options: str) -> tuple[str, ...]:
    return () if os.geteuid() == 0 else options


def _write_until_full(fd: int, chunk: bytes) -> None:
    try:
        while os.write(fd, chunk) == len(chunk):
            continue
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
