"""A workspace around a stepped engine, and the plays that acts on one task make with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from sealyard.audit.log import AuditLog
from sealyard.engine.audit.checkpointing import migrate_pending_entries
from sealyard.engine.engine import Engine
from sealyard.engine.state.tables import TASKS
from sealyard.engine.workspace import load_metadata
from sealyard.fs.workspace_lock import WorkspaceLock
from sealyard.model.access import Action
from sealyard.model.audit import AuditEntry
from sealyard.model.errors import SealyardError
from sealyard.model.tasks import Task, TaskStatus, Verdict
from sealyard.model.worker_messages import Job
from sealyard.storage.artifacts import FileArtifacts
from tests.engine.explorer import Schedule
from tests.engine.stepped import Gates, SteppedBus, SteppedDocuments, SteppedExecutor, settle
from tests.support.clock import FakeClock
from tests.support.engine_harness import ADMIN, DEV, OWNER, EngineHarness
from tests.support.in_memory_keys import InMemoryKeys

PERIOD_HOURS = 1
"""Of approvals, of executions, and of a task's time limit."""

KEPT_SECONDS = 9 * 365 * 24 * 3600
"""Results outlast all plays: what expires of an earlier task would be another step."""

MAX_STEPS = 200


class Step(NamedTuple):
    name: str
    take: Callable[[], object]


class SteppedHouse(EngineHarness):
    """A workspace whose engine waits at gates."""

    bus: SteppedBus

    def __init__(self, root: Path) -> None:
        clock = FakeClock()
        super().__init__(root, InMemoryKeys("sealyard/w1", clock), clock)
        self.gates = Gates()
        self.executor = SteppedExecutor(self.gates)
        self.store = SteppedDocuments(self.gates, {}, [])
        self._others = asyncio.all_tasks()

    async def open(self, *, work: bool = True) -> Engine:
        asyncio.get_running_loop().set_default_executor(self.executor)
        self.gates.automatic = True
        self._lock = WorkspaceLock.acquire(self.paths.lock, "test")
        audit = AuditLog.open(self.paths.audit)
        migrate_pending_entries(self.store, audit)
        self.store.forget_audit(audit.size - 1)
        self.artifacts = FileArtifacts(self.paths.artifacts)
        self.bus = SteppedBus(self.gates, self.shelf, self.clock, self.artifacts)
        file = load_metadata(self.paths)
        self.engine = Engine(file, self.paths, self.store, self.artifacts, self.bus, self.clock, audit)
        self.is_open = True
        await self.engine.start(self._lock, work=work)
        return self.engine

    async def crash(self, survivors: int) -> None:
        """End the engine without any order, and open the next one over what became durable."""
        self.gates.closed.clear()
        self.executor.discard()
        running = asyncio.all_tasks() - self._others - {asyncio.current_task()}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._lock.release()
        self.store = self.store.after_crash(survivors)
        await self.open()

    async def drain(self) -> None:
        """Open every gate until the engine is idle."""
        self.gates.automatic = True
        while True:
            await settle()
            if self.gates.closed:
                self.gates.closed.pop(0).open()
            elif self.store.unsynced:
                self.store.sync()
            elif self.clock.has_sleeper(60):
                self.clock.advance(minutes=1)
            else:
                return


class Act(NamedTuple):
    """Something done to a task, by a person, by time, or by a failure."""

    name: str
    do: Callable[[Play], Awaitable[object]]


class Outcome(NamedTuple):
    """How an act was answered; neither a task nor an error if a crash came before the answer."""

    act: str
    error: SealyardError | None = None
    crashed: bool = False

    @property
    def acknowledged(self) -> bool:
        return self.error is None and not self.crashed


