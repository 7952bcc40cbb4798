"""Search of the memory and environment of engine, command, server and application for passphrase and master key.

Promise 29: the process that faces the network has no key, and nothing that opens one.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.engine.workspace import load_metadata
from sealyard.keys.master_key import PASSPHRASE as PASSPHRASE_STORE
from sealyard.keys.master_key import open_master_key
from sealyard.model.workspace import WorkspacePaths
from tests.support.limits import TIMEOUT
from tests.support.processes import find_key_holder, killed_at_exit
from tests.support.root import ALLOW_ROOT
from tests.support.workspace_files import ADMIN, create_workspace_with_device

PASSPHRASE = "a canary among passphrases"

ENGINE_SCRIPT = """
import asyncio, functools, os, sys
from pathlib import Path
from sealyard.client.engine_handle import EngineHandle
from sealyard.jobs.key_holder import KeyHolder
from sealyard.model.key_holder_messages import PassphraseSource

async def main():
    start = functools.partial(KeyHolder.start, source=PassphraseSource.DESCRIPTOR, passphrase_fd=int(sys.argv[2]))
    engine = await EngineHandle.open(Path(sys.argv[1]), purpose="test", key_holder=start)
    os.close(int(sys.argv[2]))
    print(*engine.worker_pids, flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await engine.close()

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("memory") / "workspace"
    asyncio.run(create_workspace_with_device(folder))
    profile = Profile(name="admin", identity=ADMIN)
    write_profiles(WorkspacePaths(folder).profiles, ProfileFile(profiles=(profile,), current="admin"))
    return folder


def read_memory(pid: int) -> Iterator[bytes]:
    """Yield the readable memory areas of a process, and its environment."""
    yield Path(f"/proc/{pid}/environ").read_bytes()
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in maps:
            area, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            start, end = (int(each, 16) for each in area.split("-"))
            memory.seek(start)
            try:
                yield memory.read(end - start)
            except OSError:
                continue


def count_copies(pid: int, secret: bytes) -> int:
    return sum(area.count(secret) for area in read_memory(pid))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_s10_engine_started_with_descriptor_has_no_passphrase(folder: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.write(write_fd, PASSPHRASE.encode())
    os.close(write_fd)
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE_SCRIPT, str(folder), str(read_fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
        pass_fds=[read_fd],
    )
    os.close(read_fd)
    with killed_at_exit(process):
        assert process.stdout is not None
        worker = int(process.stdout.readline().split()[0])
        key_holder = parent_of(worker)
        assert parent_of(key_holder) == process.pid
        require_no_secret(process.pid, folder)
        assert count_copies(worker, PASSPHRASE.encode()) == 0
        process.communicate("", timeout=TIMEOUT)


@contextmanager
def start_in_terminal(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start `sealyard` on the workspace; yield the process and the other end of its terminal."""
    terminal, child_terminal = pty.openpty()
    fcntl.ioctl(child_terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "sealyard.cli.main", *arguments],
        stdin=child_terminal,
        stdout=child_terminal,
        stderr=child_terminal,
        start_new_session=True,
        env=clean_environment(SEALYARD_WORKSPACE=str(folder), TERM="xterm-256color"),
    )
    os.close(child_terminal)
    try:
        with killed_at_exit(process):
            yield process, terminal
    finally:
        os.close(terminal)


def clean_environment(**variables: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("SEALYARD_")} | variables


def require_no_secret(pid: int, folder: Path) -> None:
    """Check that the process has neither passphrase nor master key, and that the search finds them where they are."""
    key_holder = find_key_holder(pid)
    assert key_holder is not None
    master_key = load_master_key(folder)
    assert count_copies(key_holder, master_key) > 0, "the search finds secrets"
    assert count_copies(pid, PASSPHRASE.encode()) == 0
    assert count_copies(pid, master_key) == 0


@pytest.mark.parametrize(
    ("arguments", "text"), [(("run",), "Running tasks"), ((), "ready")], ids=["run", "application"]
)
def test_s10_program_started_with_prompt_has_no_passphrase(folder: Path, arguments: tuple[str, ...], text: str) -> None:
    with start_in_terminal(folder, *arguments) as (process, terminal):
        read_until(terminal, b"Passphrase of the key store: ")
        os.write(terminal, PASSPHRASE.encode() + b"\n")
        screen = read_until(terminal, text.encode())
        assert PASSPHRASE.encode() not in screen
        require_no_secret(process.pid, folder)


def test_s10_server_started_with_credential_has_no_passphrase(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sealyard-passphrase").write_text(PASSPHRASE)
    process = subprocess.Popen(
        [sys.executable, "-m", "sealyard.cli.main", "serve", *ALLOW_ROOT, "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=clean_environment(SEALYARD_WORKSPACE=str(folder), CREDENTIALS_DIRECTORY=str(tmp_path)),
    )
    with killed_at_exit(process):
        assert process.stdout is not None
        assert any(b"Serving" in line for line in process.stdout)
        require_no_secret(process.pid, folder)


def read_until(terminal: int, text: bytes) -> bytes:
    screen = b""
    while text not in screen:
        assert select.select([terminal], [], [], TIMEOUT)[0], screen
        screen += os.read(terminal, 65536)
    return screen


def load_master_key(folder: Path) -> bytes:
    paths = WorkspacePaths(folder)
    return open_master_key(PASSPHRASE_STORE, paths.keys, load_metadata(paths).id, PASSPHRASE)
