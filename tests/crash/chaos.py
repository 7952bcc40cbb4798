"""Tasks of all kinds given to an engine that is killed over and over, and so are its workers."""

from __future__ import annotations

import base64
import os
import signal
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

from tests.crash.engine_driver import EngineDriver, Line
from tests.support.processes import lives

KIB, MIB = 1024, 1024 * 1024
SIZES = {4 * KIB: 4, 20 * KIB + 5: 4, 300 * KIB: 4, 2 * MIB: 3, 7 * MIB + 3: 2, 24 * MIB: 1, 40 * MIB: 1}
"""Sizes of firmware files with their weights: kills are to meet long work and short."""

OPEN_AT_ONCE = 6
MAX_LOSSES = 2
"""A third lost worker fails a task, as promised; the storm spares a task that has lost two."""

KILLED_WHILE_OPENING = 0.15
SETTLE_SECONDS = 30.0
END_SECONDS = 180.0
ENDED = ("DONE", "FAILED", "CANCELLED")

STOPPED = 0.3
"""The part of tasks that somebody tries to stop."""

STOPS = {"packaging": ("withdraw", "reject", "cancel"), "signing": ("withdraw", "reject", "cancel")}
"""By kind of task; an encryption task can only be cancelled."""

STOP_AT = ("CREATED", "WAITING", "APPROVED", "SCHEDULED", "RUNNING")


@dataclass(frozen=True)
class ExpectedTask:
    """What was asked for under one client token."""

    kind: str
    files: tuple[Path, ...] = ()
    message: bytes = b""
    stop: str = ""
    """``withdraw``, ``reject`` or ``cancel``: sent in a race with the approval, or with what follows it."""

    stop_at: str = ""
    """The status of the task that the stop is sent at."""


