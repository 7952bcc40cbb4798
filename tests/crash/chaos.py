"""A chaos run: create tasks of all kinds on an engine while it, its key holder and its workers are killed repeatedly.

In the meantime, processes are suspended and the clock of the engine jumps.
"""

from __future__ import annotations

import base64
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from sealyard.model.errors import DiskFullError
from tests.crash.engine_driver import EngineDriver, Line
from tests.crash.process_faults import ProcessFaults
from tests.crash.random_requests import ExpectedTask, RandomRequests
from tests.support.processes import find_workers
from tests.support.small_disk import SmallDisk

FAULTS = {
    "engine": 4,
    "worker": 6,
    "worker and engine": 3,
    "key holder": 3,
    "key holder and engine": 1,
    "work files and engine": 2,
    "pause": 2,
    "clock": 2,
}
"""Faults and their weights."""

DISK_FAULTS = {"engine": 1, "worker": 1, "full disk": 4, "full disk and engine": 2, "read-only disk and engine": 1}
"""Faults and their weights on a small disk."""

MAX_FULL_SECONDS = 1.5

HOUR = 3600.0
CLOCK_OFFSETS = (-0.4 * HOUR, 0.4 * HOUR, 2 * HOUR, 20 * 24 * HOUR)
"""Offsets of the engine's clock, in seconds. No scheduled task runs while the clock is more than an hour ahead."""

MAX_OPEN_TASKS = 6
MAX_LOSSES = 2
"""A third lost worker fails a task by design, so workers of a task that lost two are not killed."""

OPENING_KILL_PROBABILITY = 0.15
DISK_FULL = DiskFullError.code
RELEASE_TIMEOUT = 30.0
FINISH_TIMEOUT = 180.0
FINAL_STATUSES = ("DONE", "FAILED", "CANCELLED")


