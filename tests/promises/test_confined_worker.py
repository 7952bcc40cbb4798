"""Attacks on the crypto worker by a process of the same user (S10), by code inside it, and by a breached engine (f11).

What remains open: a breached engine can still ask for an exported key and for a new version of a key (`ExportKey`,
`RotateKey`), until approvals are signed.
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sealyard.model.worker_messages import KeyResponse
from tests.support.cli_runner import wait_until
from tests.support.confined_worker import call_number, run_inside
from tests.support.limits import TIMEOUT
from tests.support.ordinary_user import open_to_ordinary_user, run_as_ordinary_user
from tests.support.processes import killed_at_exit
from tests.support.worker_harness import PASSPHRASE, WorkerProcess, WorkerWorkspace

READ_MEMORY_SCRIPT = """
import ctypes, errno, json, os, sys
pid, secret = int(sys.argv[1]), sys.stdin.buffer.read()
libc = ctypes.CDLL(None, use_errno=True)

def search_memory():
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if line.split()[1].startswith("rw"):
                try:
                    memory.seek(start)
                    if secret in memory.read(end - start):
                        return "found"
                except (OSError, OverflowError):
                    pass
    return "not found"

def attach():
    if libc.ptrace(ctypes.c_long(16), ctypes.c_long(pid), None, None) < 0:
        raise OSError(ctypes.get_errno(), "refused")
    return "attached"

def read_link(name):
    return lambda: str(len(os.listdir(f"/proc/{pid}/{name}")))

outcomes = {}
for name, attack in (("memory", search_memory), ("ptrace", attach), ("fds", read_link("fd")),
                     ("environ", lambda: open(f"/proc/{pid}/environ", "rb").read() and "read")):
    try:
        outcomes[name] = attack()
    except OSError as error:
        outcomes[name] = errno.errorcode[error.errno]