@dataclass
class ChaosRun:
    workspace: Path
    passphrase: str
    files: tuple[Path, ...]
    """One of each size in ``SIZES``, in their order."""
    random: Random
    wanted: dict[str, ExpectedTask] = field(default_factory=dict)
    accepted: dict[str, str] = field(default_factory=dict)
    """Token to task id, once the engine has said so."""
    stopped: dict[str, float] = field(default_factory=dict)
    """Task id to the time (seconds since the epoch) at which its stop was seen to be acknowledged."""
    open: set[str] = field(default_factory=set)
    """Tokens of tasks not yet seen to have ended."""
    engine_kills: int = 0
    worker_kills: int = 0
    engine: EngineDriver | None = None
    _next_engine: EngineDriver | None = None

    @property
    def kills(self) -> int:
        return self.engine_kills + self.worker_kills

    def run(self, kills: int) -> None:
        while self.kills < kills:
            engine = self.engine or self._started()
            self._top_up(engine)
            victims = self.random.choice(("engine", "worker", "worker", "worker", "both"))
            self._await_a_moment(engine)
            if victims != "engine":
                self._kill_worker(engine, settle=victims == "worker")
            if victims != "worker":
                self._kill_engine(engine)

    def finish(self) -> None:
        """Lets every task come to its end and closes the engine in peace, twice.

        Files handed in again for a task that was there already wait for another one until the next start, or a day.
        """
        engine = self.engine or self._started()
        deadline = time.monotonic() + END_SECONDS
        while unended := engine.request("unended")["unended"]:
            assert time.monotonic() < deadline, f"these do not end: {unended}"
            self._listen(engine, 0.1)
        self._close(engine)
        last = self._begun()
        last.wait_until_open()
        self._close(last)

    def _close(self, engine: EngineDriver) -> None:
        for line in engine.close():
            self._hear(engine, line)
        self.engine = None

    def end(self) -> None:
        """Leaves no process behind, whatever happened."""
        for each in (self.engine, self._next_engine):
            if each is not None:
                each.kill_if_running()

    # ---- giving work

    def _started(self) -> EngineDriver:
        while self.random.random() < KILLED_WHILE_OPENING:
            engine = self._begun()
            time.sleep(self.random.uniform(0, 0.7))
            self._kill_engine(engine)
        engine = self._begun()
        engine.wait_until_open()
        unended = engine.request("unended")["unended"]
        # What was not acknowledged is asked for again under its token, as a person would.
        for token in sorted(self.open - self.accepted.keys()):
            self._create(engine, token)
        for token, task_id in self.accepted.items():
            if task_id not in unended:
                self.open.discard(token)
            elif unended[task_id]["status"] in ("CREATED", "WAITING"):
                engine.send("approve", task=task_id)
        return engine

    def _begun(self) -> EngineDriver:
        """An engine that opens the workspace; the one after it warms up already."""
        self.engine = engine = self._next_engine or EngineDriver(self.workspace)
        self._next_engine = EngineDriver(self.workspace)
        engine.unlock(self.passphrase)
        return engine

    def _top_up(self, engine: EngineDriver) -> None:
        while len(self.open) < OPEN_AT_ONCE:
            token = f"token-{len(self.wanted)}"
            self.wanted[token] = self._something()
            self.open.add(token)
            self._create(engine, token)

    def _something(self) -> ExpectedTask:
        wanted = self._some_task()
        if self.random.random() >= STOPPED:
            return wanted
        stop = self.random.choice(STOPS.get(wanted.kind, ("cancel",)))
        return replace(wanted, stop=stop, stop_at=self.random.choice(STOP_AT))

    def _some_task(self) -> ExpectedTask:
        kind = self.random.choice(("packaging", "packaging", "packaging", "encryption", "signing"))
        match kind:
            case "packaging":
                return ExpectedTask(kind, self._some_files(self.random.randint(1, 3)))
            case "encryption":
                return ExpectedTask(kind, self._some_files(1))
            case _:
                return ExpectedTask(kind, message=self.random.randbytes(self.random.choice((40, 100_000))))

    def _some_files(self, count: int) -> tuple[Path, ...]:
        return tuple(self.random.choices(self.files, list(SIZES.values()), k=count))

    def _create(self, engine: EngineDriver, token: str) -> None:
        wanted = self.wanted[token]
        files = [str(each) for each in wanted.files]
        message = base64.b64encode(wanted.message).decode()
        engine.send("create", token=token, kind=wanted.kind, files=files, message=message)

    # ---- listening

    def _hear(self, engine: EngineDriver, line: Line) -> None:
        assert "error" not in line, line
        if "token" in line:
            token, task_id = line["token"], line["task"]
            assert self.accepted.setdefault(token, task_id) == task_id, "one token, two tasks"
            wanted = self.wanted[token]
            if wanted.kind != "encryption":
                self._send(engine, "approve", task_id)
            if wanted.stop and wanted.stop_at in ("CREATED", "WAITING"):
                self._send(engine, wanted.stop, task_id)
        if line.get("stopped"):
            self.stopped.setdefault(line["task"], time.time())
        if line.get("status") in ("APPROVED", "SCHEDULED", "RUNNING"):
            self._stop_at(engine, line["task"], line["status"])
        if line.get("status") in ENDED:
            self.open -= {token for token, task_id in self.accepted.items() if task_id == line["task"]}

    def _stop_at(self, engine: EngineDriver, task_id: str, status: str) -> None:
        for token, accepted in self.accepted.items():
            wanted = self.wanted[token]
            if accepted == task_id and wanted.stop and wanted.stop_at == status:
                self._send(engine, wanted.stop, task_id)

    def _send(self, engine: EngineDriver, act: str, task_id: str) -> None:
        try:
            engine.send(act, task=task_id)
        except BrokenPipeError:
            # The engine is dead; the next one is asked.
            return

    def _listen(self, engine: EngineDriver, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            line = engine.next_line(left)
            if line is not None:
                self._hear(engine, line)

    def _await_a_moment(self, engine: EngineDriver) -> None:
        """Any time, a moment after some change of a task, or in the midst of a signature."""
        match self.random.choice(("time", "change", "change", "intent")):
            case "time":
                self._listen(engine, self.random.uniform(0, 0.4))
            case "change":
                self._listen_for_changes(engine, self.random.randint(1, 12))
            case _:
                self._listen_for_intent(engine)
        time.sleep(self.random.choice((0, 0, self.random.uniform(0, 0.02))))

    def _listen_for_changes(self, engine: EngineDriver, count: int) -> None:
        deadline = time.monotonic() + 2
        while count and (left := deadline - time.monotonic()) > 0:
            line = engine.next_line(left)
            if line is not None:
                self._hear(engine, line)
                count -= "status" in line

    def _listen_for_intent(self, engine: EngineDriver) -> None:
        intents = self.workspace / "worker" / "intents.jsonl"
        size = _size(intents)
        deadline = time.monotonic() + 1
        while _size(intents) == size and time.monotonic() < deadline:
            self._listen(engine, 0.001)

    # ---- killing

    def _kill_worker(self, engine: EngineDriver, *, settle: bool) -> None:
        pid = self._victim(engine)
        if pid is None:
            return
        os.kill(pid, signal.SIGKILL)
        self.worker_kills += 1
        if settle:
            self._settle(engine, pid)

    def _victim(self, engine: EngineDriver) -> int | None:
        """A worker whose death fails no task, if there is one at this moment."""
        lost_enough = [each for each in engine.request("unended")["unended"].values() if each["losses"] >= MAX_LOSSES]
        if any(each["status"] != "RUNNING" for each in lost_enough):
            return None
        spared = {each["worker"] for each in lost_enough}
        return self._one_of([pid for pid in sorted(engine.workers) if f"worker-{pid}" not in spared])

    def _one_of(self, pids: list[int]) -> int | None:
        living = [pid for pid in pids if lives(pid)]
        return self.random.choice(living) if living else None

    def _settle(self, engine: EngineDriver, pid: int) -> None:
        """Until every task knows that it lost the worker: from then on losses are counted right."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while True:
            unended = engine.request("unended")["unended"].values()
            if not any(each["worker"] == f"worker-{pid}" for each in unended):
                return
            assert time.monotonic() < deadline, f"worker {pid} is dead and still holds tasks"
            self._listen(engine, 0.005)

    def _kill_engine(self, engine: EngineDriver) -> None:
        self.engine_kills += 1
        self.engine = None
        for line in engine.kill():
            self._hear(engine, line)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