@dataclass
class ChaosRun:
    workspace: Path
    credentials: Path
    """Folder with the passphrase of the workspace."""

    files: tuple[Path, ...]
    """One file of each size in ``SIZES``, or of smaller ones, in the same order."""
    random: Random
    disk: SmallDisk | None = None
    """The disk of the workspace, which is filled and made read-only; None: no such faults."""
    expected: dict[str, ExpectedTask] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    """Task ID by token, once the engine has acknowledged the task."""
    stopped: dict[str, float] = field(default_factory=dict)
    """Time (seconds since the epoch) at which the acknowledgement of a stop arrived, by task ID."""
    finished: dict[str, str] = field(default_factory=dict)
    """Final status by task ID, as received in an event or a response."""
    downloads: dict[str, str] = field(default_factory=dict)
    """SHA-256 of the downloaded artifact by task ID."""
    open_tokens: set[str] = field(default_factory=set)
    """Tokens of tasks whose final status has not been received yet."""
    pending_downloads: set[str] = field(default_factory=set)
    """Tasks whose artifact the running engine was asked to download."""
    clock_jumps: int = 0
    full_disks: int = 0
    refusals: int = 0
    """Number of commands that were refused because the disk was full."""
    engine: EngineDriver | None = None
    _next_engine: EngineDriver | None = None

    def __post_init__(self) -> None:
        self.faults = ProcessFaults(self.random)
        self._requests = RandomRequests(self.random, self.files)

    @property
    def kills(self) -> int:
        return self.faults.kills.total()

    @property
    def _has_effects(self) -> bool:
        """Whether a stop was acknowledged or, on a small disk, a command refused; chance decides when."""
        return bool(self.stopped) if self.disk is None else self.refusals > 0

    def run(self, kills: int) -> None:
        """Cause faults until there were so many kills, and the faults or stops had an effect."""
        while self.kills < kills or not self._has_effects:
            engine = self.engine or self._start_engine()
            self._create_missing_tasks(engine)
            faults = FAULTS if self.disk is None else DISK_FAULTS
            (fault,) = self.random.choices(list(faults), list(faults.values()))
            self._wait_for_kill_moment(engine)
            self._cause(fault, engine)

    def _cause(self, fault: str, engine: EngineDriver) -> None:
        match fault:
            case "pause":
                self.faults.pause_random_process(engine.pid)
            case "clock":
                self._set_clock(engine, self.random.choice(CLOCK_OFFSETS))
            case "worker" | "worker and engine":
                self._kill_worker(engine, wait=fault == "worker")
            case "key holder" | "key holder and engine":
                self._kill_key_holder(engine, wait=fault == "key holder")
            case "full disk" | "full disk and engine":
                self._fill_disk(engine)
        if fault.endswith("engine"):
            self._kill_engine(engine)
        if fault == "work files and engine":
            self._remove_work_files()
        if fault == "read-only disk and engine":
            self._refuse_start()
        if fault.startswith("full disk"):
            self._free_disk(engine)

    def finish(self) -> None:
        """Wait until all tasks are finished, then close the engine, reopen it and close it again.

        Reopening deletes files uploaded again for a task that existed already; a running engine keeps them for a day.
        """
        engine = self.engine or self._start_engine()
        self._set_clock(engine, 0)
        self._repeat_requests(engine)
        deadline = time.monotonic() + FINISH_TIMEOUT
        while pending := self._list_pending(engine):
            assert time.monotonic() < deadline, f"unfinished: {pending}"
            self._handle_lines(engine, 0.1)
        self._close(engine)
        last_engine = self._open_engine()
        last_engine.wait_until_open()
        self._close(last_engine)

    def _list_pending(self, engine: EngineDriver) -> set[str]:
        """Return the tasks that are unfinished or not downloaded, and the tokens of those not acknowledged.

        A task is approved only once its acknowledgement was received.
        """
        unacknowledged = self.open_tokens - self.accepted.keys()
        return unacknowledged.union(engine.request("unfinished")["unfinished"], self.pending_downloads)

    def _close(self, engine: EngineDriver) -> None:
        for line in engine.close():
            self._handle_line(engine, line)
        self.engine = None

    def kill_processes(self) -> None:
        """Kill all engine processes that still run."""
        for each in (self.engine, self._next_engine):
            if each is not None:
                each.kill_if_running()

    def _remove_work_files(self) -> None:
        """Let the next engine continue like one on another host: without the files of unfinished tasks."""
        for folder in (self.workspace / "artifacts" / "work").iterdir():
            # A worker that has not noticed the end of its engine can still write to it.
            shutil.rmtree(folder, ignore_errors=True)

    # ---- faults of the disk

    def _fill_disk(self, engine: EngineDriver) -> None:
        assert self.disk is not None
        self.disk.fill()
        self.full_disks += 1
        self._handle_lines(engine, self.random.uniform(0.1, MAX_FULL_SECONDS))

    def _free_disk(self, engine: EngineDriver) -> None:
        """Free the disk, and repeat what the engine may have refused, unless it was killed."""
        assert self.disk is not None
        self.disk.free()
        if self.engine is engine:
            self._repeat_requests(engine)

    def _refuse_start(self) -> None:
        """Let an engine fail to open the workspace on a read-only disk."""
        assert self.disk is not None
        self.disk.remount("ro")
        engine = self._open_engine()
        assert engine.wait_for_exit() != 0
        self.engine = None
        self.disk.remount("rw")

    # ---- creating tasks

    def _start_engine(self) -> EngineDriver:
        while self.random.random() < OPENING_KILL_PROBABILITY:
            engine = self._open_engine()
            time.sleep(self.random.uniform(0, 0.7))
            self._kill_engine(engine)
        engine = self._open_engine()
        engine.wait_until_open()
        self._repeat_requests(engine)
        return engine

    def _repeat_requests(self, engine: EngineDriver) -> None:
        """Repeat unacknowledged requests under their tokens, as a client would, and approve what still waits."""
        unfinished = engine.request("unfinished")["unfinished"]
        for token in sorted(self.open_tokens - self.accepted.keys()):
            self._create(engine, token)
        for token, task_id in self.accepted.items():
            if task_id not in unfinished:
                self.open_tokens.discard(token)
            elif unfinished[task_id]["status"] in ("CREATED", "WAITING"):
                engine.send("approve", task=task_id)
        for task_id in self.pending_downloads:
            engine.send("download", task=task_id)

    def _open_engine(self) -> EngineDriver:
        """Let an engine process open the workspace, and start the process of the next one."""
        self.engine = engine = self._next_engine or self._prepare_engine()
        self._next_engine = self._prepare_engine()
        engine.open()
        return engine

    def _prepare_engine(self) -> EngineDriver:
        command_prefix = () if self.disk is None else self.disk.command_prefix
        return EngineDriver(self.workspace, self.credentials, command_prefix)

    def _set_clock(self, engine: EngineDriver, ahead: float) -> None:
        engine.request("clock", ahead=ahead)
        self.clock_jumps += 1

    def _create_missing_tasks(self, engine: EngineDriver) -> None:
        while len(self.open_tokens) < MAX_OPEN_TASKS:
            token = f"token-{len(self.expected)}"
            self.expected[token] = self._requests.choose_request()
            self.open_tokens.add(token)
            self._create(engine, token)

    def _create(self, engine: EngineDriver, token: str) -> None:
        expected = self.expected[token]
        files = [str(each) for each in expected.files]
        message = base64.b64encode(expected.message).decode()
        engine.send("create", token=token, kind=expected.kind, files=files, message=message)

    # ---- receiving lines

    def _handle_line(self, engine: EngineDriver, line: Line) -> None:
        if "error" in line:
            assert self.full_disks, line
            assert line["code"] == DISK_FULL, line
            self.refusals += 1
        if "token" in line:
            token, task_id = line["token"], line["task"]
            assert self.accepted.setdefault(token, task_id) == task_id, "two tasks for one token"
            expected = self.expected[token]
            if expected.kind != "encryption":
                self._send(engine, "approve", task_id)
            if expected.stop and expected.stop_at in ("CREATED", "WAITING"):
                self._send(engine, expected.stop, task_id)
        if line.get("stopped"):
            self.stopped.setdefault(line["task"], time.time())
        if line.get("status") in ("APPROVED", "SCHEDULED", "RUNNING"):
            self._send_stop(engine, line["task"], line["status"])
        if line.get("status") in FINAL_STATUSES:
            self._handle_final_status(engine, line["task"], line["status"])
        if "downloaded" in line:
            self.downloads[line["downloaded"]] = line["sha256"]
            self.pending_downloads.discard(line["downloaded"])

    def _handle_final_status(self, engine: EngineDriver, task_id: str, status: str) -> None:
        assert self.finished.setdefault(task_id, status) == status, f"{task_id} was {self.finished[task_id]}"
        tokens = [token for token, accepted in self.accepted.items() if accepted == task_id]
        self.open_tokens.difference_update(tokens)
        has_file = any(self.expected[token].kind != "signing" for token in tokens)
        if status == "DONE" and has_file and task_id not in self.downloads:
            self.pending_downloads.add(task_id)
            self._send(engine, "download", task_id)

    def _send_stop(self, engine: EngineDriver, task_id: str, status: str) -> None:
        for token, accepted in self.accepted.items():
            expected = self.expected[token]
            if accepted == task_id and expected.stop and expected.stop_at == status:
                self._send(engine, expected.stop, task_id)

    def _send(self, engine: EngineDriver, command: str, task_id: str) -> None:
        try:
            engine.send(command, task=task_id)
        except BrokenPipeError:
            # The engine was killed; the next one receives the commands again.
            return

    def _handle_lines(self, engine: EngineDriver, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (remaining := deadline - time.monotonic()) > 0:
            line = engine.next_line(remaining)
            if line is not None:
                self._handle_line(engine, line)

    def _wait_for_kill_moment(self, engine: EngineDriver) -> None:
        """Wait a random time, for some task changes, or until a signature is in progress."""
        match self.random.choice(("time", "change", "change", "intent")):
            case "time":
                self._handle_lines(engine, self.random.uniform(0, 0.4))
            case "change":
                self._wait_for_changes(engine, self.random.randint(1, 12))
            case _:
                self._wait_for_intent(engine)
        time.sleep(self.random.choice((0, 0, self.random.uniform(0, 0.02))))

    def _wait_for_changes(self, engine: EngineDriver, count: int) -> None:
        deadline = time.monotonic() + 2
        while count and (remaining := deadline - time.monotonic()) > 0:
            line = engine.next_line(remaining)
            if line is not None:
                self._handle_line(engine, line)
                count -= "status" in line

    def _wait_for_intent(self, engine: EngineDriver) -> None:
        workspace = self.workspace if self.disk is None else self.disk.view / self.workspace.name
        intents = workspace / "worker" / "state.log"
        size = _file_size(intents)
        deadline = time.monotonic() + 1
        while _file_size(intents) == size and time.monotonic() < deadline:
            self._handle_lines(engine, 0.001)

    # ---- killing

    def _kill_worker(self, engine: EngineDriver, *, wait: bool) -> None:
        """Kill a worker whose loss fails no task, if there is one at the moment."""
        vulnerable = self._list_vulnerable(engine)
        if any(each["status"] != "RUNNING" for each in vulnerable):
            return
        spared = {each["worker"] for each in vulnerable}
        pid = self.faults.kill_random_worker({pid for pid in engine.workers if f"worker-{pid}" not in spared})
        if pid is not None and wait:
            self._wait_until_released(engine, {pid})

    def _kill_key_holder(self, engine: EngineDriver, *, wait: bool) -> None:
        """Kill the key holder, and with it all workers, if that fails no task."""
        if self._list_vulnerable(engine):
            return
        workers = find_workers(engine.pid)
        if self.faults.kill_key_holder(engine.pid) and wait:
            self._wait_until_released(engine, workers)

    def _list_vulnerable(self, engine: EngineDriver) -> list[Line]:
        """Return the tasks that fail if their worker is lost once more."""
        unfinished = engine.request("unfinished")["unfinished"].values()
        return [each for each in unfinished if each["losses"] >= MAX_LOSSES]

    def _wait_until_released(self, engine: EngineDriver, pids: set[int]) -> None:
        """Wait until no task is assigned to the killed workers, so that their loss is counted for each of them."""
        workers = {f"worker-{pid}" for pid in pids}
        deadline = time.monotonic() + RELEASE_TIMEOUT
        while True:
            unfinished = engine.request("unfinished")["unfinished"].values()
            if not any(each["worker"] in workers for each in unfinished):
                return
            assert time.monotonic() < deadline, f"the killed workers {pids} still have tasks"
            self._handle_lines(engine, 0.005)

    def _kill_engine(self, engine: EngineDriver) -> None:
        self.faults.kills["engine"] += 1
        self.engine = None
        for line in engine.kill():
            self._handle_line(engine, line)
        self.pending_downloads.clear()


def _file_size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
