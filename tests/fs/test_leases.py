"""Test the check whether a program has a file open for writing, and the detection of network file systems."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sealyard.fs.leases import is_open_for_writing
from sealyard.fs.mounts import is_on_network

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux reports files open for writing")

MOUNTS = """\
25 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
{mount_id} 25 0:50 / /mnt/share\\040a rw,relatime shared:9 master:2 - {fs_type} server:/share rw,vers=4.2
99 25 0:51 / /mnt/other rw - tmpfs tmpfs rw
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "fw.bin"
    file.write_bytes(b"x")
    return file


def test_closed_file_is_not_open_for_writing(path: Path) -> None:
    assert not is_open_for_writing(path)


@pytest.mark.parametrize(("flags", "expected"), [(os.O_WRONLY, True), (os.O_RDWR, True), (os.O_RDONLY, False)])
def test_open_file_is_detected(path: Path, flags: int, expected: bool) -> None:
    fd = os.open(path, flags)
    try:
        assert is_open_for_writing(path) is expected
    finally:
        os.close(fd)
    assert not is_open_for_writing(path)


def test_missing_file_raises_error(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        is_open_for_writing(path.with_name("missing"))


def test_program_that_opens_leased_file_does_not_end_this_process(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    set_lease = fcntl.fcntl

    def open_for_writing_while_leased(fd: int, command: int, argument: int) -> None:
        set_lease(fd, command, argument)
        if command == fcntl.F_SETLEASE:
            opener = f"import os; os.open({str(path)!r}, os.O_WRONLY | os.O_NONBLOCK)"
            result = subprocess.run([sys.executable, "-c", opener], capture_output=True, text=True, check=False)
            assert "BlockingIOError" in result.stderr

    assert signal.getsignal(signal.SIGURG) is signal.SIG_DFL
    monkeypatch.setattr(fcntl, "fcntl", open_for_writing_while_leased)
    assert not is_open_for_writing(path)


@pytest.mark.parametrize(
    ("fs_type", "expected"),
    [("ext4", False), ("overlay", False), ("fuseblk", False), ("nfs4", True), ("cifs", True), ("fuse.sshfs", True)],
)
def test_network_file_system_is_detected(
    path: Path, monkeypatch: pytest.MonkeyPatch, fs_type: str, expected: bool
) -> None:
    def read_bytes(_: Path) -> bytes:
        return MOUNTS.format(mount_id=mount_id, fs_type=fs_type).encode()

    with path.open("wb") as file:
        fd_info = Path(f"/proc/self/fdinfo/{file.fileno()}").read_text()
        mount_id = fd_info.partition("mnt_id:")[2].split()[0]
        monkeypatch.setattr(Path, "read_bytes", read_bytes)
        assert is_on_network(file.fileno()) is expected
        assert is_open_for_writing(path) is not expected


def test_unknown_file_system_is_not_on_network(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    os.close(fd)
    assert not is_on_network(fd)
