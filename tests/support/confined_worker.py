"""Run statements inside a confined worker, as code that an attacker has injected."""

from __future__ import annotations

import json
from pathlib import Path

from sealyard.model.worker_messages import JobFinished
from tests.support.worker_harness import WorkerProcess, WorkerWorkspace

INSIDE_SCRIPT = """
import ctypes, errno, json, os, socket, sys
from sealyard.worker import __main__, service
outcomes = {{}}
def attempt(name, statement):
    try:
        exec(statement, globals())
        outcomes[name] = "done"
    except OSError as error:
        outcomes[name] = errno.errorcode[error.errno]
def call(number, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) < 0:
        raise OSError(ctypes.get_errno(), "refused")
results = open({results!r}, "w")
verify = service.verify_approvals
def attack(task):
    for name, statement in {statements!r}.items():
        attempt(name, statement)
    results.write(json.dumps(outcomes))
    results.flush()
    verify(task)
service.verify_approvals = attack
sys.exit(__main__.main())
"""


def run_inside(workspace: WorkerWorkspace, folder: Path, statements: dict[str, str]) -> dict[str, str]:
    """Run statements in a worker before it runs a job, which must succeed nevertheless.

    Returns, for each name, "done" or the name of the error, for example ``EPERM``.
    """
    results = folder / "outcomes.json"
    worker = WorkerProcess(workspace, ("-c", INSIDE_SCRIPT.format(results=str(results), statements=statements)))
    try:
        worker.open_key_store(workspace)
        assert isinstance(worker.wait_for_end(workspace.package(b"firmware")), JobFinished)
    finally:
        worker.close()
    outcomes: dict[str, str] = json.loads(results.read_text())
    return outcomes


def call_number(name: str) -> int:
    """Return the number of a system call that the filter denies, on this machine."""
    from sealyard.confinement import syscalls
    from sealyard.confinement.seccomp import DENIED_CALLS

    x86_64, aarch64 = DENIED_CALLS[name]
    number = x86_64 if syscalls.machine() == "x86_64" else aarch64
    assert number is not None
    return number
