"""Find and end processes through /proc."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import AnyStr

from tests.support.limits import TIMEOUT

KEY_HOLDER_MODULE = "sealyard.keyholder"
PROVIDER_MODULE = "sealyard.provider"


def is_running(pid: int) -> bool:
    """Return whether the process is running. A zombie is not."""
    state = _state(pid)
    return state is not None and state[0] not in ("Z", "X")


def command_line(pid: int) -> str:
    """Return the program and its arguments, separated by spaces; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def children_of(pid: int) -> set[int]:
    return {
        each for each in _all_pids() if (state := _state(each)) is not None and state[1] == pid and is_running(each)
    }


def descendants_of(pid: int) -> list[int]:
    """Return all descendants of ``pid``, parents before their children."""
    children_by_parent: dict[int, list[int]] = {}
    for each in _all_pids():
        if (state := _state(each)) is not None:
            children_by_parent.setdefault(state[1], []).append(each)
    result: list[int] = []
    pending = [pid]
    while pending:
        children = children_by_parent.get(pending.pop(0), [])
        result += children
        pending += children
    return result


def find_key_holder(owner: int) -> int | None:
    """Return the key holder that the process ``owner`` has started; None if it has none at the moment."""
    return next((pid for pid in children_of(owner) if KEY_HOLDER_MODULE in command_line(pid)), None)


def find_workers(owner: int) -> set[int]:
    key_holder = find_key_holder(owner)
    return set() if key_holder is None else children_of(key_holder) - find_providers(key_holder)


def find_providers(key_holder: int) -> set[int]:
    """Return the provider processes that a key holder has started."""
    return {pid for pid in children_of(key_holder) if PROVIDER_MODULE in command_line(pid)}


def find_by_environment(mark: str) -> set[int]:
    """Return the running processes whose initial environment contains ``mark``."""
    pids = set()
    for pid in _all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in environment and is_running(pid):
            pids.add(pid)
    return pids


def wait_for_exit(pids: Iterable[int], within: float) -> set[int]:
    """Wait up to ``within`` seconds for the processes to end; return those that still run."""
    running = {pid for pid in pids if is_running(pid)}
    deadline = time.monotonic() + within
    while running and time.monotonic() < deadline:
        time.sleep(0.01)
        running = {pid for pid in running if is_running(pid)}
    return running


def suspend(pid: int) -> None:
    """Stop a process with SIGSTOP, and wait until all its threads have stopped.

    The kernel delivers the signal after ``kill`` has returned, so that a running thread can still read or write
    meanwhile.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + TIMEOUT
    while not _is_stopped(pid):
        assert time.monotonic() < deadline, f"process {pid} has not stopped"
        time.sleep(0.001)


def kill_all(pids: Iterable[int]) -> None:
    """Kill the processes, including stopped ones, and wait for them to exit. Skips those that have exited."""
    pids = set(pids)
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_for_exit(pids, TIMEOUT)


@contextmanager
def killed_at_exit(process: subprocess.Popen[AnyStr]) -> Iterator[subprocess.Popen[AnyStr]]:
    """Kill the process when the block is left, unless it has ended, and close its pipes."""
    try:
        yield process
    finally:
        process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        process.wait()


def _all_pids() -> list[int]:
    return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit()]


def _is_stopped(pid: int) -> bool:
    """Return whether all threads of a process have stopped or ended (proc(5))."""
    try:
        threads = [each.read_text(errors="replace") for each in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return not is_running(pid)
    return all(_parse_stat(text)[0] in "TZX" for text in threads)


def _state(pid: int) -> tuple[str, int] | None:
    """Return the state letter and the parent of a process, or None if it does not exist."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return _parse_stat(text)


def _parse_stat(text: str) -> tuple[str, int]:
    state, parent = text.rpartition(")")[2].split()[:2]
    return state, int(parent)