print(json.dumps(outcomes))
"""
"""An attacker that runs as the same user as its target, without privileges."""

UNPROTECTED_SCRIPT = "import sys; secret = sys.stdin.buffer.read(int(sys.argv[1])); print(flush=True); sys.stdin.read()"


def attack_process(prefix: tuple[str, ...], pid: int) -> dict[str, str]:
    result = subprocess.run(
        [*prefix, sys.executable, "-c", READ_MEMORY_SCRIPT, str(pid)],
        input=PASSPHRASE.encode(),
        capture_output=True,
        check=True,
        timeout=TIMEOUT,
        cwd="/",
    )
    outcomes: dict[str, str] = json.loads(result.stdout)
    return outcomes


@contextmanager
def unprotected_process(prefix: tuple[str, ...]) -> Iterator[int]:
    """Run a process that holds the passphrase as the worker does, but without protection."""
    command = [*prefix, sys.executable, "-c", UNPROTECTED_SCRIPT, str(len(PASSPHRASE))]
    with killed_at_exit(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(PASSPHRASE.encode())
        process.stdin.flush()
        process.stdout.readline()
        yield process.pid


# ---- S10: a process of the same user


def test_s10_same_user_cannot_read_memory_of_worker(workspace: WorkerWorkspace) -> None:
    prefix = run_as_ordinary_user()
    with unprotected_process(prefix) as pid:
        outcomes = attack_process(prefix, pid)
        assert (outcomes["memory"], outcomes["ptrace"]) == ("found", "attached"), "the attack must work at all"
    with open_to_ordinary_user(workspace) as accessible_workspace:
        worker = WorkerProcess(accessible_workspace, prefix=prefix)
        try:
            worker.open_key_store(accessible_workspace)
            outcomes = attack_process(prefix, worker.process.pid)
        finally:
            worker.close()
    assert outcomes["memory"] in {"EACCES", "EPERM"}
    assert outcomes["ptrace"] == "EPERM"
    assert outcomes["fds"] == outcomes["environ"] == "EACCES"


def test_s10_memory_is_protected_before_master_key_arrives(workspace: WorkerWorkspace) -> None:
    prefix = run_as_ordinary_user()
    with open_to_ordinary_user(workspace) as accessible_workspace:
        worker = WorkerProcess(accessible_workspace, prefix=prefix)
        try:
            # The worker reads the beginning of the key holder's first message, and waits for the rest.
            worker.holder_channel.sendall(PASSPHRASE.encode())
            wait_until(lambda: is_read(worker.holder_channel))
            outcomes = attack_process(prefix, worker.process.pid)
        finally:
            worker.close()
    assert outcomes["memory"] in {"EACCES", "EPERM"}
    assert outcomes["ptrace"] == "EPERM"


def is_read(channel: socket.socket) -> bool:
    """Return whether the other end has read everything that was sent."""
    (pending,) = struct.unpack("i", fcntl.ioctl(channel, termios.TIOCOUTQ, bytes(4)))
    return int(pending) == 0


# ---- code inside the worker


def test_worker_opens_no_socket(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    outcomes = run_inside(
        workspace,
        tmp_path,
        {
            "internet": "socket.socket(socket.AF_INET, socket.SOCK_STREAM)",
            "datagram": "socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)",
            "unix": "socket.socket(socket.AF_UNIX)",
            "pair": "socket.socketpair()",
            "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
            "io_uring": f"call({call_number('io_uring_setup')}, 8, 0)",
        },
    )
    assert set(outcomes.values()) == {"EPERM"}, outcomes


def test_worker_reaches_no_file_outside(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    (workspace.paths.artifacts / "results" / "earlier").write_bytes(b"container")
    stored = workspace.artifacts.input_path(workspace.store(b"input").sha256)
    link = workspace.paths.artifacts / "work" / "link"
    link.symlink_to(outside)
    work, keys = workspace.paths.artifacts / "work", workspace.paths.keys
    outcomes = run_inside(
        workspace,
        tmp_path,
        {
            "read": f"open({str(outside)!r}, 'rb')",
            "write": f"open({str(outside)!r}, 'ab')",
            "create": f"open({str(tmp_path / 'new')!r}, 'wb')",
            "list": "os.listdir('/')",
            "home": f"os.listdir({str(Path.home())!r})",
            "passwd": "open('/etc/passwd')",
            "result": f"open({str(workspace.paths.artifacts / 'results' / 'earlier')!r}, 'rb')",
            "metadata": f"open({str(workspace.root / 'workspace.json')!r}, 'wb')",
            "change input": f"open({str(stored)!r}, 'r+b')",
            "remove input": f"os.unlink({str(stored)!r})",
            "through a link (E11)": f"open({str(link)!r}, 'r+b')",
            "new link": f"os.symlink({str(outside)!r}, {str(work / 'other')!r})",
            "move out": f"os.rename({str(keys / 'keyring.json')!r}, {str(tmp_path / 'stolen')!r})",
            "code": f"open({json.__file__!r}, 'r+b')",
            "memory of the engine": "open(f'/proc/{os.getppid()}/mem', 'rb')",
        },
    )
    reachable = {name for name, outcome in outcomes.items() if outcome not in {"EACCES", "EXDEV", "ENOENT"}}
    assert reachable == set(), outcomes
    assert outside.read_bytes() == b"secret"


def test_worker_runs_no_program(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    outcomes = run_inside(
        workspace,
        tmp_path,
        {
            "fork": "os.fork()",
            "exec": "os.execv(sys.executable, [sys.executable])",
            "spawn": "os.posix_spawn(sys.executable, [sys.executable], {})",
        },
    )
    assert set(outcomes.values()) <= {"EPERM", "EACCES"}, outcomes


def test_worker_touches_no_other_process_or_kernel_interface(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    names = (
        "ptrace process_vm_readv process_vm_writev pidfd_open kcmp perf_event_open"
        " mount umount2 pivot_root chroot unshare setns setuid capset"
        " add_key keyctl request_key bpf userfaultfd init_module kexec_load reboot personality"
    )
    statements = {name: f"call({call_number(name)}, 0, 0, 0, 0, 0)" for name in names.split()}
    statements |= {"kill": "os.kill(os.getppid(), 0)", "own memory": "open('/proc/self/mem', 'rb')"}
    outcomes = run_inside(workspace, tmp_path, statements)
    assert outcomes.pop("own memory") == "EACCES"
    assert set(outcomes.values()) == {"EPERM"}, outcomes


# ---- a breached engine


def send_line(worker: WorkerProcess, value: object) -> None:
    assert worker.process.stdin is not None
    worker.process.stdin.write(json.dumps(value).encode() + b"\n")
    worker.process.stdin.flush()


def test_f11_key_is_exported_to_no_path(workspace: WorkerWorkspace, tmp_path: Path) -> None:
    key = b""
    targets = (tmp_path / "stolen", workspace.paths.artifacts / "work" / "stolen")
    worker = WorkerProcess(workspace).open_key_store(workspace)
    try:
        for target in targets:
            command = {"type": "ExportKey", "uri": "local:content", "version": 1, "path": str(target)}
            send_line(worker, {"type": "KeyRequest", "requestId": 1, "command": command})
            key = worker.next(KeyResponse).secret or b""
            assert len(key) == 32
            assert not target.exists()
        files = [path for path in workspace.root.rglob("*") if path.is_file()]
        assert not [path for path in files if key in path.read_bytes()]
    finally:
        worker.close()


@pytest.mark.parametrize("command", ["ImportKey", "ImportCertificate"])
def test_f11_worker_reads_no_path_of_engine(workspace: WorkerWorkspace, tmp_path: Path, command: str) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    worker = WorkerProcess(workspace).open_key_store(workspace)
    try:
        request = {"type": command, "uri": "local:new", "version": 1, "path": str(tmp_path / "key")}
        request |= {"kind": "AES_256", "purpose": "both", "createdBy": "USER:a"}
        send_line(worker, {"type": "KeyRequest", "requestId": 1, "command": request})
        assert worker.process.wait(TIMEOUT) == 0
    finally:
        worker.close()
    assert not list(workspace.paths.keys.rglob("new"))
    assert "content" in workspace.paths.worker_log.read_text()
