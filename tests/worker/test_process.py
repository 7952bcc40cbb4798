"""The worker as a process: how it leaves, what it keeps to itself, and how it speaks while it works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from sealyard.jobs.framing import encode_line
from sealyard.model.errors import KeyStoreLockedError
from sealyard.model.worker_messages import (
    AuditPublicKey,
    Heartbeat,
    JobFinished,
    KeyRequest,
    KeyResponse,
    OpenKeyStore,
    RunJob,
    SigningPermissionRequested,
    SigningPermitted,
    WorkerStartFailed,
)
from tests.support.processes import killed_at_exit
from tests.support.worker_harness import PASSPHRASE, WorkerProcess, WorkerWorkspace

LEAVE_SECONDS = 1.0
START_SECONDS = 20.0
LARGE = bytes(192 * 1024 * 1024)

Start = Callable[..., WorkerProcess]

HEARS_SOCKETS = """
import os, socket, sys
def hear(event, arguments):
    if event == "socket.__new__" and arguments[1] == socket.AF_UNIX:
        return  # the pair that wakes an event loop
    if event.startswith("socket."):
        os.write(2, f"a socket: {event} {arguments}\\n".encode())
sys.addaudithook(hear)
from sealyard.worker.__main__ import main
sys.exit(main())
"""

PRINTS = """
import os, sys
from sealyard.worker import __main__, service
verify = service.verify_approvals
def chatty(task):
    print("a library prints", flush=True)
    os.write(1, b'{"type":"Finished"}\\n')
    os.system("echo a child prints")
    verify(task)
