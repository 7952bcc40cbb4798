"""Search of the memory and environment of engine and server for the passphrase and the master key.

Promise 29: the process that faces the network has no key, and nothing that opens one.
"""

from __future__ import annotations

import asyncio
import os
import pty
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealyard.client.config.profiles import Profile, ProfileFile, write_profiles
from sealyard.keys.master_key import PASSPHRASE as PASSPHRASE_STORE
from sealyard.keys.master_key import open_master_key
from sealyard.model.workspace import WorkspacePaths
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit
from tests.support.workspace_files import ADMIN, create_workspace_with_device

PASSPHRASE = "only for this test"

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
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEALYARD_")}
    process = subprocess.Popen(
        [sys.executable, "-c", ENGINE_SCRIPT, str(folder), str(read_fd)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ,
        pass_fds=[read_fd],
    )
    os.close(read_fd)
    with killed_at_exit(process):
        assert process.stdout is not None
        worker = int(process.stdout.readline().split()[0])
        master_key = open_master_key(PASSPHRASE_STORE, WorkspacePaths(folder).keys, _workspace_id(folder), PASSPHRASE)
        key_holder = parent_of(worker)
        assert parent_of(key_holder) == process.pid
        assert count_copies(key_holder, master_key) > 0, "the search finds secrets"
        assert count_copies(process.pid, PASSPHRASE.encode()) == 0
        assert count_copies(process.pid, master_key) == 0
        assert count_copies(worker, PASSPHRASE.encode()) == 0
        process.communicate("", timeout=TIMEOUT)


def test_s10_command_started_with_prompt_has_no_passphrase(folder: Path) -> None:
    terminal, child_terminal = pty.openpty()
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SEALYARD_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "sealyard.cli.main", "--workspace", str(folder), "--profile", "admin", "run"],
        stdin=child_terminal,
        stdout=child_terminal,
        stderr=child_terminal,
        start_new_session=True,
        env=environ | {"SEALYARD_WORKSPACE": "", "SEALYARD_PROFILE": ""},
    )
    os.close(child_terminal)
    with killed_at_exit(process):
        read_until(terminal, b"Passphrase of the key store: ")
        os.write(terminal, PASSPHRASE.encode() + b"\n")
        screen = read_until(terminal, b"Running tasks")
        assert PASSPHRASE.encode() not in screen
        assert count_copies(process.pid, PASSPHRASE.encode()) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0
    os.close(terminal)


def read_until(terminal: int, text: bytes) -> bytes:
    screen = b""
    while text not in screen:
        assert select.select([terminal], [], [], TIMEOUT)[0], screen
        screen += os.read(terminal, 65536)
    return screen


def _workspace_id(folder: Path) -> str:
    from sealyard.engine.workspace import load_metadata

    return load_metadata(WorkspacePaths(folder)).id
