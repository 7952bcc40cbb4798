"""Tests of the worker process: exit, secrecy, output and heartbeats."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from sealyard.jobs.framing import encode_line
from sealyard.model.errors import KeyStoreLockedError
from sealyard.model.key_commands import AuditPublicKey
from sealyard.model.key_holder_messages import OpenKeys
from sealyard.model.worker_messages import (
    Heartbeat,
    JobFinished,
    KeyRequest,
    KeyResponse,
    RunJob,
    SigningPermissionRequested,
    WorkerStartFailed,
)
from tests.support.limits import TIMEOUT
from tests.support.processes import killed_at_exit
from tests.support.worker_harness import PASSPHRASE, WorkerProcess, WorkerWorkspace, permit

LARGE = bytes(192 * 1024 * 1024)

Start = Callable[..., WorkerProcess]

SOCKET_AUDIT_SCRIPT = """
import os, socket, sys
def log_socket(event, arguments):
    if event == "socket.__new__" and arguments[1] == socket.AF_UNIX:
        return  # the socket pair that wakes an event loop
    if event.startswith("socket."):
        os.write(2, f"a socket: {event} {arguments}\\n".encode())
sys.addaudithook(log_socket)
from sealyard.worker.__main__ import main
sys.exit(main())
"""

PRINTING_SCRIPT = """
import errno, os, sys
from sealyard.worker import __main__, service
verify = service.verify_approvals
def verify_and_print(task):
    print("a library prints", flush=True)
    os.write(1, b'{"type":"Finished"}\\n')
    try:
        os.fork()
    except OSError as error:
        os.write(2, f"no child: {errno.errorcode[error.errno]}\\n".encode())
    verify(task)