class Play:
    """Acts on one task, started and continued in the order of a schedule."""

    def __init__(self, house: SteppedHouse, schedule: Schedule, *, failures: int = 0) -> None:
        self.house = house
        self.outcomes: list[Outcome] = []
        self.steps: list[str] = []
        self.task_id = ""
        self._schedule = schedule
        self._failures = failures
        self._first_entry = len(house.store.entries)

    async def run(self, start: Callable[[Play], Awaitable[object]], acts: Sequence[Act]) -> None:
        """Bring a task to its start, then run ``acts`` and everything that follows."""
        self.house.bus.signed = self._signed
        await start(self)
        self.house.gates.automatic = False
        waiting = list(acts)
        while True:
            await settle()
            steps = self._possible_steps(waiting)
            if not steps:
                break
            step = steps[self._schedule.choose(len(steps))]
            self.steps.append(step.name)
            assert len(self.steps) < MAX_STEPS, self.steps
            taken = step.take()
            if asyncio.iscoroutine(taken):
                await taken
        await self.house.drain()

    @property
    def task(self) -> Task:
        return self.house.task(self.task_id)

    @property
    def is_created(self) -> bool:
        """Whether the task exists: its creation may be what the disk refused, or what a crash lost."""
        return self.house.engine.repository.get(TASKS, self.task_id) is not None

    def entries(self) -> list[AuditEntry]:
        """The audit trail of the task."""
        entries = (msgspec.json.decode(each, type=AuditEntry) for each in self.house.store.entries[self._first_entry :])
        return [entry for entry in entries if entry.resource == f"TASK:{self.task_id}"]

    def acknowledged(self, act: str) -> bool:
        return any(outcome.act == act and outcome.acknowledged for outcome in self.outcomes)

    def _possible_steps(self, waiting: list[Act]) -> list[Step]:
        names = dict.fromkeys(act.name for act in waiting)
        steps = [Step(name, partial(self._start, waiting, name)) for name in names]
        steps += [Step(gate.name, partial(self._open, gate)) for gate in self.house.gates.closed]
        if self.house.store.unsynced:
            steps.append(Step("commit is durable", self.house.store.sync))
            if self._failures:
                steps.append(Step("commit fails", self._fail))
        if not steps and self.house.clock.has_sleeper(60):
            steps.append(Step("a minute passes", partial(self.house.clock.advance, minutes=1)))
        return steps

    def _start(self, waiting: list[Act], name: str) -> Any:
        act = next(act for act in waiting if act.name == name)
        waiting.remove(act)
        if act.name == "restart":
            return self._restart()
        performing = asyncio.ensure_future(self._perform(act))
        performing.add_done_callback(lambda done: done.cancelled() or done.result())
        return None

    async def _perform(self, act: Act) -> None:
        try:
            await act.do(self)
        except SealyardError as error:
            self.outcomes.append(Outcome(act.name, error))
        except asyncio.CancelledError:
            self.outcomes.append(Outcome(act.name, crashed=True))
        else:
            self.outcomes.append(Outcome(act.name))

    async def _restart(self) -> None:
        survivors = self._schedule.choose(len(self.house.store.unsynced) + 1)
        await self.house.crash(survivors)
        self.house.bus.signed = self._signed
        await settle()
        self.house.gates.automatic = False

    def _open(self, gate: Any) -> None:
        self.house.gates.closed.remove(gate)
        gate.open()

    def _fail(self) -> None:
        self._failures -= 1
        self.house.store.fail()

    def _signed(self, job: Job) -> None:
        """The key is used now: check that it may be."""
        assert job.task.id == self.task_id
        task = self.task
        assert task.status is TaskStatus.RUNNING, f"signed while {task.status}"
        assert task.fencing_token == job.task.fencing_token, "signed under an old fencing token"
        assert task.intent is not None
        assert task.intent.fencing_token == task.fencing_token
        ended_by = [act for act in ("withdraw", "reject", "cancel") if self.acknowledged(act)]
        assert not ended_by, f"signed after an acknowledged {ended_by}"
        self.steps.append("SIGNED")


# ---- acts


def _by(subject: str, use_case: Callable[[Play], Awaitable[object]]) -> Callable[[Play], Awaitable[object]]:
    async def do(play: Play) -> None:
        await play.house.execute(subject, use_case(play))

    return do


def _decide(verdict: Verdict) -> Callable[[Play], Awaitable[object]]:
    def decide(play: Play) -> Awaitable[object]:
        return play.house.engine.decisions.decide(OWNER, play.task_id, verdict, "for a reason", None)

    return _by(OWNER, decide)


async def _expire(play: Play) -> None:
    play.house.clock.advance(hours=PERIOD_HOURS, seconds=1)


async def _revoke(play: Play) -> None:
    await play.house.remove_rule(OWNER, Action.APPROVE)


async def _lose_worker(play: Play) -> None:
    play.house.bus.lose(play.task_id)


async def _restart(play: Play) -> None:
    raise AssertionError("made by the play itself")