service.verify_approvals = chatty
sys.exit(__main__.main())
"""


def test_an_idle_worker_leaves_when_its_pipe_closes(worker: WorkerProcess) -> None:
    worker.close_stdin()
    assert worker.process.wait(LEAVE_SECONDS) == 0


def test_a_worker_leaves_in_the_middle_of_a_large_job_and_signs_nothing(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    job = house.package(LARGE)
    worker.send(RunJob(job=job))
    worker.next(Heartbeat)
    worker.close_stdin()
    assert worker.process.wait(LEAVE_SECONDS) == 0
    assert house.intents == []
    assert not worker.messages_for(SigningPermissionRequested)


def test_a_worker_that_asked_for_leave_signs_nothing_once_its_pipe_is_closed(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    job = house.package(b"firmware")
    worker.send(RunJob(job=job))
    worker.next(SigningPermissionRequested)
    worker.close_stdin()
    assert worker.process.wait(LEAVE_SECONDS) == 0
    assert house.intents == []
    assert house.work(job.task, "container").read_bytes()[:4] == bytes(4), "the header is written with the signature"


def test_a_worker_that_cannot_be_heard_leaves(house: WorkerWorkspace) -> None:
    read, write = os.pipe()
    command = [sys.executable, "-m", "sealyard.worker"]
    with killed_at_exit(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=write)) as process:
        os.close(write)
        os.close(read)
        assert process.stdin is not None
        process.stdin.write(encode_line(house.key_store_request))
        process.stdin.flush()
        assert process.wait(START_SECONDS) == 0


def test_a_worker_that_is_told_nonsense_leaves(worker: WorkerProcess) -> None:
    assert worker.process.stdin is not None
    worker.process.stdin.write(b'{"type":"Sign","everything":true}\n')
    worker.process.stdin.flush()
    worker.process.wait(LEAVE_SECONDS)


def test_an_interrupt_of_the_terminal_does_not_reach_it(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.process.send_signal(signal.SIGINT)
    assert isinstance(worker.wait_for_end(house.package(b"firmware")), JobFinished)


def test_it_stays_alive_and_says_why_not_when_the_passphrase_is_wrong(house: WorkerWorkspace, start: Start) -> None:
    worker = start()
    worker.send(OpenKeyStore(workspace=str(house.root), workspace_id="w1", key_store="passphrase", passphrase="wrong"))
    assert worker.next(WorkerStartFailed).error.code == KeyStoreLockedError.code


def test_no_socket_is_ever_made(house: WorkerWorkspace, start: Start) -> None:
    worker = start("-c", HEARS_SOCKETS).open_key_store(house)
    assert isinstance(worker.wait_for_end(house.package(b"firmware")), JobFinished)
    assert isinstance(worker.wait_for_end(house.signing(b"message")), JobFinished)
    assert isinstance(worker.wait_for_end(house.encryption(b"firmware")), JobFinished)
    worker.send(KeyRequest(request_id=1, command=AuditPublicKey()))
    assert worker.next(KeyResponse).text
    assert "a socket" not in house.places.worker_log.read_text()


def test_no_network_socket_is_open_while_a_job_runs(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    worker.send(RunJob(job=house.package(b"firmware")))
    worker.next(SigningPermissionRequested)
    proc = Path(f"/proc/{worker.process.pid}")
    links = [str(each.readlink()) for each in (proc / "fd").iterdir()]
    sockets = {each.removeprefix("socket:[").removesuffix("]") for each in links if each.startswith("socket:")}
    lines = (proc / "net" / "unix").read_text().splitlines()[1:]
    nameless = {fields[6] for fields in map(str.split, lines) if len(fields) == 7}
    assert sockets <= nameless


def test_the_passphrase_is_in_no_place_where_others_could_read_it(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    assert isinstance(worker.wait_for_end(house.package(b"firmware")), JobFinished)
    proc = Path(f"/proc/{worker.process.pid}")
    for place in (proc / "environ", proc / "cmdline", house.places.worker_log):
        assert PASSPHRASE.encode() not in place.read_bytes()


def test_a_garbled_passphrase_line_does_not_end_in_the_log(house: WorkerWorkspace, start: Start) -> None:
    worker = start()
    assert worker.process.stdin is not None
    worker.process.stdin.write(encode_line(house.key_store_request).replace(b'"workspaceId":"w1"', b'"workspaceId":1'))
    worker.process.stdin.flush()
    worker.process.wait(START_SECONDS)
    assert "ValidationError" in house.places.worker_log.read_text()
    assert PASSPHRASE not in house.places.worker_log.read_text()


def test_what_a_library_prints_goes_to_the_log_and_not_between_the_messages(
    house: WorkerWorkspace, start: Start
) -> None:
    worker = start("-c", PRINTS).open_key_store(house)
    assert isinstance(worker.wait_for_end(house.signing(b"message")), JobFinished)
    log = house.places.worker_log.read_text()
    assert "a library prints" in log
    assert "a child prints" in log


def test_progress_is_told_at_most_ten_times_a_second_and_in_the_end_all_of_it(
    house: WorkerWorkspace, worker: WorkerProcess
) -> None:
    job = house.package(LARGE, LARGE[: 32 * 1024 * 1024 + 5])
    began = time.monotonic()
    assert isinstance(worker.wait_for_end(job), JobFinished)
    beats = worker.messages_for(Heartbeat)
    assert len(beats) <= 10 * (time.monotonic() - began) + 2
    assert [each.done for each in beats] == sorted(each.done for each in beats)
    assert all(each.done <= each.total == 2 * job.task.total_bytes for each in beats)
    assert beats[-1].done == beats[-1].total


def test_a_job_without_progress_is_spoken_of_every_second(house: WorkerWorkspace, worker: WorkerProcess) -> None:
    job = house.package(b"firmware")
    worker.send(RunJob(job=job))
    worker.next(SigningPermissionRequested)
    for _ in range(3):
        worker.next(Heartbeat)
    waiting = worker.beat_times()[-3:]
    assert all(later - earlier < 2 for earlier, later in pairwise(waiting))
    worker.send(SigningPermitted(task_id=job.task.id, fencing_token=job.task.fencing_token))
    worker.next(JobFinished)