service.verify_approvals = verify_and_print
sys.exit(__main__.main())
"""


def test_idle_worker_exits_with_its_pipe(worker: WorkerProcess) -> None:
    worker.close_stdin()
    assert worker.process.wait(TIMEOUT) == 0


def test_working_process_exits_with_its_pipe(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(LARGE)
    worker.send(RunJob(job=job))
    worker.next(Heartbeat)
    worker.close_stdin()
    assert worker.process.wait(TIMEOUT) == 0
    assert workspace.intents == []
    assert not worker.messages_of(SigningPermissionRequested)


def test_closed_pipe_prevents_signing(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(b"firmware")
    worker.send(RunJob(job=job))
    worker.next(SigningPermissionRequested)
    worker.close_stdin()
    assert worker.process.wait(TIMEOUT) == 0
    assert workspace.intents == []
    assert workspace.work_file(job.task, "container").read_bytes()[:4] == bytes(4), (
        "the header is written with the signature"
    )


def test_worker_with_closed_output_exits(workspace: WorkerWorkspace) -> None:
    read, write = os.pipe()
    holder_channel, worker_channel = socket.socketpair()
    command = [sys.executable, "-m", "sealyard.worker", str(worker_channel.fileno())]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write, pass_fds=[worker_channel.fileno()])
    worker_channel.close()
    with holder_channel, killed_at_exit(process):
        os.close(write)
        os.close(read)
        holder_channel.sendall(encode_line(workspace.open_keys))
        assert process.wait(TIMEOUT) == 0


def test_worker_without_key_holder_exits() -> None:
    command = [sys.executable, "-m", "sealyard.worker"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT, check=False)
    assert result.returncode == 2
    assert b"holder_fd" in result.stderr


def test_invalid_message_ends_the_worker(worker: WorkerProcess) -> None:
    assert worker.process.stdin is not None
    worker.process.stdin.write(b'{"type":"Sign","everything":true}\n')
    worker.process.stdin.flush()
    assert worker.process.wait(TIMEOUT) == 0


def test_worker_ignores_sigint(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.process.send_signal(signal.SIGINT)
    assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)


def test_idle_worker_exits_with_its_key_holder(worker: WorkerProcess) -> None:
    worker.holder_channel.shutdown(socket.SHUT_RDWR)
    assert worker.process.wait(TIMEOUT) == 0


def test_working_process_exits_with_its_key_holder(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send(RunJob(job=workspace.package(LARGE)))
    worker.next(Heartbeat)
    worker.holder_channel.shutdown(socket.SHUT_RDWR)
    assert worker.process.wait(TIMEOUT) == 0
    assert workspace.intents == []


def test_wrong_master_key_is_reported(workspace: WorkerWorkspace, start_worker: Start) -> None:
    worker = start_worker()
    worker.holder_channel.sendall(
        encode_line(OpenKeys(workspace=str(workspace.root), workspace_id="w1", master_key=bytes(32)))
    )
    assert worker.next(WorkerStartFailed).error.code == KeyStoreLockedError.code


def test_worker_creates_no_socket(workspace: WorkerWorkspace, start_worker: Start) -> None:
    worker = start_worker("-c", SOCKET_AUDIT_SCRIPT).open_key_store(workspace)
    assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished)
    assert isinstance(worker.wait_for_end(workspace.encryption(b"firmware")), JobFinished)
    worker.send(KeyRequest(request_id=1, command=AuditPublicKey()))
    assert worker.next(KeyResponse).text
    assert "a socket" not in workspace.paths.worker_log.read_text()


def test_running_job_has_no_network_socket(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send(RunJob(job=workspace.package(b"firmware")))
    worker.next(SigningPermissionRequested)
    proc = Path(f"/proc/{worker.process.pid}")
    links = [str(each.readlink()) for each in (proc / "fd").iterdir()]
    sockets = {each.removeprefix("socket:[").removesuffix("]") for each in links if each.startswith("socket:")}
    # The pair that wakes the event loop was created before the worker moved to a network namespace of its own.
    lines = Path("/proc/self/net/unix").read_text().splitlines()[1:]
    unnamed = {fields[6] for fields in map(str.split, lines) if len(fields) == 7}
    assert sockets <= unnamed


def test_secrets_are_not_readable_by_others(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)
    proc = Path(f"/proc/{worker.process.pid}")
    for path in (proc / "environ", proc / "cmdline", workspace.paths.worker_log):
        content = path.read_bytes()
        assert PASSPHRASE.encode() not in content
        assert workspace.open_keys.master_key not in content
        assert base64.b64encode(workspace.open_keys.master_key) not in content


def test_log_omits_malformed_master_key_message(workspace: WorkerWorkspace, start_worker: Start) -> None:
    worker = start_worker()
    message = encode_line(workspace.open_keys)
    worker.holder_channel.sendall(message.replace(b'"workspaceId":"w1"', b'"workspaceId":1'))
    worker.process.wait(TIMEOUT)
    assert "ValidationError" in workspace.paths.worker_log.read_text()
    assert base64.b64encode(workspace.open_keys.master_key).decode() not in workspace.paths.worker_log.read_text()


def test_library_output_goes_to_the_log(workspace: WorkerWorkspace, start_worker: Start) -> None:
    worker = start_worker("-c", PRINTING_SCRIPT).open_key_store(workspace)
    assert isinstance(worker.wait_for_end(workspace.signing(b"message")), JobFinished)
    log = workspace.paths.worker_log.read_text()
    assert "a library prints" in log
    assert "no child: EPERM" in log


def test_heartbeats_are_limited_and_complete(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(LARGE[: 64 * 1024 * 1024], LARGE[: 16 * 1024 * 1024 + 5])
    started_at = time.monotonic()
    assert isinstance(worker.wait_for_end(job), JobFinished)
    heartbeats = worker.messages_of(Heartbeat)
    assert len(heartbeats) <= 10 * (time.monotonic() - started_at) + 2
    assert [each.done for each in heartbeats] == sorted(each.done for each in heartbeats)
    assert all(each.done <= each.total == 2 * job.task.total_bytes for each in heartbeats)
    assert heartbeats[-1].done == heartbeats[-1].total


def test_idle_job_sends_heartbeats(workspace: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = workspace.package(b"firmware")
    worker.send(RunJob(job=job))
    request = worker.next(SigningPermissionRequested)
    for _ in range(3):
        worker.next(Heartbeat)
    times = worker.heartbeat_times()[-3:]
    assert all(later - earlier < 2 for earlier, later in pairwise(times))
    worker.send(permit(request))
    worker.next(JobFinished)