ACTS = [
    Act("approve", _decide(Verdict.APPROVED)),
    Act("reject", _decide(Verdict.REJECTED)),
    Act("withdraw", _by(DEV, lambda play: play.house.engine.decisions.withdraw(DEV, play.task_id, "for a reason"))),
    Act("cancel", _by(DEV, lambda play: play.house.engine.decisions.cancel(DEV, play.task_id))),
    Act("expire", _expire),
    Act("revoke", _revoke),
    Act("lose worker", _lose_worker),
    Act("restart", _restart),
]


# ---- starts


async def start_created(play: Play) -> None:
    """CREATED is stored; the commit that makes the task WAITING has not been submitted yet."""
    house = play.house
    file = await house.upload(play.house.clock.now().isoformat().encode())
    house.gates.automatic = False
    await _start_creating(play, house.package(firmware=(file,)))


async def start_waiting(play: Play) -> None:
    play.task_id = (await play.house.package()).id


async def start_waiting_signature(play: Play) -> None:
    """A signing task: it is WAITING from its first commit on, and its result is not a file."""
    play.task_id = (await play.house.signing()).id


async def start_encryption(play: Play) -> None:
    """An encryption task, which needs no approval and uses no signing key."""
    house = play.house
    file = await house.upload(play.house.clock.now().isoformat().encode())
    house.gates.automatic = False
    await _start_creating(play, house.encryption(file=file))


async def start_scheduled(play: Play) -> None:
    """Approved; a worker is about to be started for it."""
    await start_waiting(play)
    await _approve_until(play, TaskStatus.SCHEDULED)


async def start_running(play: Play) -> None:
    """A worker has the task, and has not asked to sign yet."""
    await start_waiting(play)
    await _approve_until(play, TaskStatus.RUNNING)
    await _open_until(play, "worker asks")


async def start_signing(play: Play) -> None:
    """The worker has asked to sign; the intent is not durable yet."""
    await start_running(play)
    await _open(play, "worker asks")


async def _start_creating(play: Play, creation: Coroutine[None, None, Task]) -> None:
    creating = asyncio.ensure_future(creation)
    creating.add_done_callback(lambda done: done.cancelled() or done.exception())
    await settle()
    (task,) = play.house.engine.repository.tasks({"status": TaskStatus.CREATED.value})
    play.task_id = task.id


async def _approve_until(play: Play, status: TaskStatus) -> None:
    house = play.house
    house.gates.automatic = False
    approving = asyncio.ensure_future(house.approve(house.task(play.task_id)))
    while house.task(play.task_id).status is not status or house.store.unsynced:
        await settle()
        if house.store.unsynced:
            house.store.sync()
        elif house.gates.closed:
            house.gates.closed.pop(0).open()
        await settle()
    await approving


async def _open_until(play: Play, name: str) -> None:
    gates = play.house.gates
    await settle()
    while not any(gate.name == name for gate in gates.closed):
        gates.closed.pop(0).open()
        await settle()


async def _open(play: Play, name: str) -> None:
    gates = play.house.gates
    gate = next(gate for gate in gates.closed if gate.name == name)
    gates.closed.remove(gate)
    gate.open()
    await settle()


STARTS = {
    "created": start_created,
    "encryption": start_encryption,
    "waiting": start_waiting,
    "waiting-signature": start_waiting_signature,
    "scheduled": start_scheduled,
    "running": start_running,
    "signing": start_signing,
}


@asynccontextmanager
async def stepped_house(root: Path) -> AsyncIterator[SteppedHouse]:
    """A workspace with people and a configuration, and with the periods that the acts rely on."""
    house = SteppedHouse(root)
    await house.create()
    await house.open()
    await house.add_default_subjects(link_ttl_seconds=KEPT_SECONDS, retention_seconds=KEPT_SECONDS)
    seconds = PERIOD_HOURS * 3600
    await house.set_policy(approval_timeout=seconds, execution_timeout=seconds, time_limit=seconds)
    yield house
    await house.drain()
    await house.close()


async def restore_permissions(house: SteppedHouse, resource: str) -> None:
    """Give the approver the permission back that an act may have revoked."""
    with suppress(SealyardError):
        await house.add_rule(OWNER, resource, Action.APPROVE)


async def end_all(house: SteppedHouse) -> None:
    """Cancel what is still unfinished, so that the next play meets its own task only."""
    for status in (TaskStatus.CREATED, TaskStatus.WAITING, TaskStatus.APPROVED, TaskStatus.SCHEDULED):
        for task in list(house.engine.repository.tasks({"status": status.value})):
            await house.execute(ADMIN, house.engine.decisions.cancel(DEV, task.id))
